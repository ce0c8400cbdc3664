"""A training loop of a user's own, for tests on a pretend GPU: copied to where the program runs.

The training is real and on the CPU. Meanwhile the pretend GPU draws power, and each step takes as
long as its clock at the present power limit lets it: 4 ms at full speed.
"""

from __future__ import annotations

import time

from energyopt.core.protocols import TrainStep
from energyopt.paradigms.scratch import Scratch
from tests.fake_nvml import speed, working

STEP_S = 0.004


class Slowed(Scratch):
    """Scratch on a GPU that a power limit slows down."""

    def train(self, samples: int) -> TrainStep:
        """Train, and take the GPU's time for it."""
        with working():
            began_s = time.perf_counter()
            trained = super().train(samples)
            end_s = began_s + trained.steps * STEP_S / speed()
            time.sleep(max(0.0, end_s - time.perf_counter()))
        return trained
