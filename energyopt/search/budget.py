"""When a study has spent enough: its budgets, and whether one more trial is worth its joules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from energyopt.core.units import duration, joules
from energyopt.search.noise_prior import ASSUMED_SD
from energyopt.search.schedule import TrialSnapshot

_FEWEST_HITS = 4  # that say how the next trial may turn out
_LEAST_VARIANCE = 1e-6
_FAR = -30.0  # standard deviations below which a normal's distribution function is its asymptote's
_PRIOR_SD, _PRIOR_TRIALS = 0.5, 1  # of log energies to the target, before there are many


class Worth(NamedTuple):
    """What one more trial is expected to bring and to take.

    Attributes:
        saving_j: Energy that it saves in each training with what is found, in J.
        cost_j: Energy that it burns itself, in J.
    """

    saving_j: float
    cost_j: float


Estimate = Callable[[Sequence[TrialSnapshot]], Worth | None]
"""Says what one more trial is worth after those; None while that is not known."""


@runtime_checkable
class Appraiser(Protocol):
    """A sampler that knows better than the trials alone what its next one is worth."""

    def worth(self, observed: Sequence[TrialSnapshot]) -> Worth | None:
        """What one more trial is worth; None while that is not known."""


class Books(Protocol):
    """What a study knows of its costs."""

    def spent_j(self) -> float:
        """All energy that it burnt until now, running trials included, in J."""

    def took_s(self) -> float:
        """The time in which runs were at work on it, in s."""

    def observed(self) -> Sequence[TrialSnapshot]:
        """Its trials."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may spend, over all its runs. What runs when it is spent goes on to its end.

    Attributes:
        most_j: Energy, in J; None for any.
        most_s: Time in which runs are at work on it, in s: that of a clock on the wall, so that two
            trials at the same time take it once; None for any.
        reuse: How many trainings will use what is found: a trial must save there what it costs;
            None asks no trial for that.
        estimate: Says what one more trial is worth.
    """

    most_j: float | None = None
    most_s: float | None = None
    reuse: float | None = None
    estimate: Estimate = lambda _: None

    def over(self, books: Books) -> str | None:
        """Why no further trial begins or goes on, in words; None if one may."""
        if self.most_j is not None and (spent_j := books.spent_j()) >= self.most_j:
            return f"search_budget_j={self.most_j:g} is spent: {joules(spent_j)}"
        if self.most_s is not None and (took_s := books.took_s()) >= self.most_s:
            return f"search_budget_s={self.most_s:g} is spent: {duration(took_s)}"
        if self.reuse is None:
            return None
        worth = self.estimate(books.observed())
        if worth is None or self.reuse * worth.saving_j >= worth.cost_j:
            return None
        return (
            f"the next joule is not worth it: a trial is expected to cost {joules(worth.cost_j)}, "
            f"and to save {joules(self.reuse * worth.saving_j)} in reuse={self.reuse:g} trainings"
        )


def worth_of_next(observed: Sequence[TrialSnapshot], target: float) -> Worth | None:
    """What one more trial is worth, from the trials alone, whatever suggests it.

    The next one is taken to be like the later half of those until now, since a sampler learns: it
    reaches the target as often, at an energy that is log-normal about theirs, and costs as much.
    What it saves is the expected improvement of the least energy to the target; what the seed
    alone makes of energies is none.

    Args:
        observed: The trials until now.
        target: Accuracy to reach.

    Returns:
        None while too few reached the target.
    """
    over = [trial for trial in observed if trial.state != "running"]
    energies = [trial.to_target_j(target) for trial in over]
    hits = [energy for energy in energies if energy is not None]
    late = energies[_later_half(energies) :]
    logs = [math.log(energy) for energy in late if energy is not None]
    if len(logs) < _FEWEST_HITS:
        return None
    apart = statistics.pvariance(logs) * len(logs) + _PRIOR_TRIALS * _PRIOR_SD**2
    variance = apart / (len(logs) + _PRIOR_TRIALS) * (1 + 1 / len(logs)) - ASSUMED_SD**2
    sd = math.sqrt(max(variance, _LEAST_VARIANCE))
    saving_j = len(logs) / len(late) * expected_saving_j(min(hits), statistics.fmean(logs), sd)
    return Worth(saving_j, statistics.fmean(trial.spent_j for trial in over[-len(late) :]))


def expected_saving_j(best_j: float, mean: float, sd: float) -> float:
    """By how much a log-normal energy is expected to lie below the best one, in J.

    Args:
        best_j: The best one, in J.
        mean: Of the log energy.
        sd: Its standard deviation, above 0.
    """
    normal = statistics.NormalDist()
    z = (math.log(best_j) - mean) / sd
    below = math.exp(mean + sd**2 / 2 + _log_cdf(z - sd))
    return max(best_j * normal.cdf(z) - below, 0.0)


def _log_cdf(z: float) -> float:
    """Log of the normal distribution function, also where that is nearly 0."""
    if z < _FAR:
        return -(z**2) / 2 - math.log(-z * math.sqrt(2 * math.pi))
    return math.log(math.erfc(-z / math.sqrt(2)) / 2)


def _later_half(energies: Sequence[float | None]) -> int:
    """Where the later half begins: earlier, where it has too few that reached the target."""
    begin = len(energies) // 2
    while begin and sum(each is not None for each in energies[begin:]) < _FEWEST_HITS:
        begin -= 1
    return begin
