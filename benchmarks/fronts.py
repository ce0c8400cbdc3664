"""The share of the best front that a search has found, against the energy it has used.

A point is an error and the log of an energy. The hypervolume of a front is the area that it
dominates, up to the largest recorded error and energy; the best is that of the mean curves of all
setups, which seed noise can exceed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from benchmarks.curve_sets import CurveSet, Point, Recording


class Area:
    """A front that grows, and the area that it dominates.

    Args:
        worst: Beyond what nothing counts.
    """

    def __init__(self, worst: Point) -> None:
        self._last, self._floor = math.log(worst.energy_j), worst.accuracy
        self._front: list[tuple[float, float]] = []  # log energy and accuracy, both rising
        self.size = 0.0

    def add(self, point: Point) -> None:
        """Take in a point."""
        at = (math.log(max(point.energy_j, 1e-12)), point.accuracy)
        place = bisect_left(self._front, at)
        ahead = self._front[place - 1][1] if place else -math.inf
        here = place < len(self._front) and self._front[place][0] == at[0]
        if at[1] <= max(ahead, self._front[place][1] if here else -math.inf):
            return
        later = [each for each in self._front[place:] if each[1] > at[1]]
        self._front = [*self._front[:place], at, *later]
        self.size = self._dominated()

    def _dominated(self) -> float:
        size, before = 0.0, self._floor
        for log_j, accuracy in self._front:
            if log_j < self._last and accuracy > before:
                size += (self._last - log_j) * (accuracy - before)
                before = accuracy
        return size


def worst_point(curves: CurveSet) -> Point:
    """Return the largest recorded energy, and the lowest recorded accuracy."""
    points = [
        point for group in curves.recordings.values() for each in group for point in each.points
    ]
    return Point(max(point.energy_j for point in points), min(point.accuracy for point in points))


def best_area(curves: CurveSet, *, ends: bool) -> float:
    """Return the hypervolume of all setups' mean curves, or of their ends only."""
    area = Area(worst_point(curves))
    for group in curves.recordings.values():
        for point in [_mean_point(group, -1)] if ends else _mean_points(group):
            area.add(point)
    return area.size


def _mean_points(of: Sequence[Recording]) -> list[Point]:
    count = min(len(each.points) for each in of)
    return [_mean_point(of, index) for index in range(count)]


def _mean_point(of: Sequence[Recording], at: int) -> Point:
    points = [each.points[at] for each in of]
    return Point(fmean(p.energy_j for p in points), fmean(p.accuracy for p in points))


class Found(NamedTuple):
    """A point found by a search, and the energy used by then, in J."""

    spent_j: float
    point: Point


def joules_to(share: float, found: Sequence[Found], worst: Point, best: float) -> float | None:
    """Return the energy used up to a share of the best hypervolume; None if it was never reached.

    Args:
        share: Of it, in [0, 1].
        found: In order.
        worst: Beyond what nothing counts.
        best: The best hypervolume.
    """
    area = Area(worst)
    for each in found:
        area.add(each.point)
        if area.size >= share * best:
            return each.spent_j
    return None
