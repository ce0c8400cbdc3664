"""The growth of a study's front with the energy of its search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from energyopt.analysis.pareto import non_dominated
from energyopt.core.metric import ACCURACY
from energyopt.core.study_record import StudyRecord


@dataclass(frozen=True, slots=True)
class Growth:
    """The front after a trial.

    Attributes:
        trial: Number of the trial.
        search_j: Energy of the search up to this trial, in J.
        share: The area under the front, as a share of the final one.
    """

    trial: int
    search_j: float
    share: float


def growth(study: StudyRecord) -> tuple[Growth, ...]:
    """Return the area under the front of all checkpoints after each trial.

    The area lies between the front, accuracy 0 (of another metric, the worst value of all) and the
    most expensive checkpoint, over the logarithm of the training energy. A trial counts as a whole
    at its number, even if it paused.
    """
    curves = [
        [
            point
            for point in zip(result.curve.training_j, result.curve.scores, strict=True)
            if all(map(math.isfinite, point))
        ]
        for _, result in study.results
    ]
    lowest = 0.0
    if study.monitor != ACCURACY:
        lowest = min((score for curve in curves for _, score in curve), default=0.0)
    highest_j = max((energy_j for curve in curves for energy_j, _ in curve), default=0.0)
    areas: list[tuple[int, float, float]] = []
    front: list[tuple[float, float]] = []
    search_j = 0.0
    numbered = {
        trial.number: curve for (trial, _), curve in zip(study.results, curves, strict=True)
    }
    for trial in study.trials:
        search_j += 0.0 if trial.result is None else trial.result.spent_j
        if trial.number in numbered:
            points = [*front, *numbered[trial.number]]
            front = non_dominated(points, values=itemgetter(0, 1))
            areas.append((trial.number, search_j, _area(front, highest_j, lowest)))
    final = areas[-1][2] if areas else 0.0
    return tuple(Growth(n, used_j, area / final if final else 0.0) for n, used_j, area in areas)


def _area(front: Sequence[tuple[float, float]], highest_j: float, lowest: float) -> float:
    steps = itertools.pairwise((*front, (highest_j, lowest)))
    return sum(
        (score - lowest) * math.log(next_j / point_j) for (point_j, score), (next_j, _) in steps
    )
