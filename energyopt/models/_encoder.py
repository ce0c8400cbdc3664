"""Encoder block of the transformers, and the check of its options."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from energyopt.errors import ConfigError


def require_heads(width: int, heads: int) -> None:
    """Check that a token divides among attention heads.

    Raises:
        ConfigError: If `heads` does not divide `width`.
    """
    if width % heads:
        raise ConfigError(
            f"model.heads={heads} does not divide model.width={width}: "
            f"choose a width that is a multiple of the heads."
        )


class EncoderBlock(nn.Module):
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
