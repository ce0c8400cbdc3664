"""Which setup of a study to train with, by what is expected of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from energyopt.analysis.pareto import trained_as
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.search.posterior_ranking import (
    Model,
    Recommendation,
    Repetitions,
    recommend,
)
from energyopt.search.schedule import TrialSnapshot, setup_of, setups_of

WITHIN = 0.05
_POINTS = 60
_Z = 1.959964  # of a 95 % interval
_MOST = 100  # setups that a model looks at: those which reached the target with the least energy


@dataclass(frozen=True, slots=True)
class Advice:
    """What is expected of a setup of a study.

    Attributes:
        trial: The cheapest trial with it that reached the target; else the last one.
        energy_j: Its expected energy to the target, in J.
        sd: How unsure the log of that is.
        probability: That it is within a share of the best setup that was tried.
        trainings: How often it was trained.
        reached: How often it reached the target then.
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
        factor = math.exp(min(_Z * self.sd, 600.0))  # beyond that there is no number
        return self.energy_j / factor, self.energy_j * factor


def advise(
    study: StudyRecord,
    target: float | None = None,
    *,
    within: float = WITHIN,
    confirmed: bool = True,
) -> list[Advice]:
    """The setups of a study, the one to train with first: among those that reached the target.

    Args:
        study: The study.
        target: Accuracy to reach; the study's own if None.
        within: By how much a setup may be dearer than the best and still be as good, as a share.
        confirmed: Whether trainings that confirmed a setup count, too.

    Returns:
        Empty where no trial reached the target. Setups that did not reach it yet come last; they
        may be better still.
    """
    target = study.target if target is None else target
    if target is None:
        return []
    trials = {trial.number: trial for trial, _ in study.results}
    observed = [each for trial in trials.values() if (each := _observed(trial, target))]
    if not any(trial.reached for trial in observed):
        return []
    looked_at = _first(observed, target)
    if confirmed:
        looked_at += _repetitions(study, trials, {each.number for each in looked_at}, target)
    model = _model(study, looked_at, target)
    of: dict[object, list[TrialSnapshot]] = {}
    for each in looked_at:
        of.setdefault(setup_of(each.params), []).append(each)
    found = [
        _advice(each, of[setup_of(each.params)], trials, target)
        for each in recommend(model, setups_of(each.params for each in looked_at), within=within)
    ]
    return sorted(found, key=lambda advice: not advice.reached)


def _advice(
    found: Recommendation,
    of: Sequence[TrialSnapshot],
    trials: Mapping[int, TrialRecord],
    target: float,
) -> Advice:
    energies = [(e, t.number) for t in of if (e := t.to_target_j(target)) is not None]
    _, best = min((hit for hit in energies if hit[1] in trials), default=(0.0, of[0].number))
    return Advice(
        trial=trials[best],
        energy_j=found.energy_j,
        sd=found.sd,
        probability=found.probability,
        trainings=len(of),
        reached=len(energies),
    )


def _repetitions(
    study: StudyRecord, trials: Mapping[int, TrialRecord], among: Collection[int], target: float
) -> list[TrialSnapshot]:
    """The trainings that confirmed setups as they are, where a trial had reached the target."""
    found = []
    for each in study.confirmations:
        trial, result = trials.get(each.trial), each.result
        if trial is None or result is None or each.state != "complete" or each.trial not in among:
            continue
        reached = trial.result is not None and trial.result.first_at(target) is not None
        as_it_was = _essence(each.overrides) == _essence(trained_as(study, trial))
        if reached and as_it_was and result.target >= target:
            repetition = replace(trial, number=-1 - each.number, result=result, default=False)
            found.append(_observed(repetition, target))
    return [each for each in found if each is not None]


def _essence(words: Sequence[str]) -> set[str]:
    """What of a training's words makes its setup."""
    ends = ("seed=", "target=", "objective=", "objective.")
    return {word.lstrip("+") for word in words if not word.lstrip("+").startswith(ends)}


def _observed(trial: TrialRecord, target: float) -> TrialSnapshot | None:
    """A trial as the search sees it, with a curve that has cost something; else None."""
    result = trial.result
    if result is None:
        return None
    # A coarse counter has not moved at a first evaluation.
    costs = result.curve.only([energy_j > 0 for energy_j in result.curve.training_j])
    if not len(costs):
        return None
    curve = costs.thinned(_POINTS, target)
    burnt_j = (result.booked("pretraining") + result.booked("preparation")).total_j
    return TrialSnapshot(
        number=trial.number,
        params=trial.params,
        epochs=curve.in_epochs(result.epoch_j, result.upfront_j),
        joules=tuple(curve.training_j),
        accuracy=tuple(curve.accuracy),
        epoch_j=result.epoch_j,
        spent_j=result.spent_j - burnt_j + result.upfront_j,
        reached=curve.first_at(target) is not None,
        default=trial.default,
    )


def _first(observed: Sequence[TrialSnapshot], target: float) -> list[TrialSnapshot]:
    """As many as a model can look at, by number."""

    def rank(trial: TrialSnapshot) -> tuple[bool, float]:
        energy_j = trial.to_target_j(target)
        return (energy_j is None, energy_j or -trial.number)

    return sorted(sorted(observed, key=rank)[:_MOST], key=lambda trial: trial.number)


def _model(study: StudyRecord, observed: Sequence[TrialSnapshot], target: float) -> Model:
    """Learnt across setups, where it is known how these lie to each other."""
    keys = {key for trial in observed for key in trial.params} - {"seed"}
    space = {key: at for key, at in study.space.items() if key in keys}
    if not keys or space.keys() != keys:
        return Repetitions(observed, target)
    from energyopt.search.energy_model import EnergyModel

    return EnergyModel(observed, space, target)
