"""Small convolutional network for images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from energyopt.models._validation import require_int, require_shape

_LARGEST_MAP = 8


class CNN(nn.Module):
    """Two 3x3 convolutions with max-pooling, then a linear layer.

    The second pooling shrinks the map to at most 8x8, whatever the size of the image, and is left
    out where it is that small already.

    Args:
        input_shape: Shape of one sample: (channels, height, width), at least 2x2.
        num_classes: Number of classes.
        width: Channels of the first convolution; the second has twice as many.
    """

    def __init__(self, *, input_shape: Sequence[int], num_classes: int, width: int = 8) -> None:
        super().__init__()
        channels, *size_px = require_shape("cnn", input_shape, num_classes, dimensions=3, minimum=2)
        require_int("cnn", "width", width)
        sides = [size // 2 for size in size_px]
        shrink = tuple(math.ceil(side / _LARGEST_MAP) for side in sides)
        # The ReLU is monotonic, so pooling first gives the same values at a quarter of its work.
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            *([nn.MaxPool2d(shrink)] if max(shrink) > 1 else []),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        area = math.prod(side // stride for side, stride in zip(sides, shrink, strict=True))
        self.head = nn.Linear(2 * width * area, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from images (batch, *input_shape)."""
        logits: torch.Tensor = self.head(self.trunk(inputs))
        return logits
