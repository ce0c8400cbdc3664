"""The progress of a trial and the history of its study: the inputs of a stopping rule.

The history travels to a job as one value that contains only numbers.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from energyopt.core.curve import Curve, thin_indices
from energyopt.core.metric import ACCURACY, Monitor

_MAX_ENTRIES = 50  # curves, and points of the front
_MAX_CURVE_POINTS = 16  # of one trial's curve
_N_COMPARED = 16  # energies at which curves are compared when one must be dropped
_DIGITS = 5

Point = tuple[float, float]
"""A point of a training to stop at: training energy in J, score of the metric."""


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """A trial up to its latest evaluation.

    The metric is given as a score, of which more is better: an accuracy as it is, the value of
    another metric as well, or its negative where less is better (`monitor.value` reverses it).

    Attributes:
        epochs: Epochs trained at each evaluation.
        joules: Training energy from the first step up to each evaluation, in J.
        accuracy: Score at each evaluation.
        target: Score to reach.
        last_epoch: Maximum number of epochs.
        beyond: Whether other scores than the target count as well; else the trial ends there.
        monitor: The metric.
    """

    epochs: tuple[float, ...]
    joules: tuple[float, ...]
    accuracy: tuple[float, ...]
    target: float
    last_epoch: float
    beyond: bool = True
    monitor: Monitor = ACCURACY

    @property
    def spent_j(self) -> float:
        """Training energy so far, in J."""
        return self.joules[-1] if self.joules else 0.0

    @property
    def best(self) -> float:
        """The best score so far."""
        return max(self.accuracy, default=self.monitor.worst)

    @property
    def reached(self) -> bool:
        """True if the target is reached."""
        return self.best >= self.target

    @property
    def end_j(self) -> float:
        """Expected energy after all its epochs, at the energy per epoch so far, in J."""
        return self.spent_j * max(1.0, self.last_epoch / self.epochs[-1]) if self.joules else 0.0


@dataclass(frozen=True, slots=True)
class BestSoFarCurve:
    """The best score of an earlier trial against joules.

    Attributes:
        number: The trial's.
        joules: Training energy, in J; never falling.
        accuracy: Best score so far; never falling.
        before: Score before the first evaluation.
    """

    number: int
    joules: tuple[float, ...]
    accuracy: tuple[float, ...]
    before: float = 0.0

    @classmethod
    def of(cls, number: int, curve: Curve) -> BestSoFarCurve:
        """Return the thinned best-so-far curve; flat parts keep points, so that rises stay late."""
        best = tuple(itertools.accumulate(curve.scores, max))
        indices = thin_indices(range(len(curve)), curve.training_j, _MAX_CURVE_POINTS)
        monitor = curve.monitor
        points = [_rounded(curve.training_j[i], best[i], monitor) for i in indices]
        joules, scores = tuple(j for j, _ in points), tuple(score for _, score in points)
        return cls(number, joules, scores, monitor.worst)

    def at(self, energy_j: float) -> float:
        """Return the best score at an energy, in J, by linear interpolation."""
        right = bisect.bisect_right(self.joules, energy_j)
        if right == 0:
            return self.before
        if right == len(self.joules):
            return self.accuracy[-1]
        (low_j, high_j), (low, high) = (
            column[right - 1 : right + 1] for column in (self.joules, self.accuracy)
        )
        return low + (high - low) * (energy_j - low_j) / (high_j - low_j)


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """The history of a study's earlier trials.

    Attributes:
        incumbent_j: Least energy to the target, in J; None before any trial reached it.
        incumbent: Number of that trial.
        curves: The best curves, by trial.
        front: Pareto front of energy and score, by energy.
        luck: Seed noise: standard deviation of the log energy to the target between seeds; None
            if unknown.
        worst: Score before a first evaluation; see `TrialProgress` for scores.
    """

    incumbent_j: float | None = None
    incumbent: int | None = None
    curves: tuple[BestSoFarCurve, ...] = ()
    front: tuple[Point, ...] = ()
    luck: float | None = None
    worst: float = ACCURACY.worst

    def updated_with(self, number: int, curve: Curve, target: float) -> StudyHistory:
        """Return the history with a trial added; a resumed trial replaces its earlier entry.

        Args:
            number: The trial's.
            curve: Its curve.
            target: Value of the metric to reach.
        """
        if not len(curve):
            return self
        other_curves = [earlier for earlier in self.curves if earlier.number != number]
        pairs = zip(curve.training_j, curve.scores, strict=True)
        new = [_rounded(energy_j, score, curve.monitor) for energy_j, score in pairs]
        history = dataclasses.replace(
            self,
            curves=_best([*other_curves, BestSoFarCurve.of(number, curve)]),
            front=_thinned(front_of([*self.front, *new])),
            worst=curve.monitor.worst,
        )
        hit = curve.first_at(target)
        if hit is None or (self.incumbent_j is not None and self.incumbent_j <= hit.training_j):
            return history
        incumbent_j = _rounded(hit.training_j, hit.accuracy, curve.monitor)[0]
        return dataclasses.replace(history, incumbent_j=incumbent_j, incumbent=number)

    def best_with(self, energy_j: float) -> float:
        """Return the best score on the front with at most an energy, in J."""
        right = bisect.bisect_right(self.front, (energy_j, math.inf))
        return self.front[right - 1][1] if right else self.worst

    def unit(self, progress: TrialProgress) -> float:
        """Return the range of scores, from first evaluations to the best or the target.

        Rules measure differences of scores in it. An accuracy has the unit 1.

        Args:
            progress: The trial that is compared with those of the history.
        """
        if progress.monitor == ACCURACY:
            return 1.0
        firsts = [curve.accuracy[0] for curve in self.curves]
        best = max([progress.target, progress.best, *(score for _, score in self.front)])
        size = best - statistics.median([*firsts, *progress.accuracy[:1]])
        return size if size > 0 else abs(best) or 1.0

    def to_json(self) -> str:
        """Return the history as JSON of numbers."""
        parts = {
            "incumbent_j": self.incumbent_j,
            "incumbent": self.incumbent,
            "curves": [[curve.number, curve.joules, curve.accuracy] for curve in self.curves],
            "front": self.front,
            "luck": self.luck,
            "worst": self.worst if math.isfinite(self.worst) else None,
        }
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> StudyHistory:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        worst = -math.inf if data["worst"] is None else data["worst"]
        return cls(
            data["incumbent_j"],
            data["incumbent"],
            tuple(
                BestSoFarCurve(number, tuple(joules), tuple(scores), worst)
                for number, joules, scores in data["curves"]
            ),
            tuple((energy_j, score) for energy_j, score in data["front"]),
            data["luck"],
            worst,
        )


def front_of(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front: by energy, each point with a higher score than those before."""
    front: list[Point] = []
    for energy_j, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((energy_j, score))
    return front


