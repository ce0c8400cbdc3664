"""How the front of a study grew with the joules that its search burnt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from energyopt.analysis.pareto import non_dominated
from energyopt.core.study_record import StudyRecord


@dataclass(frozen=True, slots=True)
class Growth:
    """The front after a trial.

    Attributes:
        trial: Its number.
        search_j: What the search had burnt by then, in J.
        share: The area under the front, as a share of what it is in the end.
    """

    trial: int
    search_j: float
    share: float


def growth(study: StudyRecord) -> tuple[Growth, ...]:
    """Follow the area under the front of all checkpoints, trial by trial.

    It lies between the front, accuracy 0 and the dearest checkpoint, over the logarithm of the
    training energy. A trial counts as a whole where its number stands, also if it paused meanwhile.
    """
    curves = [
        [
            at
            for at in zip(result.curve.training_j, result.curve.accuracy, strict=True)
            if all(map(math.isfinite, at))
        ]
        for _, result in study.results
    ]
    dearest_j = max((energy_j for curve in curves for energy_j, _ in curve), default=0.0)
    found: list[tuple[int, float, float]] = []
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
            found.append((trial.number, search_j, _area(front, dearest_j)))
    last = found[-1][2] if found else 0.0
    return tuple(Growth(number, at_j, area / last if last else 0.0) for number, at_j, area in found)


def _area(front: Sequence[tuple[float, float]], dearest_j: float) -> float:
    ends = (*front, (dearest_j, 0.0))
    steps = itertools.pairwise(ends)
    return sum(accuracy * math.log(next_j / at_j) for (at_j, accuracy), (next_j, _) in steps)
