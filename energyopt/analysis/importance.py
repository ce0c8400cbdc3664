"""Which searched parameters matter for energy, and which for accuracy: PED-ANOVA by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.analysis.heat_map import searched
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.search.quiet import quiet_optuna

FEWEST = 20
"""Trainings without which no importance is said."""

_TOP = 0.1  # the share of the best, as in the method's paper ...
_FEWEST_TOP = 5  # ... but at least so many: a density is estimated from them
_FEWEST_REACHED = 5  # at the target: else there is no order of energies among the best


@dataclass(frozen=True, slots=True)
class Importances:
    """How much each parameter tells the best trainings from all.

    Attributes:
        energy: Shares by parameter that sum to 1, for energy to the target; empty if unknown.
        accuracy: The same for the best accuracy.
        trainings: How many were looked at.
        best: How many of them were taken as the best.
        energy_reason: Why nothing is said of energy, in words; empty if something is.
        accuracy_reason: The same of accuracy.
        partly: Parameters that some of these trainings did not have.
    """

    energy: Mapping[str, float] = field(default_factory=dict)
    accuracy: Mapping[str, float] = field(default_factory=dict)
    trainings: int = 0
    best: int = 0
    energy_reason: str = ""
    accuracy_reason: str = ""
    partly: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """All parameters, the most important for energy first."""
        first = self.energy or self.accuracy
        return tuple(sorted(first, key=lambda key: -first[key]))


def importances(study: StudyRecord, target: float | None = None) -> Importances:
    """Ask PED-ANOVA which parameters matter.

    It compares where the best trainings lie in the space with where all lie, so that only the
    order of trainings counts: one that missed the target comes after all that reached it. One that
    was stopped counts with the best accuracy that it had.

    Args:
        study: The study.
        target: Accuracy to reach; the study's own if None.
    """
    target = study.target if target is None else target
    varied = searched(study)
    keys = [key for key in varied if key in study.space]
    trainings = [(t, r) for t, r in study.results if len(r.curve) and set(t.params) & set(keys)]
    reason = _too_few(varied, keys, len(trainings))
    if reason:
        return Importances(trainings=len(trainings), energy_reason=reason, accuracy_reason=reason)
    best = max(math.ceil(_TOP * len(trainings)), _FEWEST_TOP)
    energy_reason = _no_order(trainings, target)
    return Importances(
        energy={}
        if energy_reason
        else _ask(study, keys, trainings, best, _energies(trainings, target)),
        accuracy=_ask(study, keys, trainings, best, [-_best(result) for _, result in trainings]),
        trainings=len(trainings),
        best=best,
        energy_reason=energy_reason,
        partly=tuple(k for k in keys if any(k not in trial.params for trial, _ in trainings)),
    )


Training = tuple[TrialRecord, TrialResult]


def _too_few(varied: Sequence[str], keys: Sequence[str], trainings: int) -> str:
    if len(varied) == 1:
        return f"{varied[0]} is the only parameter that was searched"
    if len(keys) < 2:  # noqa: PLR2004  # a share of one says nothing
        return "fewer than two parameters had one range throughout"
    if trainings < FEWEST:
        return f"too few trainings: {trainings}, and {FEWEST} are needed"
    return ""


def _no_order(trainings: list[Training], target: float | None) -> str:
    if target is None:
        return "the study has no target accuracy"
    reached = sum(result.first_at(target) is not None for _, result in trainings)
    if reached < _FEWEST_REACHED:
        few = "none" if not reached else f"only {reached}"
        return f"{few} of the trainings reached {target:.6g}, and {_FEWEST_REACHED} are needed"
    return ""


def _energies(trainings: list[Training], target: float | None) -> list[float]:
    """Energies to the target, in J; of those that missed it what they used, beyond all others."""
    hits = [result.first_at(target or 0.0) for _, result in trainings]
    dearest_j = max((hit.training_j for hit in hits if hit is not None), default=0.0)
    return [
        dearest_j + result.cost_j if hit is None else hit.training_j
        for (_, result), hit in zip(trainings, hits, strict=True)
    ]


def _best(result: TrialResult) -> float:
    return max((a for a in result.curve.accuracy if math.isfinite(a)), default=0.0)


def _ask(
    study: StudyRecord,
    keys: Sequence[str],
    trainings: list[Training],
    best: int,
    values: list[float],
) -> dict[str, float]:
    """Shares by parameter; lower values are better."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with quiet_optuna():
        made = optuna.create_study()
    for (trial, _), value in zip(trainings, values, strict=True):
        params = {key: trial.params[key] for key in keys if key in trial.params}
        space = {key: study.space[key] for key in params}
        made.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(trainings))
    with warnings.catch_warnings():
        # A choice of a group that few trials took: said in words beside the figure.
        warnings.simplefilter("ignore", UserWarning)
        return dict(get_param_importances(made, evaluator=evaluator))
