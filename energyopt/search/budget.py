"""Search budgets, and the rule that a trial must be expected to save what it costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from energyopt.core.units import duration, joules
from energyopt.search.noise_prior import ASSUMED_SEED_SD
from energyopt.search.schedule import TrialSnapshot

_MIN_HITS = 4  # with 3 the standard deviation of energies has a standard error of 50 %
_MIN_VARIANCE = 1e-6  # keeps the standard deviation above 0 where all variance is seed noise
_FAR_Z = -30.0  # below, erfc nears the smallest float, and its asymptote is exact enough
# Prior of the standard deviation of log energies to the target, with the weight of one trial: a
# factor of 1.6 between suggestions, as a searched space typically shows.
_PRIOR_SD, _PRIOR_TRIALS = 0.5, 1


class TrialValue(NamedTuple):
    """The expected value of one more trial.

    Attributes:
        saving_j: Energy that it saves in each training with the result, in J.
        cost_j: Energy that the trial uses, in J.
    """

    saving_j: float
    cost_j: float


Estimate = Callable[[Sequence[TrialSnapshot]], TrialValue | None]
"""Estimates the value of one more trial after those given; None while it is unknown."""


@runtime_checkable
class ValueEstimator(Protocol):
    """A sampler that estimates the value of its next trial better than the trials alone do."""

    def worth(self, observed: Sequence[TrialSnapshot]) -> TrialValue | None:
        """Return the value of one more trial; None while it is unknown."""


class Books(Protocol):
    """A study's costs so far."""

    def spent_j(self) -> float:
        """Return all energy used so far, running trials included, in J."""

    def wall_time_s(self) -> float:
        """Return the time in which runs worked on the study, in s."""

    def observed(self) -> Sequence[TrialSnapshot]:
        """Return the study's trials."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a study over all its runs. A trial that is running then trains to its end.

    Attributes:
        max_j: Energy, in J; None for any.
        max_s: Time in which runs work on the study, in s of wall-clock time: two trials at the
            same time count it once; None for any.
        planned_trainings: Number of planned trainings with the result: a trial must save there what
            it costs; None requires no saving.
        estimate: Estimates the value of one more trial.
    """

    max_j: float | None = None
    max_s: float | None = None
    planned_trainings: float | None = None
    estimate: Estimate = lambda _: None

    def over(self, books: Books) -> str | None:
        """Return why no further trial begins or resumes; None if one may.

        A trial is worth its energy while planned_trainings x expected saving >= expected cost.
        """
        if self.max_j is not None and (energy_j := books.spent_j()) >= self.max_j:
            return f"search_budget_j={self.max_j:g} is spent: {joules(energy_j)}"
        if self.max_s is not None and (time_s := books.wall_time_s()) >= self.max_s:
            return f"search_budget_s={self.max_s:g} is spent: {duration(time_s)}"
        if self.planned_trainings is None:
            return None
        value = self.estimate(books.observed())
        if value is None or self.planned_trainings * value.saving_j >= value.cost_j:
            return None
        return (
            f"the next joule is not worth it: a trial is expected to cost {joules(value.cost_j)}, "
            f"and to save {joules(self.planned_trainings * value.saving_j)} in "
            f"{self.planned_trainings:g} planned trainings"
        )


def worth_of_next(observed: Sequence[TrialSnapshot], target: float) -> TrialValue | None:
    """Return the value of one more trial, estimated from the trials alone.

    The next trial is assumed to be like the later half of those so far, since a sampler learns: it
    reaches the target as often, at an energy that is log-normal about theirs, and costs as much.
    Its saving is the expected improvement on the least energy to the target. The predictive
    variance of a normal's next value, s^2 (1 + 1/n), is reduced by the variance of seed noise,
    which no choice of hyperparameters can exploit.

    Returns:
        None while too few reached the target.
    """
    finished = [trial for trial in observed if trial.state != "running"]
    energies = [trial.to_target_j(target) for trial in finished]
    hits = [energy for energy in energies if energy is not None]
    late = energies[_later_half(energies) :]
    logs = [math.log(energy) for energy in late if energy is not None]
    if len(logs) < _MIN_HITS:
        return None
    squares = statistics.pvariance(logs) * len(logs) + _PRIOR_TRIALS * _PRIOR_SD**2
    predictive = squares / (len(logs) + _PRIOR_TRIALS) * (1 + 1 / len(logs))
    sd = math.sqrt(max(predictive - ASSUMED_SEED_SD**2, _MIN_VARIANCE))
    saving_j = len(logs) / len(late) * expected_saving_j(min(hits), statistics.fmean(logs), sd)
    return TrialValue(saving_j, statistics.fmean(trial.spent_j for trial in finished[-len(late) :]))


def expected_saving_j(best_j: float, mean: float, sd: float) -> float:
    """Return by how much a log-normal energy is expected to lie below the best one, in J.

    Expected improvement of a log-normal variable (Hutter et al. 2009), with
    z = (log best - mean) / sd: best Phi(z) - exp(mean + sd^2 / 2) Phi(z - sd).

    Args:
        best_j: The best one, in J.
        mean: Mean of the log energy.
        sd: Its standard deviation, above 0.
    """
    normal = statistics.NormalDist()
    z = (math.log(best_j) - mean) / sd
    partial_mean_j = math.exp(mean + sd**2 / 2 + _log_cdf(z - sd))
    return max(best_j * normal.cdf(z) - partial_mean_j, 0.0)


def _log_cdf(z: float) -> float:
    """Return the log of the normal distribution function.

    Far below 0 by its asymptote phi(z) / -z, where the function itself would underflow.
    """
    if z < _FAR_Z:
        return -(z**2) / 2 - math.log(-z * math.sqrt(2 * math.pi))
    return math.log(math.erfc(-z / math.sqrt(2)) / 2)


def _later_half(energies: Sequence[float | None]) -> int:
    """Return where the later half begins: earlier if it has too few that reached the target."""
    begin = len(energies) // 2
    while begin and sum(energy is not None for energy in energies[begin:]) < _MIN_HITS:
        begin -= 1
    return begin
