"""Small transformer encoder for sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from energyopt.errors import ConfigError
from energyopt.models._inputs import fold_time, require_int, require_patch, require_shape


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

    Raises:
        ConfigError: If the samples are no sequences or an option is not possible.
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
        if width % heads:
            raise ConfigError(
                f"model.heads={heads} does not divide model.width={width}: "
                f"choose a width that is a multiple of the heads."
            )
        self.patch = patch
        self.embedding = nn.Linear(channels * patch, width)
        self.position = nn.Parameter(0.02 * torch.randn(time // patch, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from sequences (batch, *input_shape)."""
        tokens = self.embedding(fold_time(inputs, self.patch)) + self.position
        logits: torch.Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return logits


class _Block(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * width, width),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens of shape (batch, tokens, width) to the same shape."""
        packed = self.query_key_value(self.attention_norm(tokens))
        # (batch, tokens, 3 * width) -> 3 x (batch, heads, tokens, width / heads)
        query, key, value = packed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.projection(mixed.transpose(1, 2).flatten(2))
        result: torch.Tensor = tokens + self.feed_forward(tokens)
        return result
