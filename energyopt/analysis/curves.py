"""The curves of a study, reduced to the points that charts and re-ranking need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from energyopt.analysis.pareto import FrontPoint, at_target
from energyopt.core.curve import Curve, CurvePoint
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult

MAX_POINTS = 4000
"""Points of all drawn curves together, in addition to the front, which is complete."""

MAX_TRIALS = 1500
"""Trials of a study that are shown individually."""

_MIN_POINTS = 3  # of a curve: the first, the first at the target, the last


@dataclass(frozen=True, slots=True)
class Drawn:
    """Curves with few enough points to draw.

    Attributes:
        curves: The points of each trial, by number.
        points: Number of these points.
        all_points: Number of measured points.
        monitor: The metric of their trials.
    """

    curves: Mapping[int, tuple[CurvePoint, ...]]
    points: int
    all_points: int
    monitor: Monitor = ACCURACY


def telling_trials(
    study: StudyRecord,
    target: float | None,
    front: Sequence[FrontPoint],
    max_trials: int = MAX_TRIALS,
) -> StudyRecord:
    """Return a study with its most informative trials, if it has more than can be shown.

    These are the default, the trials of the front, the cheapest at the target (up to half of all
    shown), and others at even distances.

    Args:
        study: The study.
        target: Value of the metric to reach.
        front: Its front.
        max_trials: Maximum number of trials.
    """
    if len(study.trials) <= max_trials:
        return study
    cheapest = [] if target is None else at_target(study, target)
    selected = {point.trial for point in front} | {t.number for t in study.trials if t.default}
    selected |= {trial.number for trial, _, _ in cheapest[: max_trials // 2]}
    unchosen = [trial.number for trial in study.trials if trial.number not in selected]
    n_free = max(max_trials - len(selected), 0)
    selected |= {unchosen[i * len(unchosen) // n_free] for i in range(n_free)}
    return replace(study, trials=tuple(t for t in study.trials if t.number in selected))


def drawn_curves(
    study: StudyRecord,
    target: float | None,
    front: Sequence[FrontPoint],
    max_points: int = MAX_POINTS,
) -> Drawn:
    """Thin the curves of a study for drawing.

    Args:
        study: The study.
        target: The first point at it or better is kept.
        front: Its points are kept.
        max_points: Maximum of points of all curves together, not counting these.
    """
    full_curves = {trial.number: finite(result.curve) for trial, result in study.results}
    n_each = max(max_points // max(len(full_curves), 1), _MIN_POINTS)
    on_front: dict[int, set[int]] = {}
    for point in front:
        on_front.setdefault(point.trial, set()).add(point.index)
    level = study.monitor.unreachable if target is None else target
    curves = {
        number: _thinned(curve, n_each, level, on_front.get(number))
        for number, curve in full_curves.items()
        if len(curve)
    }
    points, all_points = (sum(map(len, c.values())) for c in (curves, full_curves))
    return Drawn(curves, points, all_points, study.monitor)


def finite(curve: Curve) -> Curve:
    """Return a curve without evaluations whose metric is not finite: they reached nothing."""
    return curve.only([math.isfinite(value) for value in curve.accuracy])


def best_score(result: TrialResult) -> float:
    """Return the score of a trial's best evaluation; the worst there is without any."""
    best = result.best_value
    return result.monitor.worst if best is None else result.monitor.score(best)


def rises(study: StudyRecord) -> list[tuple[TrialRecord, TrialResult, Curve]]:
    """Return the points of each trial that are better than all before.

    Only these can be the first at a target or better, so they give the energy to any target.
    """
    rising = []
    for trial, result in study.results:
        curve = finite(result.curve)
        tops = set(curve.rises())
        rising.append((trial, result, curve.only([i in tops for i in range(len(curve))])))
    return rising


def _thinned(
    curve: Curve, max_points: int, target: float, on_front: set[int] | None
) -> tuple[CurvePoint, ...]:
    thin = curve.thinned(max_points, target)
    if not on_front or len(thin) == len(curve):
        return tuple(thin)
    indices = on_front | set(thin.index)
    return tuple(curve.only([index in indices for index in curve.index]))
