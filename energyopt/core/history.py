"""The progress of a trial and the history of its study: the inputs of a stopping rule.

The history travels to a job as one value that contains only numbers.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from energyopt.core.curve import Curve, spread

_MAX_ENTRIES = 50  # curves, and points of the front
_MAX_CURVE_POINTS = 16  # of one trial's curve
_N_COMPARED = 16  # energies at which curves are compared when one must be dropped
_DIGITS = 5

Point = tuple[float, float]
"""A point of a training to stop at: training energy in J, accuracy."""


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """A trial up to its latest evaluation.

    Attributes:
        epochs: Epochs trained at each evaluation.
        joules: Training energy from the first step up to each evaluation, in J.
        accuracy: Accuracy at each evaluation, in [0, 1].
        target: Accuracy to reach, in [0, 1].
        last_epoch: Maximum number of epochs.
        beyond: Whether other accuracies than the target count as well; else the trial ends there.
    """

    epochs: tuple[float, ...]
    joules: tuple[float, ...]
    accuracy: tuple[float, ...]
    target: float
    last_epoch: float
    beyond: bool = True

    @property
    def spent_j(self) -> float:
        """Training energy so far, in J."""
        return self.joules[-1] if self.joules else 0.0

    @property
    def best(self) -> float:
        """The best accuracy so far."""
        return max(self.accuracy, default=0.0)

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
    """The best accuracy of an earlier trial against joules.

    Attributes:
        number: The trial's.
        joules: Training energy, in J; never falling.
        accuracy: Best accuracy so far, in [0, 1]; never falling.
    """

    number: int
    joules: tuple[float, ...]
    accuracy: tuple[float, ...]

    @classmethod
    def of(cls, number: int, curve: Curve) -> BestSoFarCurve:
        """Return the thinned best-so-far curve; flat parts keep points, so that rises stay late."""
        best = tuple(itertools.accumulate(curve.accuracy, max))
        indices = spread(range(len(curve)), curve.training_j, _MAX_CURVE_POINTS)
        points = [_rounded(curve.training_j[i], best[i]) for i in indices]
        return cls(number, tuple(j for j, _ in points), tuple(a for _, a in points))

    def at(self, energy_j: float) -> float:
        """Return the best accuracy at an energy, in J, by linear interpolation."""
        right = bisect.bisect_right(self.joules, energy_j)
        if right == 0:
            return 0.0
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
        front: Pareto front of energy and accuracy, by energy.
        luck: Seed noise: standard deviation of the log energy to the target between seeds; None
            if unknown.
    """

    incumbent_j: float | None = None
    incumbent: int | None = None
    curves: tuple[BestSoFarCurve, ...] = ()
    front: tuple[Point, ...] = ()
    luck: float | None = None

    def learn(self, number: int, curve: Curve, target: float) -> StudyHistory:
        """Return the history with a trial added; a resumed trial replaces its earlier entry."""
        if not len(curve):
            return self
        others = [earlier for earlier in self.curves if earlier.number != number]
        new = [_rounded(*point) for point in zip(curve.training_j, curve.accuracy, strict=True)]
        history = dataclasses.replace(
            self,
            curves=_best([*others, BestSoFarCurve.of(number, curve)]),
            front=_thinned(front_of([*self.front, *new])),
        )
        hit = curve.first_at(target)
        if hit is None or (self.incumbent_j is not None and self.incumbent_j <= hit.training_j):
            return history
        incumbent_j = _rounded(hit.training_j, hit.accuracy)[0]
        return dataclasses.replace(history, incumbent_j=incumbent_j, incumbent=number)

    def best_with(self, energy_j: float) -> float:
        """Return the best accuracy on the front with at most an energy, in J."""
        right = bisect.bisect_right(self.front, (energy_j, math.inf))
        return self.front[right - 1][1] if right else 0.0

    def to_json(self) -> str:
        """Return the history as JSON of numbers."""
        parts = {
            "incumbent_j": self.incumbent_j,
            "incumbent": self.incumbent,
            "curves": [[curve.number, curve.joules, curve.accuracy] for curve in self.curves],
            "front": self.front,
            "luck": self.luck,
        }
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> StudyHistory:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return cls(
            data["incumbent_j"],
            data["incumbent"],
            tuple(
                BestSoFarCurve(n, tuple(js), tuple(accuracy)) for n, js, accuracy in data["curves"]
            ),
            tuple((energy_j, accuracy) for energy_j, accuracy in data["front"]),
            data["luck"],
        )


def front_of(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front: by energy, each point more accurate than those before."""
    front: list[Point] = []
    for energy_j, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((energy_j, accuracy))
    return front


def _thinned(front: Sequence[Point]) -> tuple[Point, ...]:
    joules = [energy_j for energy_j, _ in front]
    return tuple(front[i] for i in spread(range(len(front)), joules, _MAX_ENTRIES))


def _best(curves: Sequence[BestSoFarCurve]) -> tuple[BestSoFarCurve, ...]:
    """Return the curves, without the least accurate one if there are too many."""
    if len(curves) <= _MAX_ENTRIES:
        return tuple(curves)
    ends = sorted(itertools.chain.from_iterable((c.joules[0], c.joules[-1]) for c in curves))
    energies = [ends[round(i * (len(ends) - 1) / (_N_COMPARED - 1))] for i in range(_N_COMPARED)]
    worst = min(curves, key=lambda curve: sum(map(curve.at, energies)))
    return tuple(curve for curve in curves if curve is not worst)


def _rounded(energy_j: float, accuracy: float) -> Point:
    return float(f"{energy_j:.{_DIGITS}g}"), round(accuracy, _DIGITS)
