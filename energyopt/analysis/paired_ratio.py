"""Whether one setup needs fewer joules than another, from trainings with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the energy of one is that of another.

    Attributes:
        value: The ratio of the geometric means.
        low: Lower end of its confidence interval.
        high: Upper end.
        pairs: Number of seeds with which both were trained.
    """

    value: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> int:
        """-1 if the one is cheaper beyond doubt, 1 if it is dearer, 0 if the interval holds 1."""
        return (self.low > 1) - (self.high < 1)


def ratio(one: Mapping[int, float], other: Mapping[int, float]) -> Ratio | None:
    """Compare two setups by the seeds that both have; None if there are fewer than two.

    Student's interval of the mean log ratio: the seed that both share is no difference, whatever
    it makes of both.

    Args:
        one: Energies by seed, in J.
        other: Those of the other one.
    """
    seeds = sorted(one.keys() & other.keys())
    if len(seeds) < 2:  # noqa: PLR2004  # of one alone no spread is known
        return None
    logs = [math.log(one[seed]) - math.log(other[seed]) for seed in seeds]
    mean = statistics.fmean(logs)
    half = quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), _exp(mean - half), _exp(mean + half), len(logs))


def quantile(freedom: int) -> float:
    """Of Student's t, for a two-sided interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf  # noqa: PLR2004  # the largest that is a number
