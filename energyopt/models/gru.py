"""Gated recurrent network for sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from energyopt.models._validation import fold_time, require_int, require_patch, require_shape


class GRU(nn.Module):
    """A GRU (Cho et al., arXiv 1406.1078) that classifies by its last state.

    Recurrent steps run one after another and dominate its energy; `patch` reduces their number.

    Args:
        input_shape: Shape of one sample: (channels, time).
        num_classes: Number of classes.
        width: Units of the state.
        depth: Recurrent layers.
        patch: Time steps read at once; divides `time`. 1 is the textbook form.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        depth: int = 1,
        patch: int = 4,
    ) -> None:
        super().__init__()
        channels, time = require_shape("gru", input_shape, num_classes, dimensions=2)
        require_int("gru", "width", width)
        require_int("gru", "depth", depth)
        require_patch("gru", patch, time)
        self.patch = patch
        self.gru = nn.GRU(channels * patch, width, num_layers=depth, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits of shape (batch, num_classes) from sequences (batch, *input_shape)."""
        # cuDNN needs contiguous weights, which copying a model breaks up; a no-op on a CPU.
        self.gru.flatten_parameters()
        _, state = self.gru(fold_time(inputs, self.patch))
        logits: torch.Tensor = self.head(state[-1])
        return logits
