"""Equivalence of two sets of energies: shown to be alike, not merely not shown to differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from energyopt.analysis.paired_ratio import quantile

LEVEL = 0.05
"""Error of each of the two one-sided tests; so the interval is one of 90 %."""

Finding = Literal["equivalent", "different", "undecided"]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The result of two one-sided tests (TOST) on the mean of log ratios.

    Source: D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power
    approach", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987. That the interval of 90 %
    lies within the margin is the same as that both tests reject at 5 %.

    Attributes:
        ratio: The geometric mean of the ratios.
        low: Lower end of its interval of 90 %.
        high: Upper end.
        margin: The ratio, above 1, within which and within whose inverse two energies are alike.
    """

    ratio: float
    low: float
    high: float
    margin: float

    @property
    def finding(self) -> Finding:
        """The finding: the interval is within the margin, outside, or across one of its ends."""
        if 1 / self.margin <= self.low and self.high <= self.margin:
            return "equivalent"
        is_outside = self.low > self.margin or self.high < 1 / self.margin
        return "different" if is_outside else "undecided"


def equivalence(logs: Sequence[float], margin: float) -> Equivalence | None:
    """Test whether the mean of log ratios is within a margin; None of fewer than two.

    Args:
        logs: Logarithms of ratios, one for each pair.
        margin: A ratio above 1.
    """
    if len(logs) < 2:  # noqa: PLR2004  # one value has no spread
        return None
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return equivalence_of(statistics.fmean(logs), error, len(logs) - 1, margin)


def equivalence_of(mean: float, error: float, freedom: float, margin: float) -> Equivalence:
    """Test whether the mean of log ratios is within a margin.

    Args:
        mean: Their mean.
        error: Its standard error.
        freedom: Degrees of freedom of the standard error.
        margin: A ratio above 1.
    """
    half = quantile(freedom, 1 - 2 * LEVEL) * error if error else 0.0
    low, center, high = (math.exp(min(x, 700.0)) for x in (mean - half, mean, mean + half))
    return Equivalence(center, low, high, margin)
