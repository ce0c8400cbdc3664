"""Asynchronous successive halving with rungs in joules.

Trials are promoted as in ASHA (Li et al., arXiv 1810.05934) and, for several objectives, as in
MO-ASHA (Schmucker et al., arXiv 2106.12639). The resource is energy, which a search has to save,
and not epochs, whose cost depends on the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from energyopt.errors import ConfigError
from energyopt.search.schedule import Step, TrialSnapshot

_ROUNDING = 1e-9  # sums of the same joules differ by their order


@dataclass(frozen=True, slots=True)
class _Point:
    """A trial at a rung: error of its best accuracy so far, and its energy."""

    number: int
    error: float
    log_j: float

    def beats(self, rival: _Point) -> bool:
        """Return True if it dominates: at least as good in both, and better in one."""
        is_equal = (self.error, self.log_j) == (rival.error, rival.log_j)
        return not is_equal and self.error <= rival.error and self.log_j <= rival.log_j


class Halving:
    """A schedule: trials pause at rungs, and the best 1/eta of each rung are promoted.

    The first trial, which is the default, trains to its end: savings are stated relative to it, and
    its energy determines the rungs.

    Args:
        eta: Reduction factor: each rung costs eta times the previous one, and the best 1/eta are
            promoted.
        min_j: Training energy at the first rung, in J; None for the energy of the first trial
            divided by eta^rungs.
        rungs: Rungs that a trial passes before it trains to its end.

    Raises:
        ConfigError: If an option is out of its range.
    """

    def __init__(self, eta: float = 3, min_j: float | None = None, rungs: int = 3) -> None:
        if not 1 < eta < math.inf:
            raise ConfigError(f"stopping.schedule.eta={eta}: a number above 1 is needed, as 2 to 4")
        if min_j is not None and not 0 < min_j < math.inf:
            raise ConfigError(
                f"stopping.schedule.min_j={min_j}: joules above 0 are needed, or null"
            )
        if rungs < 1:
            raise ConfigError(f"stopping.schedule.rungs={rungs}: at least 1 is needed")
        self._eta = eta
        self._min_j = min_j
        self._rungs = rungs

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """Return the best promotable trial of the highest rung, else a new trial."""
        whole_j = next((t.joules[-1] for t in observed if t.state == "ended" and t.joules), None)
        if whole_j is None:
            return self._first_step(observed, can_begin=can_begin)
        rungs = self._rungs_j(whole_j)
        for rung in reversed(range(-1, len(rungs))):
            number = self._promoted(observed, rungs, rung, can_begin=can_begin)
            if number is not None:
                return Step(number, rungs[rung + 1] if rung + 1 < len(rungs) else None)
        return Step(None, rungs[0]) if can_begin else None

    def _first_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """Return a step before any trial has trained to its end."""
        if any(trial.state == "running" for trial in observed):  # one of them trains to its end
            return Step(None, 0.0) if can_begin else None
        if can_begin:
            return Step()
        paused = [trial.number for trial in observed if trial.state == "paused"]
        return Step(paused[0]) if paused else None

    def _rungs_j(self, whole_j: float) -> list[float]:
        """Return the training energies at which trials pause, in J."""
        first_j = self._min_j or whole_j / self._eta**self._rungs
        return [first_j * self._eta**rung for rung in range(self._rungs)]

    def _promoted(
        self,
        observed: Sequence[TrialSnapshot],
        rungs: Sequence[float],
        rung: int,
        *,
        can_begin: bool,
    ) -> int | None:
        """Return the paused trial of a rung to promote; below the first rung any of them."""
        waiting = {
            trial.number
            for trial in observed
            if trial.state == "paused" and _highest_rung(trial, rungs) == rung
        }
        if not waiting or rung < 0:
            return min(waiting, default=None)
        points = _points_at(observed, rungs[rung])
        order = ranked(points, self._eta * max(energy_j for _, energy_j in points.values()))
        share = len(order) / self._eta
        # While others may still arrive they may be better; in the end promote the best of the last.
        quota = math.floor(share) if can_begin else math.ceil(share)
        return next((number for number in order[:quota] if number in waiting), None)


def ranked(points: Mapping[int, tuple[float, float]], worst_j: float) -> list[int]:
    """Return trials by non-dominated rank; within a rank by exclusive hypervolume.

    Args:
        points: Error and energy in J of each trial, by number.
        worst_j: Energy of the hypervolume's reference point, in J: no less than theirs.
    """
    unranked = [_Point(n, error, math.log(energy_j)) for n, (error, energy_j) in points.items()]
    unranked.sort(key=lambda p: (p.log_j, p.error))
    order: list[int] = []
    while unranked:
        front, unranked = _split_front(unranked)
        areas = _exclusive_areas(front, math.log(worst_j))
        front.sort(key=lambda p: (-areas[p.number], p.error, p.number))
        order += [point.number for point in front]
    return order


def _split_front(points: Sequence[_Point]) -> tuple[list[_Point], list[_Point]]:
    """Return the non-dominated points and the rest; points are sorted by energy, then error."""
    front: list[_Point] = []
    rest: list[_Point] = []
    for point in points:
        is_dominated = front and front[-1].beats(point)
        (rest if is_dominated else front).append(point)
    return front, rest


def _exclusive_areas(front: Sequence[_Point], worst_log_j: float) -> dict[int, float]:
    """Return the area that only this point of a front dominates; 0 for equal points."""
    by_energy = sorted(front, key=lambda p: (p.log_j, p.number))
    errors = [1.0, *(point.error for point in by_energy)]
    energies = [*(point.log_j for point in by_energy[1:]), worst_log_j]
    return {
        point.number: (next_error - point.error) * (next_log_j - point.log_j)
        for point, next_error, next_log_j in zip(by_energy, errors, energies, strict=False)
    }


def _points_at(observed: Sequence[TrialSnapshot], rung_j: float) -> dict[int, tuple[float, float]]:
    """Return error and energy of all trials that came to a rung, or ended before it."""
    return {
        trial.number: _point_at(trial, rung_j)
        for trial in observed
        if trial.joules and (trial.state == "ended" or _has_passed(trial, rung_j))
    }


def _point_at(trial: TrialSnapshot, rung_j: float) -> tuple[float, float]:
    """Return error and energy at the first evaluation at or beyond a rung, or at the last one."""
    passed = (i for i, energy_j in enumerate(trial.joules) if _is_at(energy_j, rung_j))
    index = next(passed, len(trial.joules) - 1)
    return 1 - max(trial.accuracy[: index + 1]), trial.joules[index]


def _highest_rung(trial: TrialSnapshot, rungs: Sequence[float]) -> int:
    """Return the highest rung that a trial has passed; -1 for none."""
    return sum(_has_passed(trial, rung_j) for rung_j in rungs) - 1


def _has_passed(trial: TrialSnapshot, rung_j: float) -> bool:
    return bool(trial.joules) and _is_at(trial.joules[-1], rung_j)


def _is_at(energy_j: float, rung_j: float) -> bool:
    return energy_j >= rung_j * (1 - _ROUNDING)
