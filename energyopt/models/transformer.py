"""Small transformer encoder for sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from energyopt.models._encoder import EncoderBlock, require_heads
from energyopt.models._validation import fold_time, require_int, require_patch, require_shape


class Transformer(nn.Module):
    """A transformer encoder (Vaswani et al., arXiv 1706.03762) with the norm before each part.

    Neighbouring time steps form a token; the tokens' mean is classified.

    Args:
        input_shape: Shape of one sample: (channels, time).
        num_classes: Number of classes.
        width: Size of a token; the feed-forward layer is twice as wide.
        depth: Encoder layers.
        heads: Attention heads; divides `width`.
        patch: Time steps a token; divides `time`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        depth: int = 1,
        heads: int = 4,
        patch: int = 4,
    ) -> None:
        super().__init__()
        channels, time = require_shape("transformer", input_shape, num_classes, dimensions=2)
        options = {"width": width, "depth": depth, "heads": heads}
        for option, value in options.items():
            require_int("transformer", option, value)
        require_patch("transformer", patch, time)
        require_heads(width, heads)
        self.patch = patch
        self.embedding = nn.Linear(channels * patch, width)
        self.position = nn.Parameter(0.02 * torch.randn(time // patch, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from sequences (batch, *input_shape)."""
        tokens = self.embedding(fold_time(inputs, self.patch)) + self.position
        logits: torch.Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return logits
