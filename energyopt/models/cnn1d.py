"""Small convolutional network for sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from energyopt.errors import ConfigError
from energyopt.models._validation import require_int, require_shape


class CNN1d(nn.Module):
    """Two convolutions over time, averaged over time, then a linear layer.

    Args:
        input_shape: Shape of one sample: (channels, time), at least 2 steps.
        num_classes: Number of classes.
        width: Channels of the first convolution; the second has twice as many.
        kernel_size: Time steps that a convolution sees; odd.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        channels, _ = require_shape("cnn1d", input_shape, num_classes, dimensions=2, minimum=2)
        require_int("cnn1d", "width", width)
        require_int("cnn1d", "kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ConfigError(
                f"model.kernel_size={kernel_size} is even: choose an odd number, so that the "
                f"convolution is centred."
            )
        padding = kernel_size // 2
        # The ReLU is monotonic, so pooling first gives the same values at half of its work.
        self.trunk = nn.Sequential(
            nn.Conv1d(channels, width, kernel_size, padding=padding),
            nn.MaxPool1d(2),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, 2 * width, kernel_size, padding=padding),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from sequences (batch, *input_shape)."""
        logits: torch.Tensor = self.head(self.trunk(inputs).mean(dim=2))
        return logits
