"""A meter and a model of a user's own, so that the study is the same on each machine."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from energyopt.hardware.simulated import SimulatedMeter

UNLUCKY, LIFE_STEPS = 13, 3


class Meter(SimulatedMeter):
    """Made-up joules of a device that is nowhere."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.provenance = replace(self.provenance, device="made up", host="somewhere")


class Net(nn.Module):
    """One hidden layer; with a width of 13 it breaks while it is trained."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, num_classes)
        )
        self.left = LIFE_STEPS if width == UNLUCKY else None

    def forward(self, x: torch.Tensor) -> Any:
        """Classify, while it lives; as slowly as is wished, to be interrupted."""
        time.sleep(float(os.environ.get("STEP_S", "0")))
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("thirteen is unlucky")
        return self.layers(x)
