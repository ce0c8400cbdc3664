"""Successive halving with rungs in joules: many trials a little, the best of them more.

Asynchronous, as in Li et al. (arXiv 1810.05934), for several objectives as in Schmucker et al.
(arXiv 2106.12639); but what each trial is given is energy, which is what a search burns, and not
epochs, which cost what the setup makes them cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from energyopt.errors import ConfigError
from energyopt.search.schedule import Step, TrialSnapshot

_ROUNDING = 1e-9  # sums of the same joules in another order


@dataclass(frozen=True, slots=True)
class _Point:
    """How a trial stood at a rung: its best accuracy until then, and its energy."""

    number: int
    error: float
    log_j: float

    def beats(self, other: _Point) -> bool:
        """Whether it is at least as good in both, and better in one."""
        mine, theirs = (self.error, self.log_j), (other.error, other.log_j)
        return mine != theirs and self.error <= other.error and self.log_j <= other.log_j


class Halving:
    """A schedule: trials pause at rungs, and one of `eta` of each rung goes on to the next.

    The first trial, which is the default setup, trains to its end: what others save is counted
    against it, and its energy tells where rungs are.

    Args:
        eta: How much dearer each rung is than the one before, and one of how many goes on.
        min_j: Training energy at the first rung, in J; None for what `rungs` below the energy of
            the first trial comes to.
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
        """The next step: the best of the highest rung that may go on, else a new trial."""
        whole_j = next((t.joules[-1] for t in observed if t.state == "ended" and t.joules), None)
        if whole_j is None:
            return self._first(observed, can_begin=can_begin)
        rungs = self._rungs_j(whole_j)
        for rung in reversed(range(-1, len(rungs))):
            number = self._promoted(observed, rungs, rung, can_begin=can_begin)
            if number is not None:
                return Step(number, rungs[rung + 1] if rung + 1 < len(rungs) else None)
        return Step(None, rungs[0]) if can_begin else None

    def _first(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """A step before any trial has come to its end."""
        if any(trial.state == "running" for trial in observed):  # one of them will
            return Step(None, 0.0) if can_begin else None
        if can_begin:
            return Step()
        paused = [trial.number for trial in observed if trial.state == "paused"]
        return Step(paused[0]) if paused else None

    def _rungs_j(self, whole_j: float) -> list[float]:
        """Training energies at which trials pause, in J."""
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
        """The paused trial of a rung that is to go on; below the first rung each may."""
        waiting = {
            trial.number
            for trial in observed
            if trial.state == "paused" and _passed(trial, rungs) == rung
        }
        if not waiting or rung < 0:
            return min(waiting, default=None)
        points = _points(observed, rungs[rung])
        order = ranked(points, self._eta * max(energy_j for _, energy_j in points.values()))
        share = len(order) / self._eta
        # As long as others may come they may be better; in the end the best of the last goes on.
        quota = math.floor(share) if can_begin else math.ceil(share)
        return next((number for number in order[:quota] if number in waiting), None)


def ranked(points: Mapping[int, tuple[float, float]], worst_j: float) -> list[int]:
    """Trials by non-dominated rank; those of a rank by the hypervolume that each alone adds.

    Args:
        points: Error and energy in J of each, by number.
        worst_j: An energy that adds nothing, in J: no less than theirs.
    """
    left = [_Point(n, error, math.log(energy_j)) for n, (error, energy_j) in points.items()]
    left.sort(key=lambda p: (p.log_j, p.error))
    order: list[int] = []
    while left:
        front, left = _peeled(left)
        added = _added(front, math.log(worst_j))
        front.sort(key=lambda p: (-added[p.number], p.error, p.number))
        order += [point.number for point in front]
    return order


def _peeled(points: Sequence[_Point]) -> tuple[list[_Point], list[_Point]]:
    """The points that no other beats, and the rest; by energy, then error, as they are given."""
    front: list[_Point] = []
    rest: list[_Point] = []
    for point in points:
        beaten = front and front[-1].beats(point)
        (rest if beaten else front).append(point)
    return front, rest


def _added(front: Sequence[_Point], worst: float) -> dict[int, float]:
    """The area that each point of a front alone dominates; of two that are alike, neither."""
    by_energy = sorted(front, key=lambda p: (p.log_j, p.number))
    errors = [1.0, *(point.error for point in by_energy)]
    energies = [*(point.log_j for point in by_energy[1:]), worst]
    return {
        point.number: (above - point.error) * (beyond - point.log_j)
        for point, above, beyond in zip(by_energy, errors, energies, strict=False)
    }


def _points(observed: Sequence[TrialSnapshot], rung_j: float) -> dict[int, tuple[float, float]]:
    """How all trials that came to a rung, or ended before it, stood there."""
    return {
        trial.number: _stood(trial, rung_j)
        for trial in observed
        if trial.joules and (trial.state == "ended" or _has_passed(trial, rung_j))
    }


def _stood(trial: TrialSnapshot, rung_j: float) -> tuple[float, float]:
    """Error and energy at the first evaluation at or beyond a rung, or at the last one."""
    passed = (at for at, energy_j in enumerate(trial.joules) if _is_at(energy_j, rung_j))
    at = next(passed, len(trial.joules) - 1)
    return 1 - max(trial.accuracy[: at + 1]), trial.joules[at]


def _passed(trial: TrialSnapshot, rungs: Sequence[float]) -> int:
    """The highest rung that it came to; -1 for none."""
    return sum(_has_passed(trial, rung_j) for rung_j in rungs) - 1


def _has_passed(trial: TrialSnapshot, rung_j: float) -> bool:
    return bool(trial.joules) and _is_at(trial.joules[-1], rung_j)


def _is_at(energy_j: float, rung_j: float) -> bool:
    return energy_j >= rung_j * (1 - _ROUNDING)
