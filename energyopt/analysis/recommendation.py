"""Recommend a configuration of a study by expected energy."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from energyopt.analysis.paired_ratio import NORMAL_QUANTILE
from energyopt.analysis.pareto import trained_as
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.search.posterior_ranking import (
    EmpiricalModel,
    Model,
    Recommendation,
    recommend,
)
from energyopt.search.schedule import TrialSnapshot, params_key, unique_params

WITHIN = 0.05
_POINTS = 60
_MAX_TRIALS = 100  # of a model, whose cost grows as n^3: those with the lowest energy to target


@dataclass(frozen=True, slots=True)
class Advice:
    """The expected energy of a configuration.

    Attributes:
        trial: The cheapest trial with it that reached the target; else the last one.
        energy_j: Its expected energy to the target, in J.
        sd: Standard deviation of the log of that.
        probability: Probability that it is within a share of the best one that was tried.
        trainings: Number of training runs with it.
        reached: Number of these that reached the target.
    """

    trial: TrialRecord
    energy_j: float
    sd: float
    probability: float
    trainings: int
    reached: int

    @property
    def interval_j(self) -> tuple[float, float]:
        """The 95 % interval of the expected energy, in J."""
        factor = math.exp(min(NORMAL_QUANTILE * self.sd, 600.0))  # keeps exp finite
        return self.energy_j / factor, self.energy_j * factor


def advise(
    study: StudyRecord,
    target: float | None = None,
    *,
    within: float = WITHIN,
    confirmed: bool = True,
) -> list[Advice]:
    """Rank the configurations of a study by expected energy to the target.

    Args:
        study: The study.
        target: Value of the metric to reach; the study's own if None.
        within: Share by which a configuration may be more expensive than the best and still count
            as equally good.
        confirmed: Include confirmations.

    Returns:
        The best first; empty if no trial reached the target. Configurations that did not reach it
        yet come last, although they may be better.
    """
    target = study.target if target is None else target
    if target is None:
        return []
    trials = {trial.number: trial for trial, _ in study.results}
    snapshots = [s for trial in trials.values() if (s := _snapshot(trial, target))]
    if not any(snapshot.reached for snapshot in snapshots):
        return []
    snapshots = _cheapest(snapshots, study.monitor.score(target))
    if confirmed:
        snapshots += _repetitions(study, trials, {s.number for s in snapshots}, target)
    goal = study.monitor.score(target)
    model = _model(study, snapshots, goal)
    groups: dict[object, list[TrialSnapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault(params_key(snapshot.params), []).append(snapshot)
    points = unique_params(snapshot.params for snapshot in snapshots)
    advices = [
        _advice(recommendation, groups[params_key(recommendation.params)], trials, goal)
        for recommendation in recommend(model, points, within=within)
    ]
    return sorted(advices, key=lambda advice: not advice.reached)


def _advice(
    recommendation: Recommendation,
    snapshots: Sequence[TrialSnapshot],
    trials: Mapping[int, TrialRecord],
    target: float,
) -> Advice:
    energies = [(e, t.number) for t in snapshots if (e := t.to_target_j(target)) is not None]
    _, best = min((hit for hit in energies if hit[1] in trials), default=(0.0, snapshots[0].number))
    return Advice(
        trial=trials[best],
        energy_j=recommendation.energy_j,
        sd=recommendation.sd,
        probability=recommendation.probability,
        trainings=len(snapshots),
        reached=len(energies),
    )


def _repetitions(
    study: StudyRecord, trials: Mapping[int, TrialRecord], among: Collection[int], target: float
) -> list[TrialSnapshot]:
    """Return the confirmations of trials that reached the target, with unchanged overrides."""
    snapshots = []
    for c in study.confirmations:
        trial, result = trials.get(c.trial), c.result
        if trial is None or result is None or c.state != "complete" or c.trial not in among:
            continue
        reached = trial.result is not None and trial.result.first_at(target) is not None
        is_same = _essence(c.overrides) == _essence(trained_as(study, trial))
        if reached and is_same and study.monitor.reaches(result.target, target):
            repetition = replace(trial, number=-1 - c.number, result=result, default=False)
            snapshots.append(_snapshot(repetition, target))
    return [snapshot for snapshot in snapshots if snapshot is not None]


def _essence(overrides: Sequence[str]) -> set[str]:
    """Return the overrides of a run that make up its configuration."""
    ends = ("seed=", "target=", "objective=", "objective.")
    return {o.lstrip("+") for o in overrides if not o.lstrip("+").startswith(ends)}


def _snapshot(trial: TrialRecord, target: float) -> TrialSnapshot | None:
    """Return a trial as the search sees it; None if its curve has no energy yet."""
    result = trial.result
    if result is None:
        return None
    # A coarse counter has not moved at a first evaluation.
    costs = result.curve.only([energy_j > 0 for energy_j in result.curve.training_j])
    if not len(costs):
        return None
    curve = costs.thinned(_POINTS, target)
    upfront_j = (result.booked("pretraining") + result.booked("preparation")).total_j
    return TrialSnapshot(
        number=trial.number,
        params=trial.params,
        epochs=curve.in_epochs(result.epoch_j, result.upfront_j),
        joules=tuple(curve.training_j),
        accuracy=curve.scores,
        epoch_j=result.epoch_j,
        spent_j=result.spent_j - upfront_j + result.upfront_j,
        reached=curve.first_at(target) is not None,
        default=trial.default,
    )


def _cheapest(snapshots: Sequence[TrialSnapshot], target: float) -> list[TrialSnapshot]:
    """Return the cheapest trials to the target that a model can use, by number."""

    def rank(trial: TrialSnapshot) -> tuple[bool, float]:
        energy_j = trial.to_target_j(target)
        return (energy_j is None, energy_j or -trial.number)

    return sorted(sorted(snapshots, key=rank)[:_MAX_TRIALS], key=lambda trial: trial.number)


def _model(study: StudyRecord, snapshots: Sequence[TrialSnapshot], target: float) -> Model:
    """Return a model across configurations if the space is known, else the empirical one."""
    keys = {key for trial in snapshots for key in without_seeds(trial.params)}
    space = {key: d for key, d in study.space.items() if key in keys}
    if not keys or space.keys() != keys:
        return EmpiricalModel(snapshots, target)
    from energyopt.search.curve_observations import scale_of
    from energyopt.search.energy_model import EnergyModel

    return EnergyModel(snapshots, space, target, scale_of(study.monitor, snapshots, target))
