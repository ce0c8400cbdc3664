"""Play a recorded training back instead of training: on a virtual clock, in no time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

from energyopt.core.protocols import TrainStep
from energyopt.core.traces import Clock, Costs, Curve
from energyopt.errors import ConfigError

EPOCH_SAMPLES = 1_000_000
"""Steps of a played epoch, of one sample each: power limits are tried in parts of an epoch."""

_LOSS = 1.0  # not recorded


class Recording(Protocol):
    """A task that holds recorded trainings by batch size."""

    clock: Clock
    name: str
    runs: Mapping[int, tuple[Curve, ...]]
    costs: Mapping[int, Costs]


class Playback:
    """One recorded training, played on a clock.

    Args:
        curve: What it reached.
        costs: What it costs at each power limit.
        clock: Where its time and energy pass; the limit in force there holds.
    """

    epoch_samples = EPOCH_SAMPLES

    def __init__(self, curve: Curve, costs: Costs, clock: Clock) -> None:
        self._curve = curve
        self._costs = costs
        self._clock = clock
        self._samples = 0

    def train(self, samples: int) -> TrainStep:
        """Let the time and the energy of so many samples pass."""
        pace = self._costs.pace(self._clock.limit_w)
        began_s, began_j = pace.until(self._samples / EPOCH_SAMPLES)
        self._samples += samples
        ended_s, ended_j = pace.until(self._samples / EPOCH_SAMPLES)
        self._clock.pass_by(ended_s - began_s, ended_j - began_j)
        return TrainStep(samples, samples, _LOSS)

    def evaluate(self) -> float:
        """The accuracy recorded by now; its energy was not recorded, and is none."""
        return self._curve.at(self._samples / EPOCH_SAMPLES)

    def state(self) -> dict[str, Any]:
        """How far it was played."""
        return {"samples": self._samples}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._samples = int(state["samples"])


def replay(
    task: Recording, batch_size: int, seed: int, *, power_limit_w: float | None = None
) -> Playback:
    """Play one of the recorded trainings of a batch size.

    Args:
        task: The recorded trainings.
        batch_size: Which of them.
        seed: Draws the run, where there are several.
        power_limit_w: The power limit, in W; None leaves it: the highest recorded one.

    Raises:
        ConfigError: If none was recorded.
    """
    if not hasattr(task, "runs"):
        raise ConfigError("paradigm=replay plays what task=replay holds; choose task=replay")
    if batch_size not in task.runs:
        known = ", ".join(map(str, sorted(task.runs)))
        raise ConfigError(
            f"batch_size={batch_size}: no such training of {task.name} was recorded; "
            f"there are {known}"
        )
    if power_limit_w is not None:
        task.clock.limit_w = power_limit_w
    runs = task.runs[batch_size]
    drawn = random.Random(f"{seed} {batch_size}").randrange(len(runs))  # noqa: S311
    return Playback(runs[drawn], task.costs[batch_size], task.clock)
