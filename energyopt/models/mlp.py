"""Fully connected network: fits every task."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from energyopt.models._validation import checked_shape, require_int


class MLP(nn.Module):
    """Flattens a sample and passes it through equally wide ReLU layers.

    Args:
        input_shape: Shape of one sample, any number of dimensions.
        num_classes: Number of classes; 1 for a regression.
        width: Units of each hidden layer.
        depth: Hidden layers; 0 makes it a linear classifier.
    """

    def __init__(
        self, *, input_shape: Sequence[int], num_classes: int, width: int = 32, depth: int = 2
    ) -> None:
        super().__init__()
        shape = checked_shape("mlp", input_shape, num_classes, min_classes=1)
        require_int("mlp", "width", width)
        require_int("mlp", "depth", depth, minimum=0)
        sizes = [math.prod(shape)] + depth * [width]
        layers: list[nn.Module] = [nn.Flatten()]
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from inputs (batch, *input_shape)."""
        logits: torch.Tensor = self.head(self.trunk(inputs))
        return logits
