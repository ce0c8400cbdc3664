"""Which setup of a study to train with, by what is expected of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energyopt.records import StudyRecord, TrialRecord
from energyopt.search.observed import Observed
from energyopt.search.recommend import (
    Model,
    Recommendation,
    Repetitions,
    recommend,
    setup_of,
    setups_of,
)

WITHIN = 0.05
_MOST = 200  # setups that a model looks at: those which reached the target with the least energy


@dataclass(frozen=True, slots=True)
class Advice:
    """What is expected of a setup of a study.

    Attributes:
        trial: The cheapest trial with it that reached the target; else the last one.
        energy_j: Its expected energy to the target, in J.
        sd: How unsure the log of that is.
        probability: That it is within a share of the best setup that was tried.
        trainings: How many trials trained it.
        reached: How many of them reached the target.
    """

    trial: TrialRecord
    energy_j: float
    sd: float
    probability: float
    trainings: int
    reached: int


def advise(
    study: StudyRecord, target: float | None = None, *, within: float = WITHIN
) -> list[Advice]:
    """The setups of a study, the one to train with first: among those that reached the target.

    Args:
        study: The study.
        target: Accuracy to reach; the study's own if None.
        within: By how much a setup may be dearer than the best and still be as good, as a share.

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
    model = _model(study, looked_at, target)
    of: dict[object, list[Observed]] = {}
    for each in looked_at:
        of.setdefault(setup_of(each.params), []).append(each)
    found = [
        _advice(each, of[setup_of(each.params)], trials, target)
        for each in recommend(model, setups_of(looked_at), within=within)
    ]
    return sorted(found, key=lambda advice: not advice.reached)


def _advice(
    found: Recommendation, of: Sequence[Observed], trials: dict[int, TrialRecord], target: float
) -> Advice:
    energies = {t.number: e for t in of if (e := t.to_target_j(target)) is not None}
    best = min(energies, key=lambda number: (energies[number], number), default=of[-1].number)
    return Advice(
        trial=trials[best],
        energy_j=found.energy_j,
        sd=found.sd,
        probability=found.probability,
        trainings=len(of),
        reached=len(energies),
    )


def _observed(trial: TrialRecord, target: float) -> Observed | None:
    """A trial as the search sees it, with a curve that has cost something; else None."""
    result = trial.result
    if result is None or not len(result.curve) or result.curve.training_j[0] <= 0:
        return None
    curve = result.curve.thinned(60, target)
    return Observed(
        number=trial.number,
        params=trial.params,
        epochs=tuple(curve.epoch),
        joules=tuple(curve.training_j),
        accuracy=tuple(curve.accuracy),
        epoch_j=result.epoch_j,
        spent_j=result.spent_j,
        reached=result.first_at(target) is not None,
        default=trial.default,
    )


def _first(observed: Sequence[Observed], target: float) -> list[Observed]:
    """As many as a model can look at, by number."""

    def rank(trial: Observed) -> tuple[bool, float]:
        energy_j = trial.to_target_j(target)
        return (energy_j is None, energy_j or -trial.number)

    return sorted(sorted(observed, key=rank)[:_MOST], key=lambda trial: trial.number)


def _model(study: StudyRecord, observed: Sequence[Observed], target: float) -> Model:
    """Learnt across setups, where it is known how these lie to each other."""
    keys = {key for trial in observed for key in trial.params} - {"seed"}
    space = {key: at for key, at in study.space.items() if key in keys}
    if not keys or space.keys() != keys:
        return Repetitions(observed, target)
    from energyopt.search.model import EnergyModel

    return EnergyModel(observed, space, target)
