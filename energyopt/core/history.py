"""A trial so far, and what the earlier ones of its study did: all that a stopping rule is told.

What is known of earlier trials travels to a job as one config value, of numbers alone.
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

_MOST = 50
_MOST_OF_ONE = 16  # points of a rival's curve
_GRAIN = 16  # energies at which curves are compared when one must go
_DIGITS = 5

Point = tuple[float, float]
"""A setup one could stop at: training energy in J, accuracy."""


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """A trial up to its latest evaluation.

    Attributes:
        epochs: Epochs trained at each evaluation.
        joules: Training energy from the first step up to each, in J.
        accuracy: At each, in [0, 1].
        target: Accuracy to reach, in [0, 1].
        last_epoch: The most epochs it may train.
        beyond: Whether accuracy other than the target's counts, too; else it ends there.
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
        """Whether the target is reached."""
        return self.best >= self.target

    @property
    def end_j(self) -> float:
        """What it will have used after all its epochs, at the energy of one until now, in J."""
        return self.spent_j * max(1.0, self.last_epoch / self.epochs[-1]) if self.joules else 0.0


@dataclass(frozen=True, slots=True)
class BestSoFarCurve:
    """The best accuracy of an earlier trial against joules.

    Attributes:
        number: The trial's.
        joules: Training energy, in J; never falling.
        accuracy: The best so far, in [0, 1]; never falling.
    """

    number: int
    joules: tuple[float, ...]
    accuracy: tuple[float, ...]

    @classmethod
    def of(cls, number: int, curve: Curve) -> BestSoFarCurve:
        """Thin a curve; flat parts keep points, since what rises late was not better before."""
        best = tuple(itertools.accumulate(curve.accuracy, max))
        kept = spread(range(len(curve)), curve.training_j, _MOST_OF_ONE)
        points = [_rounded(curve.training_j[at], best[at]) for at in kept]
        return cls(number, tuple(j for j, _ in points), tuple(a for _, a in points))

    def at(self, energy_j: float) -> float:
        """Its best accuracy with an energy, in J; between two points on their straight line."""
        after = bisect.bisect_right(self.joules, energy_j)
        if after == 0:
            return 0.0
        if after == len(self.joules):
            return self.accuracy[-1]
        (low_j, high_j), (low, high) = (
            column[after - 1 : after + 1] for column in (self.joules, self.accuracy)
        )
        return low + (high - low) * (energy_j - low_j) / (high_j - low_j)


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """What the earlier trials of a study did.

    Attributes:
        incumbent_j: The least energy to the target, in J; None before any reached it.
        incumbent: The trial that needed it.
        curves: The best curves, by trial.
        front: Setups one could stop at of which none is better than another, by energy.
        luck: What the seed alone does to log energy to the target (standard deviation); None if
            unknown.
    """

    incumbent_j: float | None = None
    incumbent: int | None = None
    curves: tuple[BestSoFarCurve, ...] = ()
    front: tuple[Point, ...] = ()
    luck: float | None = None

    def learn(self, number: int, curve: Curve, target: float) -> StudyHistory:
        """Take in how a trial went; a trial that has gone on since replaces itself."""
        if not len(curve):
            return self
        others = [rival for rival in self.curves if rival.number != number]
        new = [_rounded(*point) for point in zip(curve.training_j, curve.accuracy, strict=True)]
        known = dataclasses.replace(
            self,
            curves=_best([*others, BestSoFarCurve.of(number, curve)]),
            front=_thinned(front_of([*self.front, *new])),
        )
        hit = curve.first_at(target)
        if hit is None or (self.incumbent_j is not None and self.incumbent_j <= hit.training_j):
            return known
        incumbent_j = _rounded(hit.training_j, hit.accuracy)[0]
        return dataclasses.replace(known, incumbent_j=incumbent_j, incumbent=number)

    def best_with(self, energy_j: float) -> float:
        """The best accuracy on the front with no more than an energy, in J."""
        at = bisect.bisect_right(self.front, (energy_j, math.inf))
        return self.front[at - 1][1] if at else 0.0

    def to_json(self) -> str:
        """As text of numbers."""
        parts = {
            "incumbent_j": self.incumbent_j,
            "incumbent": self.incumbent,
            "curves": [[rival.number, rival.joules, rival.accuracy] for rival in self.curves],
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
    """The points that none is better than: by energy, each more accurate than those before."""
    front: list[Point] = []
    for energy_j, accuracy in sorted(points, key=lambda at: (at[0], -at[1])):
        if not front or accuracy > front[-1][1]:
            front.append((energy_j, accuracy))
    return front


def _thinned(front: Sequence[Point]) -> tuple[Point, ...]:
    joules = [energy_j for energy_j, _ in front]
    return tuple(front[at] for at in spread(range(len(front)), joules, _MOST))


def _best(curves: Sequence[BestSoFarCurve]) -> tuple[BestSoFarCurve, ...]:
    """All of them, but for the least accurate one where they are too many."""
    if len(curves) <= _MOST:
        return tuple(curves)
    ends = sorted(itertools.chain.from_iterable((c.joules[0], c.joules[-1]) for c in curves))
    energies = [ends[round(i * (len(ends) - 1) / (_GRAIN - 1))] for i in range(_GRAIN)]
    worst = min(curves, key=lambda curve: sum(map(curve.at, energies)))
    return tuple(curve for curve in curves if curve is not worst)


def _rounded(energy_j: float, accuracy: float) -> Point:
    return float(f"{energy_j:.{_DIGITS}g}"), round(accuracy, _DIGITS)
