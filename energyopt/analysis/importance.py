"""How much each searched parameter matters for energy, and for the metric.

A random forest learns the trainings. Of its predictions over the whole searched space, the total
effect of a parameter is the share of their variance that vanishes if it is known last (Saltelli et
al., 2010, by Jansen's estimator): interactions count for each that takes part. A sampler avoids
what is expensive; over the space this is seen all the same, while in the distribution of the best
trainings, which PED-ANOVA compares, it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from energyopt.analysis.curves import best_score
from energyopt.analysis.heat_map import searched
from energyopt.analysis.search_range import SearchRange
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_TRAININGS = 20
"""Training runs that are needed for an estimate."""

_MIN_REACHED = 5  # at the target: with fewer, there is nothing to learn of energy
_MIN_R2 = 0.3  # of predictions for trainings that were not learnt from; with less it is a guess
_TREES, _POINTS = 200, 1024
_MAX_LEARNT = 1000  # trainings, evenly spread: the time grows faster than their number


@dataclass(frozen=True, slots=True)
class Effects:
    """A forest's view of one quantity, by parameter.

    Attributes:
        shares: Total effects, as shares of the variance; empty if they cannot be believed.
        reason: Why there are no shares, in words; empty if there are.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Importances:
    """The importance of each parameter.

    Attributes:
        energy: For energy to target.
        metric: For the best value of the metric.
        trainings: Number of training runs.
        partly: Parameters that some of these runs did not have.
    """

    energy: Effects
    metric: Effects
    trainings: int
    partly: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """All parameters, the most important for energy first."""
        shares = self.energy.shares or self.metric.shares
        return tuple(sorted(shares, key=lambda key: -shares[key]))


Training = tuple[TrialRecord, TrialResult]


def importances(study: StudyRecord, target: float | None = None) -> Importances:
    """Estimate how much each parameter matters.

    A training that missed the target counts as more expensive than all that reached it; one that
    was stopped counts with its best value.
    """
    target = study.target if target is None else target
    keys = searched(study)
    trainings = [(t, r) for t, r in study.results if len(r.curve) and set(t.params) & set(keys)]
    reason = _too_few(keys, len(trainings))
    if reason:
        return Importances(Effects(reason=reason), Effects(reason=reason), len(trainings))
    step = -(-len(trainings) // _MAX_LEARNT)
    fit_set = trainings[::step]
    ranges = [SearchRange.of(study, key) for key in keys]
    reason = _no_order(fit_set, target)
    return Importances(
        energy=Effects(reason=reason)
        if reason
        else _effects(ranges, fit_set, [math.log(e) for e in _energies(fit_set, target)]),
        metric=_effects(ranges, fit_set, _ranks([best_score(result) for _, result in fit_set])),
        trainings=len(trainings),
        partly=tuple(k for k in keys if any(k not in trial.params for trial, _ in trainings)),
    )


def _too_few(keys: Sequence[str], trainings: int) -> str:
    if len(keys) == 1:
        return f"{keys[0]} is the only parameter that was searched"
    if trainings < MIN_TRAININGS:
        return f"too few trainings: {trainings}, and {MIN_TRAININGS} are needed"
    return ""


def _no_order(trainings: list[Training], target: float | None) -> str:
    if target is None:
        return "the study has no target"
    reached = sum(result.first_at(target) is not None for _, result in trainings)
    if reached < _MIN_REACHED:
        few = "none" if not reached else f"only {reached}"
        return f"{few} of the trainings reached {target:.6g}, and {_MIN_REACHED} are needed"
    return ""


def _energies(trainings: list[Training], target: float | None) -> list[float]:
    """Return energies to the target, in J; runs that missed it follow, by the energy they used."""
    hits = [result.first_at(target or 0.0) for _, result in trainings]
    highest_j = max((hit.training_j for hit in hits if hit is not None), default=0.0)
    return [
        highest_j + result.cost_j if hit is None else hit.training_j
        for (_, result), hit in zip(trainings, hits, strict=True)
    ]


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value: a diverged loss is not more than the worst one."""
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return [float(order[value]) for value in values]


def _effects(
    ranges: Sequence[SearchRange], trainings: Sequence[Training], values: Sequence[float]
) -> Effects:
    """Return the effects of parameters on values."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor  # type: ignore[import-untyped]

    keys = [searched_range.key for searched_range in ranges]
    x = np.array([[_place(r, trial) for r in ranges] for trial, _ in trainings])
    y = np.array(values)
    if not y.var():
        return Effects(reason="all trainings are alike")
    forest = RandomForestRegressor(_TREES, oob_score=True, random_state=0).fit(x, y)
    r2 = float(forest.oob_score_)
    if r2 < _MIN_R2:
        return Effects(
            reason="what is learnt from some of these trainings does not predict the others "
            f"(R² {max(r2, 0.0):.2f}, and {_MIN_R2:g} is needed)",
        )
    random = np.random.default_rng(0)
    first, second = (_points(x, ranges, random) for _ in range(2))
    predicted = forest.predict(first)
    shares = {}
    for column, key in enumerate(keys):
        moved = first.copy()
        moved[:, column] = second[:, column]
        change = predicted - forest.predict(moved)
        shares[key] = float((change**2).mean() / 2 / max(predicted.var(), 1e-12))
    return Effects(shares)


def _place(searched_range: SearchRange, trial: TrialRecord) -> float:
    """Return where a trial lies in a range; NaN if it had no such parameter."""
    key = searched_range.key
    return searched_range.share(trial.params[key]) if key in trial.params else math.nan


def _points(
    x: NDArray[np.float64], ranges: Sequence[SearchRange], random: np.random.Generator
) -> NDArray[np.float64]:
    """Return points evenly spread over the space, without a parameter as often as trainings."""
    import numpy as np

    points = random.random((_POINTS, len(ranges)))
    for column, searched_range in enumerate(ranges):
        n_labels = len(searched_range.labels)
        if n_labels:
            last = max(n_labels - 1, 1)
            points[:, column] = np.floor(points[:, column] * n_labels) / last
        absent = random.random(_POINTS) < np.isnan(x[:, column]).mean()
        points[absent, column] = math.nan
    return points
