"""Rank the configurations of a study by expected energy to the target."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from energyopt.analysis.noise_model import NoiseModel
from energyopt.analysis.paired_ratio import NORMAL_QUANTILE
from energyopt.analysis.seed_noise import noise_model, unchanged_confirmations
from energyopt.core.estimate import Estimate
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
        energy: Energy to the target of a typical training, in J.
        probability: Probability that it is within a share of the best one that was tried.
        trainings: Number of training runs with it.
        reached: Number of these that reached the target.
    """

    trial: TrialRecord
    energy: Estimate
    probability: float
    trainings: int
    reached: int

    @property
    def energy_j(self) -> float:
        """Its expected energy to the target, in J."""
        return self.energy.value

    @property
    def interval_j(self) -> tuple[float, float]:
        """The 95 % interval of the expected energy, in J."""
        return self.energy.low, self.energy.high


def advise(
    study: StudyRecord,
    target: float | None = None,
    *,
    within: float = WITHIN,
    confirmed: bool = True,
    noise: NoiseModel | None = None,
) -> list[Advice]:
    """Rank the configurations of a study by expected energy to the target.

    Args:
        study: The study.
        target: Value of the metric to reach; the study's own if None.
        within: Share by which a configuration may be more expensive than the best and still count
            as equally good.
        confirmed: Include confirmations.
        noise: The posterior of the energies; computed if None.

    Returns:
        The best first; empty if no trial reached the target. Configurations that did not reach it
        yet come last, although they may be better.
    """
    target = study.target if target is None else target
    if target is None:
        return []
    trials = {trial.number: trial for trial, _ in study.results}
    if not any(result.first_at(target) for _, result in study.results):
        return []
    cheapest = _cheapest(trials.values(), target)
    snapshots = [s for trial in cheapest if (s := _snapshot(trial, target))]
    if confirmed:
        snapshots += _repetitions(study, {s.number for s in snapshots}, target)
    goal = study.monitor.score(target)
    model = _model(study, snapshots, goal)
    groups: dict[object, list[TrialSnapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault(params_key(snapshot.params), []).append(snapshot)
    points = unique_params(snapshot.params for snapshot in snapshots)
    ranked = recommend(model, points, within=within)
    advices = [_advice(r, groups[params_key(r.params)], trials, goal) for r in ranked]
    advices = _by_repetitions(advices, noise or noise_model(study, target), within)
    return sorted(advices, key=lambda advice: not advice.reached)


def _by_repetitions(
    advices: Sequence[Advice], noise: NoiseModel | None, within: float
) -> list[Advice]:
    """Return the advices with the energies that the trainings of each configuration show.

    The model that ranks them counts what similar configurations needed. It expects less noise than
    small trainings have, so its own intervals are too narrow.
    """
    reached = {params_key(advice.trial.params): advice for advice in advices if advice.reached}
    if noise is None or not reached:
        return list(advices)
    shares = noise.probability_within(within, list(reached))
    probabilities = dict(zip(reached, shares, strict=True))
    return [
        replace(advice, energy=noise.energy_j(key), probability=float(probabilities[key]))
        if (key := params_key(advice.trial.params)) in reached
        else replace(advice, probability=0.0)
        for advice in advices
    ]


def _advice(
    recommendation: Recommendation,
    snapshots: Sequence[TrialSnapshot],
    trials: Mapping[int, TrialRecord],
    target: float,
) -> Advice:
    energies = [(e, t.number) for t in snapshots if (e := t.to_target_j(target)) is not None]
    _, best = min((hit for hit in energies if hit[1] in trials), default=(0.0, snapshots[0].number))
    energy_j = recommendation.energy_j
    factor = math.exp(min(NORMAL_QUANTILE * recommendation.sd, 600.0))  # keeps exp finite
    return Advice(
        trial=trials[best],
        energy=Estimate(energy_j, energy_j / factor, energy_j * factor),
        probability=recommendation.probability,
        trainings=len(snapshots),
        reached=len(energies),
    )


def _repetitions(study: StudyRecord, among: Collection[int], target: float) -> list[TrialSnapshot]:
    """Return the confirmations of some trials."""
    snapshots = []
    for trial, confirmation, result in unchanged_confirmations(study, target):
        if trial.number in among:
            number = -1 - confirmation.number
            repetition = replace(trial, number=number, result=result, default=False)
            snapshots.append(_snapshot(repetition, target))
    return [snapshot for snapshot in snapshots if snapshot is not None]


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


def _cheapest(trials: Iterable[TrialRecord], target: float) -> list[TrialRecord]:
    """Return the cheapest trials to the target that a model can use, by number."""

    def rank(trial: TrialRecord) -> tuple[bool, float]:
        hit = None if trial.result is None else trial.result.first_at(target)
        return (True, -trial.number) if hit is None else (False, hit.training_j)

    usable = [trial for trial in trials if trial.result is not None and len(trial.result.curve)]
    return sorted(sorted(usable, key=rank)[:_MAX_TRIALS], key=lambda trial: trial.number)


def _model(study: StudyRecord, snapshots: Sequence[TrialSnapshot], target: float) -> Model:
    """Return a model across configurations if the space is known, else the empirical one."""
    keys = {key for trial in snapshots for key in without_seeds(trial.params)}
    space = {key: d for key, d in study.space.items() if key in keys}
    if not keys or space.keys() != keys:
        return EmpiricalModel(snapshots, target)
    from energyopt.search.curve_observations import scale_of
    from energyopt.search.energy_model import EnergyModel

    return EnergyModel(snapshots, space, target, scale_of(study.monitor, snapshots, target))
