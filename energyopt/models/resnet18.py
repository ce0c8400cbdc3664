"""ResNet-18 for small images: the model that gives a GPU something to do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from energyopt.models._validation import require_int, require_shape

_BLOCKS_PER_STAGE = 2


class ResNet18(nn.Module):
    """ResNet-18 (He et al., arXiv 1512.03385) with the 3x3 stem used for CIFAR.

    Four stages of two blocks; each but the first halves the map and doubles the channels. The
    batch norms need more than one sample per batch if the last map is a single pixel, as for images
    of up to 8x8.

    Args:
        input_shape: Shape of one sample: (channels, height, width).
        num_classes: Number of classes.
        width: Channels of the first stage.
    """

    def __init__(self, *, input_shape: Sequence[int], num_classes: int, width: int = 64) -> None:
        super().__init__()
        channels, _, _ = require_shape("resnet18", input_shape, num_classes, dimensions=3)
        require_int("resnet18", "width", width)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels_in = width
        for stage in range(4):
            channels_out = width * 2**stage
            for block in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage and block == 0 else 1
                layers.append(_Block(channels_in, channels_out, stride))
                channels_in = channels_out
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(channels_in, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from images (batch, *input_shape)."""
        logits: torch.Tensor = self.head(self.trunk(inputs).mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels_in, h, w) to (batch, channels_out, h / stride, w / stride).

        Sizes that `stride` does not divide are rounded up.
        """
        return functional.relu(self.residual(inputs) + self.shortcut(inputs), inplace=True)
