"""Seed noise: the spread of the energy of repetitions that differ in their seed only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

ASSUMED_SEED_SD = 0.1
"""Assumed standard deviation of log energy to the target where too few repetitions exist.

The seed changes the energy by a factor, so noise is taken as log-normal. Recorded trainings (Zeus,
NSDI'23, arXiv 2208.06102) mostly have 0.09 to 0.16, at the extremes 0.02 and 0.3; small tasks have
0.2 to 0.33. So 0.1 is at the low end, and too small for many.
"""

_MIN_DIFFERENCES = 3  # degrees of freedom; with 2 the estimate has a standard error of 50 %


def seed_sd(repetitions: Iterable[Sequence[float]]) -> float | None:
    """Return the pooled standard deviation of repetitions; None if there are too few.

    s^2 = sum_i sum_j (x_ij - mean_i)^2 / sum_i (n_i - 1), the within-group mean square of a one-way
    analysis of variance: all configurations are assumed to share one noise level.

    Args:
        repetitions: For each configuration the log energies of its repetitions.
    """
    repeated = [logs for logs in repetitions if len(logs) > 1]
    freedom = sum(len(logs) - 1 for logs in repeated)
    if freedom < _MIN_DIFFERENCES:
        return None
    squares = sum(len(logs) * statistics.pvariance(logs) for logs in repeated)
    return math.sqrt(squares / freedom)