def _thinned(front: Sequence[Point]) -> tuple[Point, ...]:
    joules = [energy_j for energy_j, _ in front]
    return tuple(front[i] for i in thin_indices(range(len(front)), joules, _MAX_ENTRIES))


def _best(curves: Sequence[BestSoFarCurve]) -> tuple[BestSoFarCurve, ...]:
    """Return the curves, without the worst one if there are too many."""
    if len(curves) <= _MAX_ENTRIES:
        return tuple(curves)
    ends = sorted(itertools.chain.from_iterable((c.joules[0], c.joules[-1]) for c in curves))
    energies = [ends[round(i * (len(ends) - 1) / (_N_COMPARED - 1))] for i in range(_N_COMPARED)]
    lowest = min(curve.accuracy[0] for curve in curves)

    def total(curve: BestSoFarCurve) -> float:
        scores = map(curve.at, energies)
        return sum(score if math.isfinite(score) else lowest for score in scores)

    worst = min(curves, key=total)
    return tuple(curve for curve in curves if curve is not worst)


def _rounded(energy_j: float, score: float, monitor: Monitor) -> Point:
    # Digits of a metric of any range may lie far behind those that all its values share.
    rounded = round(score, _DIGITS) if monitor == ACCURACY else score
    return float(f"{energy_j:.{_DIGITS}g}"), rounded
