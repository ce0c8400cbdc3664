"""The curves of a study for drawing and for re-ranking: as few points as say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from energyopt.analysis.pareto import FrontPoint, at_target
from energyopt.core.curve import Curve, CurvePoint
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult

MOST_POINTS = 4000
"""Of all drawn curves together, but for the front, which is whole."""

MOST_TRIALS = 1500
"""Of a study that are shown one by one."""

_LEAST = 3  # of one curve: its first, its hit of the target, its last


@dataclass(frozen=True, slots=True)
class Drawn:
    """Curves with few enough points to draw.

    Attributes:
        curves: The points of each trial, by number.
        points: How many there are.
        all_points: How many were measured.
    """

    curves: Mapping[int, tuple[CurvePoint, ...]]
    points: int
    all_points: int


def telling_trials(
    study: StudyRecord,
    target: float | None,
    front: Sequence[FrontPoint],
    most: int = MOST_TRIALS,
) -> StudyRecord:
    """A study with the trials that say most, where it has more than can be shown.

    These are the default, those of the front, half as many of the cheapest at the target as can
    be shown, and others evenly.

    Args:
        study: The study.
        target: Accuracy to reach.
        front: Its front.
        most: The most trials.
    """
    if len(study.trials) <= most:
        return study
    cheapest = [] if target is None else at_target(study, target)
    kept = {point.trial for point in front} | {t.number for t in study.trials if t.default}
    kept |= {trial.number for trial, _, _ in cheapest[: most // 2]}
    others = [trial.number for trial in study.trials if trial.number not in kept]
    free = max(most - len(kept), 0)
    kept |= {others[at * len(others) // free] for at in range(free)}
    return replace(study, trials=tuple(t for t in study.trials if t.number in kept))


def drawn_curves(
    study: StudyRecord,
    target: float | None,
    front: Sequence[FrontPoint],
    most: int = MOST_POINTS,
) -> Drawn:
    """Thin the curves of a study for drawing.

    Args:
        study: The study.
        target: The first point at or above it is kept.
        front: Its points are kept.
        most: Points of all curves together, these apart.
    """
    whole = {trial.number: finite(result.curve) for trial, result in study.results}
    each = max(most // max(len(whole), 1), _LEAST)
    kept: dict[int, set[int]] = {}
    for point in front:
        kept.setdefault(point.trial, set()).add(point.index)
    curves = {
        number: _thinned(curve, each, math.inf if target is None else target, kept.get(number))
        for number, curve in whole.items()
        if len(curve)
    }
    return Drawn(curves, sum(map(len, curves.values())), sum(map(len, whole.values())))


def finite(curve: Curve) -> Curve:
    """A curve without the evaluations that answered no number: these reached nothing."""
    return curve.only([math.isfinite(accuracy) for accuracy in curve.accuracy])


def rises(study: StudyRecord) -> list[tuple[TrialRecord, TrialResult, Curve]]:
    """Of each trial the points that are more accurate than all before.

    These alone can be the first at or above some target, so that they say what the trial needed
    to any.
    """
    found = []
    for trial, result in study.results:
        curve = finite(result.curve)
        tops = set(curve.rises())
        found.append((trial, result, curve.only([at in tops for at in range(len(curve))])))
    return found


def _thinned(
    curve: Curve, most: int, target: float, kept: set[int] | None
) -> tuple[CurvePoint, ...]:
    thin = curve.thinned(most, target)
    if not kept or len(thin) == len(curve):
        return tuple(thin)
    shown = kept | set(thin.index)
    return tuple(curve.only([index in shown for index in curve.index]))
