"""Observations of learning curves for a model: the epochs that each level of the metric took.

Levels are places of scores (`core.metric.Scale`), shifted and scaled so that the first evaluations
are at 0 and the target (or the best score where there is none) at 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energyopt.core.metric import Monitor, Scale
from energyopt.search.encoding import Array
from energyopt.search.schedule import TrialSnapshot

_MIN_LEVEL, _MAX_LEVEL = -0.5, 2.0  # curves far outside of [0, 1] say little about the target
_MIN_WIDTH = 0.05  # of the scale, where the first evaluations are at the target already
# Standard deviations of log epochs. When the target was reached is known (0.02: rounding to
# steps); another level was passed somewhere between two evaluations: 0.3 is about the standard
# deviation of a uniform variable (1 / sqrt(12)), times the log of the gap, plus 0.03 for noise.
_TARGET_SD, _LEVEL_SD, _GAP_SD = 0.02, 0.03, 0.3
# A lower bound is set at the target and at 30 % of the way from the best level to it: the near one
# holds down curves that have flattened.
_NEAR_SHARE = 0.3
_TOLERANCE = 1e-9  # in units of the scale


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of a study's metric.

    Attributes:
        scale: The scale of its scores.
        low: Place of the first evaluations.
        high: Place of the target.
    """

    scale: Scale
    low: float
    high: float

    @classmethod
    def of(
        cls,
        observed: Sequence[TrialSnapshot],
        target: float | None,
        scale: Scale = Scale(),  # noqa: B008  # frozen
    ) -> Levels:
        """Return the levels of a study's curves.

        Args:
            observed: The trials.
            target: Score to reach; None for none.
            scale: The scale of scores; that of an accuracy by default.
        """
        curves = [numbers for trial in observed if (numbers := finite(trial.accuracy))]
        firsts = [scale.place(scores[0]) for scores in curves]
        bests = [scale.place(max(scores)) for scores in curves]
        high = scale.place(target) if target is not None else max(bests, default=1.0)
        low = min(float(np.median(firsts)) if firsts else high - 1.0, high - _MIN_WIDTH)
        return cls(scale, low, high)

    def level(self, score: float) -> float:
        """Return the level of a score."""
        level = (self.scale.place(score) - self.low) / (self.high - self.low)
        return min(max(level, _MIN_LEVEL), _MAX_LEVEL)

    def score(self, level: float) -> float:
        """Return the score at a level."""
        return self.scale.score(self.low + level * (self.high - self.low))


@dataclass(frozen=True, slots=True)
class CurveObservations:
    """Observations of curves, as columns.

    Attributes:
        trial: Index of the trial, in the order of the given trials.
        level: Level of the metric.
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
        cls, observed: Sequence[TrialSnapshot], levels: Levels, target: float | None, max_n: int
    ) -> CurveObservations:
        """Observe the curves of trials.

        Args:
            observed: The trials.
            levels: The levels of the metric.
            target: Score to reach; None for none.
            max_n: Maximum number of reached levels for each trial.
        """
        rows = [
            (index, *observation)
            for index, trial in enumerate(observed)
            for observation in _observe(trial, levels, target, max_n)
        ]
        columns = np.array(rows, dtype=float).reshape(len(rows), 5).T
        return cls(columns[0].astype(int), columns[1], columns[2], columns[3], columns[4] > 0)


def scale_of(monitor: Monitor, observed: Sequence[TrialSnapshot], target: float | None) -> Scale:
    """Return the scale of a study's metric.

    Args:
        monitor: The metric.
        observed: The trials.
        target: Score to reach; None for none.
    """
    curves = (zip(trial.epochs, trial.accuracy, strict=True) for trial in observed)
    return Scale.of(
        monitor, [[p for p in curve if math.isfinite(p[1])] for curve in curves], target
    )


def finite(scores: Sequence[float]) -> list[float]:
    """Return the evaluations that are finite numbers."""
    return [value for value in scores if math.isfinite(value)]


def _observe(
    trial: TrialSnapshot, levels: Levels, target: float | None, max_n: int
) -> list[tuple[float, float, float, float]]:
    """Return (level, log epochs, sd, unreached) of reached levels and of lower bounds."""
    reached = _reached_levels(trial, levels, target)
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
    trial: TrialSnapshot, levels: Levels, target: float | None
) -> list[tuple[float, float, float, float]]:
    """Return an observation for each evaluation that was better than all before."""
    observations = []
    best, last_epochs = -math.inf, 0.0
    tolerance = _TOLERANCE * levels.scale.unit
    for epochs, score in zip(trial.epochs, trial.accuracy, strict=True):
        if score > best + tolerance and math.isfinite(score):
            hits = target is not None and best < target - tolerance <= score
            gap_sd = _GAP_SD * math.log(epochs / max(last_epochs, epochs / 2))
            level = 1.0 if hits else levels.level(score)
            sd = _TARGET_SD if hits else _LEVEL_SD + gap_sd
            observations.append((level, math.log(epochs), sd, 0.0))
            best = score
        last_epochs = epochs
    return observations
