"""What the seed alone makes of a training's energy: the spread of repetitions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

ASSUMED_SD = 0.1
"""Of log energy to the target, where no repetitions say.

It is too small for most: recorded trainings have 0.02 to 0.3, small ones 0.2 to 0.33.
"""

_FEWEST = 3  # differences between repetitions that say how much luck is in a result


def luck(repeats: Iterable[Sequence[float]]) -> float | None:
    """Standard deviation among repetitions, of all setups together; None if there are too few.

    Args:
        repeats: For each setup the log energies of its repetitions.
    """
    many = [logs for logs in repeats if len(logs) > 1]
    freedom = sum(len(logs) - 1 for logs in many)
    if freedom < _FEWEST:
        return None
    apart = sum(len(logs) * statistics.pvariance(logs) for logs in many)
    return math.sqrt(apart / freedom)
