"""The metric on the test split, with the error of its samples and of its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from energyopt.analysis.paired_ratio import NORMAL_QUANTILE, half_width
from energyopt.core.metric import Monitor


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The mean of a metric on the test split.

    Attributes:
        mean: Its mean over the seeds.
        error: Its standard error; None of a single value without a number of samples.
        low: Lower end of its 95 % interval; None if the error is.
        high: Upper end.
        seeds: Number of seeds.
        samples: Number of test samples, if its error is made of them; else None.
        reached: Number of seeds whose test value is at the target or better.
    """

    mean: float
    error: float | None
    low: float | None
    high: float | None
    seeds: int
    samples: int | None
    reached: int


def held_out(
    values: Sequence[float], samples: int | None, monitor: Monitor, target: float | None
) -> HeldOut | None:
    """Return the mean on the test split with its error; None without any value.

    All seeds are tested on the same samples, so that more seeds do not reduce the error of these.
    For a share p of n samples and the variance s^2 over k seeds, SE^2 = p (1 - p) / n + s^2 / k.
    The interval is Wilson's for as many samples as would give this error. Other metrics have the
    error over seeds, and Student's t.

    Args:
        values: Test values, one for each seed.
        samples: Number of test samples of which the value is a share; None if it is no share.
        monitor: The metric.
        target: Value to reach.
    """
    if not values:
        return None
    mean, seeds = statistics.fmean(values), len(values)
    reached = 0 if target is None else sum(monitor.reaches(value, target) for value in values)
    seed_variance = statistics.variance(values) / seeds if seeds > 1 else 0.0
    if samples is not None and monitor.is_share:
        spread = mean * (1 - mean)
        error = math.sqrt(spread / samples + seed_variance)
        effective = spread / error**2 if error > 0 and spread > 0 else samples
        return HeldOut(mean, error, *wilson(mean, effective), seeds, samples, reached)
    if seeds == 1:
        return HeldOut(mean, None, None, None, seeds, None, reached)
    half = half_width(values)
    return HeldOut(mean, math.sqrt(seed_variance), mean - half, mean + half, seeds, None, reached)


def wilson(share: float, samples: float, z: float = NORMAL_QUANTILE) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score, which stays within 0 and 1.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    Args:
        share: The share that was seen.
        samples: Number of independent samples.
        z: Quantile of the normal distribution, or of Student's.
    """
    squares = z**2 / samples
    center = (share + squares / 2) / (1 + squares)
    half = z / (1 + squares) * math.sqrt(share * (1 - share) / samples + squares / samples / 4)
    low = 0.0 if share == 0 else max(center - half, 0.0)
    return low, 1.0 if share == 1 else min(center + half, 1.0)
