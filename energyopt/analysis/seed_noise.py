"""What the seed makes of the energies of a study: setups that were trained more than once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.paired_ratio import quantile
from energyopt.analysis.pareto import at_target
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.search.noise_prior import ASSUMED_SD, luck
from energyopt.search.schedule import setup_of


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval, Student's; without an interval where one value is all."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A setup that was trained several times.

    Attributes:
        trial: The first trial with it.
        confirming: Whether these are the trainings that confirmed it, with the same seeds for all.
        energies_j: Energies to the target, in J, of those that reached it.
        missed: How many did not.
        accuracies: Validation accuracy where each first was at the target.
        tests: Test accuracies, where they were measured.
    """

    trial: TrialRecord
    confirming: bool
    energies_j: tuple[float, ...]
    missed: int
    accuracies: tuple[float, ...]
    tests: tuple[float, ...] = ()

    @property
    def trainings(self) -> int:
        """How many there are."""
        return len(self.energies_j) + self.missed

    @property
    def energy(self) -> Interval | None:
        """Geometric mean of the energies with its interval, in J; None if none reached it."""
        return geometric(self.energies_j)


def repeated_setups(study: StudyRecord, target: float | None = None) -> list[Repeated]:
    """The setups of a study that were trained more than once, the cheapest first.

    Args:
        study: The study.
        target: Accuracy to reach; the study's own if None.
    """
    target = study.target if target is None else target
    found = [*_in_the_search(study, target), *_confirmed(study, target)]
    return sorted(found, key=lambda each: _mean_j(each.energies_j))


def noise_of(study: StudyRecord, target: float | None = None) -> tuple[float, bool]:
    """Standard deviation of log energy to the target among repetitions, and whether it was seen.

    Where too few repetitions say it, one is assumed, as break-even does.
    """
    target = study.target if target is None else target
    setups: dict[object, list[float]] = {}
    for trial, _, point in at_target(study, target) if target is not None else ():
        setups.setdefault(setup_of(trial.params), []).append(math.log(point.training_j))
    known = luck(setups.values())
    return (ASSUMED_SD, False) if known is None else (known, True)


def arithmetic(values: Sequence[float]) -> Interval | None:
    """Mean with its interval; None of nothing."""
    if not values:
        return None
    mean, half = statistics.fmean(values), _half(values)
    if half is None:
        return Interval(mean, None, None, len(values))
    return Interval(mean, mean - half, mean + half, len(values))


def geometric(values: Sequence[float]) -> Interval | None:
    """Geometric mean with the interval of the mean log; None of nothing."""
    found = arithmetic([math.log(value) for value in values])
    if found is None:
        return None
    low, high = (None if end is None else _exp(end) for end in (found.low, found.high))
    return Interval(math.exp(found.mean), low, high, found.count)


def _half(values: Sequence[float]) -> float | None:
    if len(values) < 2:  # noqa: PLR2004  # of one alone no spread is known
        return None
    return quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))  # beyond that there is no number


def _mean_j(energies_j: Sequence[float]) -> float:
    return statistics.geometric_mean(energies_j) if energies_j else math.inf


def _in_the_search(study: StudyRecord, target: float | None) -> list[Repeated]:
    if target is None:
        return []
    groups: dict[object, list[TrialRecord]] = {}
    for trial, result in study.results:
        if len(result.curve):
            groups.setdefault(setup_of(trial.params), []).append(trial)
    hits = {trial.number: point for trial, _, point in at_target(study, target)}
    found = []
    for trials in groups.values():
        reached = [hits[trial.number] for trial in trials if trial.number in hits]
        if len(trials) > 1:
            found.append(
                Repeated(
                    trial=trials[0],
                    confirming=False,
                    energies_j=tuple(point.training_j for point in reached),
                    missed=len(trials) - len(reached),
                    accuracies=tuple(point.accuracy for point in reached),
                )
            )
    return found


def _confirmed(study: StudyRecord, target: float | None) -> list[Repeated]:
    return [
        Repeated(
            trial=each.trial,
            confirming=True,
            energies_j=tuple(each.energies_j.values()),
            missed=len(each.missed),
            accuracies=tuple(each.accuracies.values()),
            tests=tuple(each.tests.values()),
        )
        for each in confirmed_setups(study)
        if each.target == target
    ]
