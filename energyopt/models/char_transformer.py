"""Small transformer encoder for characters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from energyopt.core.protocols import Tokens
from energyopt.errors import ConfigError
from energyopt.models._encoder import EncoderBlock, require_heads
from energyopt.models._validation import checked_shape, fitting_models, require_int


class CharTransformer(nn.Module):
    """Reads characters as tokens and predicts the next one from the last position.

    Every position attends to all others; no mask is needed, since the input does not contain the
    character to predict.

    Args:
        input_shape: Shape of one sample: (context,), as `Tokens`.
        num_classes: Number of characters.
        width: Size of a token; the feed-forward layer is twice as wide.
        depth: Encoder layers.
        heads: Attention heads; divides `width`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        shape = checked_shape("char_transformer", input_shape, num_classes, tokens=True)
        for option, value in {"width": width, "depth": depth, "heads": heads}.items():
            require_int("char_transformer", option, value)
        require_heads(width, heads)
        if not isinstance(input_shape, Tokens) or len(shape) != 1:
            raise ConfigError(
                f"model=char_transformer needs characters of shape (context,), as task=text has "
                f"them; this task has samples of shape {shape}: choose {fitting_models(shape)}."
            )
        self.trunk = _Trunk(shape[0], num_classes, width, depth, heads)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from integers (batch, context)."""
        logits: torch.Tensor = self.head(self.trunk(inputs))
        return logits


class _Trunk(nn.Module):
    """Embedding, encoder and final norm, read out at the last position."""

    def __init__(self, context: int, characters: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map integers of shape (batch, context) to (batch, width)."""
        tokens = self.blocks(self.embedding(inputs) + self.position)
        last: torch.Tensor = self.norm(tokens[:, -1])
        return last
