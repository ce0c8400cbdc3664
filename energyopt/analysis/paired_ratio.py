"""The energy ratio of two configurations, from training runs with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
NORMAL_QUANTILE = 1.959964
"""Of the standard normal distribution, for a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The energy of one configuration over that of another.

    Attributes:
        value: The ratio of the geometric means.
        low: Lower end of its confidence interval.
        high: Upper end.
        pairs: Number of seeds with which both were trained.
        p_value: Of the paired t test that the ratio is 1, two-sided.
    """

    value: float
    low: float
    high: float
    pairs: int
    p_value: float = math.nan

    @property
    def verdict(self) -> int:
        """-1 if the first is significantly cheaper, 1 if more expensive, 0 if undecided."""
        return (self.low > 1) - (self.high < 1)


def ratio(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> Ratio | None:
    """Compare the energies by seed, in J, of two configurations; None if fewer than two pairs.

    Student's t interval of the mean log ratio. Pairing removes what a seed does to both.
    """
    seeds = sorted(numerator.keys() & denominator.keys())
    if len(seeds) < 2:  # noqa: PLR2004  # one value has no spread
        return None
    logs = [math.log(numerator[seed]) - math.log(denominator[seed]) for seed in seeds]
    mean = statistics.fmean(logs)
    half = half_width(logs)
    ends = (_exp(mean - half), _exp(mean + half))
    return Ratio(math.exp(mean), *ends, len(logs), t_test(logs))


def half_width(values: Sequence[float]) -> float:
    """Return half the confidence interval of the mean of at least two values.

    t(n - 1) * s / sqrt(n), with Student's t and the sample standard deviation s.
    """
    return quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t_test(values: Sequence[float]) -> float:
    """Return the two-sided p-value of the t test that the mean of at least two values is 0."""
    from scipy.special import stdtr

    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    if error == 0:
        return float(mean == 0)
    return 2 * float(stdtr(len(values) - 1, -abs(mean) / error))


def quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the quantile of Student's t distribution for a two-sided interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf  # noqa: PLR2004  # about the largest float
