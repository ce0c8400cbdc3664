"""Replay a recorded training on a virtual clock instead of training."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

from energyopt.core.protocols import TrainStep
from energyopt.core.traces import AccuracyTrace, Clock, Costs
from energyopt.errors import ConfigError

EPOCH_SAMPLES = 1_000_000
"""Steps of a replayed epoch, of one sample each: power limits are tried within an epoch."""

_LOSS = 1.0  # not recorded


class RecordedTask(Protocol):
    """A task of recorded trainings by batch size."""

    clock: Clock
    name: str
    runs: Mapping[int, tuple[AccuracyTrace, ...]]
    costs: Mapping[int, Costs]


class Playback:
    """One recorded training, replayed on a clock.

    Args:
        curve: Its accuracies.
        costs: Its time and energy at each power limit.
        clock: Clock that its time and energy are added to, and whose power limit applies.
    """

    epoch_samples = EPOCH_SAMPLES

    def __init__(self, curve: AccuracyTrace, costs: Costs, clock: Clock) -> None:
        self._curve = curve
        self._costs = costs
        self._clock = clock
        self._samples = 0

    def train(self, samples: int) -> TrainStep:
        """Add the time and energy of training on `samples` samples to the clock."""
        pace = self._costs.pace(self._clock.limit_w)
        begin_s, begin_j = pace.until(self._samples / EPOCH_SAMPLES)
        self._samples += samples
        end_s, end_j = pace.until(self._samples / EPOCH_SAMPLES)
        self._clock.pass_by(end_s - begin_s, end_j - begin_j)
        return TrainStep(samples, samples, _LOSS)

    def evaluate(self) -> float:
        """Return the latest recorded accuracy; evaluations use no energy, as none was recorded."""
        return self._curve.at(self._samples / EPOCH_SAMPLES)

    def state(self) -> dict[str, Any]:
        """Return the position in the recording."""
        return {"samples": self._samples}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume at the position of `state`."""
        self._samples = int(state["samples"])


def replay(
    task: RecordedTask, batch_size: int, seed: int, *, power_limit_w: float | None = None
) -> Playback:
    """Replay one of the recorded trainings with a batch size.

    Args:
        task: The recorded trainings.
        batch_size: Batch size of the training.
        seed: Chooses a run if several were recorded.
        power_limit_w: The power limit, in W; None keeps the clock's, by default the highest.

    Raises:
        ConfigError: If no training with that batch size was recorded.
    """
    if not hasattr(task, "runs"):
        raise ConfigError("paradigm=replay plays what task=replay holds; choose task=replay")
    if batch_size not in task.runs:
        recorded = ", ".join(map(str, sorted(task.runs)))
        raise ConfigError(
            f"batch_size={batch_size}: no such training of {task.name} was recorded; "
            f"there are {recorded}"
        )
    if power_limit_w is not None:
        task.clock.limit_w = power_limit_w
    runs = task.runs[batch_size]
    index = random.Random(f"{seed} {batch_size}").randrange(len(runs))  # noqa: S311
    return Playback(runs[index], task.costs[batch_size], task.clock)
