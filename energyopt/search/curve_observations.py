"""Observations of learning curves for a model: the epochs that each level of accuracy took.

An accuracy `a` is mapped to `v(a) = -log(1.01 - a)`, the negative log error: a power law of the
error, 1 - a = c n^-g (the usual form of learning curves; Domhan et al. 2015, Kadra et al. arXiv
2302.00441), is a straight line in `v` against log epochs. The 0.01 keeps an accuracy of 1 finite.
Levels are `v`, shifted and scaled so that the first evaluations are at 0 and the target (or the
best accuracy where there is none) at 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energyopt.search.encoding import Array
from energyopt.search.schedule import TrialSnapshot

_MIN_ERROR = 0.01  # added to each error, so that an accuracy of 1 has a finite level
_MIN_LEVEL, _MAX_LEVEL = -0.5, 2.0  # curves far outside of [0, 1] say little about the target
_MIN_WIDTH = 0.05  # of the scale, where the first evaluations are at the target already
# Standard deviations of log epochs. When the target was reached is known (0.02: rounding to
# steps); another level was passed somewhere between two evaluations: 0.3 is about the standard
# deviation of a uniform variable (1 / sqrt(12)), times the log of the gap, plus 0.03 for noise.
_TARGET_SD, _LEVEL_SD, _GAP_SD = 0.02, 0.03, 0.3
# A lower bound is set at the target and at 30 % of the way from the best level to it: the near one
# holds down curves that have flattened.
_NEAR_SHARE = 0.3
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of levels of accuracy.

    Attributes:
        low: Scaled accuracy (`to_log_error_scale`) of the first evaluations.
        high: Scaled accuracy of the target.
    """

    low: float
    high: float

    @classmethod
    def of(cls, observed: Sequence[TrialSnapshot], target: float | None) -> Scale:
        """Return the scale of a study's curves."""
        curves = [numbers for trial in observed if (numbers := finite(trial.accuracy))]
        firsts = [to_log_error_scale(accuracy[0]) for accuracy in curves]
        bests = [to_log_error_scale(max(accuracy)) for accuracy in curves]
        high = to_log_error_scale(target) if target is not None else max(bests, default=1.0)
        low = min(float(np.median(firsts)) if firsts else high - 1.0, high - _MIN_WIDTH)
        return cls(low, high)

    def level(self, accuracy: float) -> float:
        """Return the level of an accuracy."""
        level = (to_log_error_scale(accuracy) - self.low) / (self.high - self.low)
        return min(max(level, _MIN_LEVEL), _MAX_LEVEL)

    def accuracy(self, level: float) -> float:
        """Return the accuracy at a level."""
        scaled = self.low + level * (self.high - self.low)
        return min(1.0 + _MIN_ERROR - math.exp(-scaled), 1.0)


@dataclass(frozen=True, slots=True)
class CurveObservations:
    """Observations of curves, as columns.

    Attributes:
        trial: Index of the trial, in the order of the given trials.
        level: Level of accuracy.
        log_epochs: Log of the epochs to the level; of the epochs trained without reaching it.
        sd: Standard deviation of the observation.
        unreached: Whether the level was not reached: the log of the epochs is a lower bound.
    """

    trial: NDArray[np.int64]
    level: Array
    log_epochs: Array
    sd: Array
    unreached: NDArray[np.bool_]

    @classmethod
    def of(
        cls, observed: Sequence[TrialSnapshot], scale: Scale, target: float | None, max_n: int
    ) -> CurveObservations:
        """Observe the curves of trials.

        Args:
            observed: The trials.
            scale: The scale of levels.
            target: Accuracy to reach; None for none.
            max_n: Maximum number of reached levels for each trial.
        """
        rows = [
            (index, *observation)
            for index, trial in enumerate(observed)
            for observation in _observe(trial, scale, target, max_n)
        ]
        columns = np.array(rows, dtype=float).reshape(len(rows), 5).T
        return cls(columns[0].astype(int), columns[1], columns[2], columns[3], columns[4] > 0)


def finite(accuracy: Sequence[float]) -> list[float]:
    """Return the evaluations that are finite numbers."""
    return [value for value in accuracy if math.isfinite(value)]


def _observe(
    trial: TrialSnapshot, scale: Scale, target: float | None, max_n: int
) -> list[tuple[float, float, float, float]]:
    """Return (level, log epochs, sd, unreached) of reached levels and of lower bounds."""
    reached = _reached_levels(trial, scale, target)
    if len(reached) > max_n:
        spaced = np.unique(np.linspace(0, len(reached) - 1, max_n).round().astype(int))
        at_target = [i for i, (level, *_) in enumerate(reached) if level == 1.0]
        reached = [reached[i] for i in sorted({*spaced.tolist(), *at_target[:1]})]
    if not trial.epochs or (reached and reached[-1][0] >= _MAX_LEVEL):
        return reached
    best = reached[-1][0] if reached else _MIN_LEVEL
    if target is not None and best >= 1.0:
        return reached
    bound = math.log(trial.epochs[-1])
    far = 1.0 if target is not None else best + _NEAR_SHARE
    near = best + _NEAR_SHARE * (far - best)
    return [*reached, (far, bound, _LEVEL_SD, 1.0), (near, bound, _LEVEL_SD, 1.0)]


def _reached_levels(
    trial: TrialSnapshot, scale: Scale, target: float | None
) -> list[tuple[float, float, float, float]]:
    """Return an observation for each evaluation that was better than all before."""
    observations = []
    best, last_epochs = -1.0, 0.0
    for epochs, accuracy in zip(trial.epochs, trial.accuracy, strict=True):
        if accuracy > best + _TOLERANCE and math.isfinite(accuracy):
            hits = (
                target is not None
                and best < target - _TOLERANCE
                and accuracy >= target - _TOLERANCE
            )
            gap_sd = _GAP_SD * math.log(epochs / max(last_epochs, epochs / 2))
            level = 1.0 if hits else scale.level(accuracy)
            sd = _TARGET_SD if hits else _LEVEL_SD + gap_sd
            observations.append((level, math.log(epochs), sd, 0.0))
            best = accuracy
        last_epochs = epochs
    return observations


def to_log_error_scale(accuracy: float) -> float:
    """Return -log(1.01 - accuracy), on which power laws of the error are straight lines."""
    return -math.log(1.0 + _MIN_ERROR - min(max(accuracy, 0.0), 1.0))


def from_log_error_scale(scaled: Array) -> Array:
    """Return the accuracies of scaled ones; the inverse of `to_log_error_scale`."""
    accuracies: Array = 1.0 + _MIN_ERROR - np.exp(-scaled)
    return accuracies
