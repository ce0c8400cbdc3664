"""The seed noise of a study, from configurations that were trained more than once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.paired_ratio import half_width
from energyopt.analysis.pareto import Hit, at_target
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.search.noise_prior import ASSUMED_SEED_SD, seed_sd
from energyopt.search.schedule import params_key


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval (Student's t); without an interval for a single value."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A configuration that was trained several times.

    Attributes:
        trial: The first trial with it.
        confirming: True for its confirmations, which use the same seeds for all configurations.
        energies_j: Energies to the target of the runs that reached it, in J.
        missed: Number of runs that did not reach it.
        accuracies: Validation accuracy of each when it first reached the target.
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
        """Number of training runs."""
        return len(self.energies_j) + self.missed

    @property
    def energy(self) -> Interval | None:
        """Geometric mean of the energies with its interval, in J; None if none reached it."""
        return geometric(self.energies_j)


def repeated_setups(study: StudyRecord, target: float | None = None) -> list[Repeated]:
    """Return the configurations that were trained more than once, the cheapest first."""
    target = study.target if target is None else target
    repeated = [*_repeated_trials(study, target), *_confirmations(study, target)]
    return sorted(repeated, key=lambda setup: _mean_j(setup.energies_j))


def noise_of(study: StudyRecord, target: float | None = None) -> tuple[float, bool]:
    """Return the seed noise of a study, and whether it was measured. See `noise_among`."""
    target = study.target if target is None else target
    reaching = [] if target is None else at_target(study, target)
    return noise_among(energies_by_setup(reaching).values())


def energies_by_setup(reaching: Iterable[Hit]) -> dict[object, list[float]]:
    """Return the energies to the target, in J, of each configuration."""
    energies: dict[object, list[float]] = {}
    for trial, _, point in reaching:
        energies.setdefault(params_key(trial.params), []).append(point.training_j)
    return energies


def noise_among(repetitions: Iterable[Sequence[float]]) -> tuple[float, bool]:
    """Return the standard deviation of the log energy among repetitions, and if it was measured.

    If there are too few repetitions, a value is assumed.
    """
    measured_sd = seed_sd([math.log(energy_j) for energy_j in energies] for energies in repetitions)
    return (ASSUMED_SEED_SD, False) if measured_sd is None else (measured_sd, True)


def arithmetic(values: Sequence[float]) -> Interval | None:
    """Return the mean with its interval; None without any value."""
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) < 2:  # noqa: PLR2004  # one value has no spread
        return Interval(mean, None, None, len(values))
    half = half_width(values)
    return Interval(mean, mean - half, mean + half, len(values))


def geometric(values: Sequence[float]) -> Interval | None:
    """Return the geometric mean with the interval of the mean log; None without any value."""
    log = arithmetic([math.log(value) for value in values])
    if log is None:
        return None
    low, high = (None if end is None else _exp(end) for end in (log.low, log.high))
    return Interval(math.exp(log.mean), low, high, log.count)


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))  # about the largest float


def _mean_j(energies_j: Sequence[float]) -> float:
    return statistics.geometric_mean(energies_j) if energies_j else math.inf


def _repeated_trials(study: StudyRecord, target: float | None) -> list[Repeated]:
    if target is None:
        return []
    groups: dict[object, list[TrialRecord]] = {}
    for trial, result in study.results:
        if len(result.curve):
            groups.setdefault(params_key(trial.params), []).append(trial)
    hits = {trial.number: point for trial, _, point in at_target(study, target)}
    repeated = []
    for trials in groups.values():
        reached = [hits[trial.number] for trial in trials if trial.number in hits]
        if len(trials) > 1:
            repeated.append(
                Repeated(
                    trial=trials[0],
                    confirming=False,
                    energies_j=tuple(point.training_j for point in reached),
                    missed=len(trials) - len(reached),
                    accuracies=tuple(point.accuracy for point in reached),
                )
            )
    return repeated


def _confirmations(study: StudyRecord, target: float | None) -> list[Repeated]:
    return [
        Repeated(
            trial=setup.trial,
            confirming=True,
            energies_j=tuple(setup.energies_j.values()),
            missed=len(setup.missed),
            accuracies=tuple(setup.accuracies.values()),
            tests=tuple(setup.tests.values()),
        )
        for setup in confirmed_setups(study)
        if setup.target == target
    ]
