"""Which searched parameters matter for energy, and which for the metric: PED-ANOVA by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.analysis.curves import best_score
from energyopt.analysis.heat_map import searched
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.search.quiet import quiet_optuna

MIN_TRAININGS = 20
"""Training runs that are needed for an estimate."""

_TOP = 0.1  # share of the best runs, as in the paper of PED-ANOVA (Watanabe et al., 2023) ...
_MIN_TOP = 5  # ... but at least so many: a density is estimated from them
_MIN_REACHED = 5  # at the target: with fewer, the best runs have no order of energy


@dataclass(frozen=True, slots=True)
class Importances:
    """The importance of each parameter: how far it separates the best runs from all.

    Attributes:
        energy: Shares by parameter that sum to 1, for energy to the target; empty if unknown.
        accuracy: Shares by parameter that sum to 1, for the best value of the metric.
        trainings: Number of training runs used.
        best: Number of runs that count as the best.
        energy_reason: Why there is no estimate for energy, in words; empty if there is one.
        accuracy_reason: Why there is no estimate for the metric, in words.
        partly: Parameters that some of these runs did not have.
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
    """Estimate the importance of parameters with PED-ANOVA.

    It compares the distribution of the best runs in the search space with that of all, so only the
    order of runs matters: one that missed the target follows all that reached it, one that was
    stopped counts with its best value.
    """
    target = study.target if target is None else target
    varied = searched(study)
    keys = [key for key in varied if key in study.space]
    trainings = [(t, r) for t, r in study.results if len(r.curve) and set(t.params) & set(keys)]
    reason = _too_few(varied, keys, len(trainings))
    if reason:
        return Importances(trainings=len(trainings), energy_reason=reason, accuracy_reason=reason)
    best = max(math.ceil(_TOP * len(trainings)), _MIN_TOP)
    energy_reason = _no_order(trainings, target)
    return Importances(
        energy={}
        if energy_reason
        else _shares(study, keys, trainings, best, _energies(trainings, target)),
        accuracy=_shares(
            study, keys, trainings, best, [-best_score(result) for _, result in trainings]
        ),
        trainings=len(trainings),
        best=best,
        energy_reason=energy_reason,
        partly=tuple(k for k in keys if any(k not in trial.params for trial, _ in trainings)),
    )


Training = tuple[TrialRecord, TrialResult]


def _too_few(varied: Sequence[str], keys: Sequence[str], trainings: int) -> str:
    if len(varied) == 1:
        return f"{varied[0]} is the only parameter that was searched"
    if len(keys) < 2:  # noqa: PLR2004  # the share of a single parameter is 1
        return "fewer than two parameters had one range throughout"
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


def _shares(
    study: StudyRecord,
    keys: Sequence[str],
    trainings: list[Training],
    best: int,
    values: list[float],
) -> dict[str, float]:
    """Return the importance of each parameter for values, of which lower ones are better."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with quiet_optuna():
        optuna_study = optuna.create_study()
    for (trial, _), value in zip(trainings, values, strict=True):
        params = {key: trial.params[key] for key in keys if key in trial.params}
        space = {key: study.space[key] for key in params}
        optuna_study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(trainings))
    with warnings.catch_warnings():
        # A group option that few trials chose: the report says so next to the figure.
        warnings.simplefilter("ignore", UserWarning)
        return dict(get_param_importances(optuna_study, evaluator=evaluator))
