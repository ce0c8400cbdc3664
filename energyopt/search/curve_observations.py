"""Curves of trials as readings of a model: the epochs that each level of accuracy took.

A level of accuracy `a` is placed at `v(a) = -log(1.01 - a)`, on which learning curves of power laws
are straight lines against the log of the epochs. Levels are counted from the first evaluations
(0) to the target (1), or to the best accuracy where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energyopt.search.encoding import Array
from energyopt.search.schedule import TrialSnapshot

_FLOOR = 0.01  # an accuracy of 1 is a level, too
_LOWEST, _HIGHEST = -0.5, 2.0
_LEAST_WIDTH = 0.05
_EXACT, _READ, _GRAIN = 0.02, 0.03, 0.3
_SHARE = 0.3  # of the way from the best level to the target, where an unreached level is read
_TIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Scale:
    """Where levels of accuracy lie.

    Attributes:
        low: Of the first evaluations.
        high: Of the target.
    """

    low: float
    high: float

    @classmethod
    def of(cls, observed: Sequence[TrialSnapshot], target: float | None) -> Scale:
        """The scale of a study's curves."""
        curves = [numbers for trial in observed if (numbers := finite(trial.accuracy))]
        firsts = [place(accuracy[0]) for accuracy in curves]
        bests = [place(max(accuracy)) for accuracy in curves]
        high = place(target) if target is not None else max(bests, default=1.0)
        low = min(float(np.median(firsts)) if firsts else high - 1.0, high - _LEAST_WIDTH)
        return cls(low, high)

    def level(self, accuracy: float) -> float:
        """The level of an accuracy."""
        level = (place(accuracy) - self.low) / (self.high - self.low)
        return min(max(level, _LOWEST), _HIGHEST)

    def accuracy(self, level: float) -> float:
        """The accuracy at a level."""
        place = self.low + level * (self.high - self.low)
        return min(1.0 + _FLOOR - math.exp(-place), 1.0)


@dataclass(frozen=True, slots=True)
class Readings:
    """What curves say, one row a reading.

    Attributes:
        trial: Index of the trial, in the order of the given ones.
        level: Level of accuracy.
        log_epochs: Log of the epochs that it took; of the epochs trained without reaching it.
        sd: Standard deviation of the reading.
        unreached: Whether the level was not reached: the log of the epochs is a lower bound.
    """

    trial: NDArray[np.int64]
    level: Array
    log_epochs: Array
    sd: Array
    unreached: NDArray[np.bool_]

    @classmethod
    def of(
        cls, observed: Sequence[TrialSnapshot], scale: Scale, target: float | None, most: int
    ) -> Readings:
        """Read curves.

        Args:
            observed: The trials.
            scale: Where levels lie.
            target: Accuracy to reach; None for none.
            most: The most readings of reached levels that a trial gives.
        """
        rows = [
            (index, *reading)
            for index, trial in enumerate(observed)
            for reading in _read(trial, scale, target, most)
        ]
        columns = np.array(rows, dtype=float).reshape(len(rows), 5).T
        return cls(columns[0].astype(int), columns[1], columns[2], columns[3], columns[4] > 0)


def finite(accuracy: Sequence[float]) -> list[float]:
    """The evaluations that came to a number."""
    return [value for value in accuracy if math.isfinite(value)]


def _read(
    trial: TrialSnapshot, scale: Scale, target: float | None, most: int
) -> list[tuple[float, float, float, float]]:
    reached = _steps(trial, scale, target)
    if len(reached) > most:
        kept = np.unique(np.linspace(0, len(reached) - 1, most).round().astype(int))
        hit = [at for at, reading in enumerate(reached) if reading[0] == 1.0]
        reached = [reached[at] for at in sorted({*kept.tolist(), *hit[:1]})]
    if not trial.epochs or (reached and reached[-1][0] >= _HIGHEST):
        return reached
    best = reached[-1][0] if reached else _LOWEST
    now = math.log(trial.epochs[-1])
    if target is not None and best >= 1.0:
        return reached
    ahead = 1.0 if target is not None else best + _SHARE
    return [*reached, (ahead, now, _READ, 1.0), (best + _SHARE * (ahead - best), now, _READ, 1.0)]


def _steps(
    trial: TrialSnapshot, scale: Scale, target: float | None
) -> list[tuple[float, float, float, float]]:
    """Each evaluation that was better than all before."""
    readings = []
    best, before = -1.0, 0.0
    for epochs, accuracy in zip(trial.epochs, trial.accuracy, strict=True):
        if accuracy > best + _TIGHT and math.isfinite(accuracy):
            hits = target is not None and best < target - _TIGHT and accuracy >= target - _TIGHT
            # When the target was reached is known; when another level was, between evaluations.
            grain = _GRAIN * math.log(epochs / max(before, epochs / 2))
            level = 1.0 if hits else scale.level(accuracy)
            readings.append((level, math.log(epochs), _EXACT if hits else _READ + grain, 0.0))
            best = accuracy
        before = epochs
    return readings


def place(accuracy: float) -> float:
    """Where an accuracy lies on the scale of levels."""
    return -math.log(1.0 + _FLOOR - min(max(accuracy, 0.0), 1.0))


def accuracy_at(places: Array) -> Array:
    """The accuracies that lie at places; see `place`."""
    accuracies: Array = 1.0 + _FLOOR - np.exp(-places)
    return accuracies
