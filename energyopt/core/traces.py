"""Traces of recorded trainings: accuracy and cost, to be replayed on a virtual clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

_SAME_EPOCH = 1e-9


@dataclass(slots=True)
class Clock:
    """Virtual time and energy; they advance only while a recording is replayed.

    Attributes:
        time_s: Time so far, in s.
        energy_j: Energy so far, in J.
        limit_w: The power limit in force, in W; None where none is set.
    """

    time_s: float = 0.0
    energy_j: float = 0.0
    limit_w: float | None = None

    def pass_by(self, time_s: float, energy_j: float) -> None:
        """Advance time and energy."""
        self.time_s += time_s
        self.energy_j += energy_j


@dataclass(frozen=True, slots=True)
class Pace:
    """Time and energy of a training by epoch, with linear inter- and extrapolation.

    Attributes:
        epochs: Epochs of the points, increasing from 0.
        time_s: Time up to each point, in s.
        energy_j: Energy up to each point, in J.
    """

    epochs: tuple[float, ...]
    time_s: tuple[float, ...]
    energy_j: tuple[float, ...]

    @classmethod
    def steady(cls, epoch_s: float, power_w: float) -> Pace:
        """Return a pace of which each epoch has the same cost.

        Args:
            epoch_s: Time of an epoch, in s.
            power_w: Mean power, in W.
        """
        return cls((0.0, 1.0), (0.0, epoch_s), (0.0, epoch_s * power_w))

    def until(self, epoch: float) -> tuple[float, float]:
        """Return the time in s and the energy in J up to an epoch."""
        right = min(max(bisect_right(self.epochs, epoch), 1), len(self.epochs) - 1)
        begin, end = self.epochs[right - 1], self.epochs[right]
        share = (epoch - begin) / (end - begin)
        return (
            self.time_s[right - 1] + share * (self.time_s[right] - self.time_s[right - 1]),
            self.energy_j[right - 1] + share * (self.energy_j[right] - self.energy_j[right - 1]),
        )

    def mixed(self, end: Pace, share: float) -> Pace:
        """Return the pace at a share of the way to another one of the same epochs."""

        def mix(starts: tuple[float, ...], ends: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(a + share * (b - a) for a, b in zip(starts, ends, strict=True))

        return Pace(self.epochs, mix(self.time_s, end.time_s), mix(self.energy_j, end.energy_j))


@dataclass(frozen=True, slots=True)
class Costs:
    """Pace of a training at each power limit.

    Attributes:
        paces: Paces by power limit, in W; a single one if no limits were recorded.
    """

    paces: Mapping[float, Pace]
    limits_w: tuple[float, ...] = field(init=False)
    """The recorded limits, increasing, in W."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits_w", tuple(sorted(self.paces)))

    def pace(self, limit_w: float | None) -> Pace:
        """Return the pace at a limit, linearly interpolated; None is the highest limit."""
        limits_w = self.limits_w
        if limit_w is None or limit_w >= limits_w[-1]:
            return self.paces[limits_w[-1]]
        if limit_w in self.paces or limit_w < limits_w[0]:
            return self.paces.get(limit_w, self.paces[limits_w[0]])
        right = bisect_right(limits_w, limit_w)
        low_w, high_w = limits_w[right - 1], limits_w[right]
        share = (limit_w - low_w) / (high_w - low_w)
        return self.paces[low_w].mixed(self.paces[high_w], share)


@dataclass(frozen=True, slots=True)
class AccuracyTrace:
    """Accuracy of a recorded training.

    Attributes:
        epochs: Epochs of the evaluations, increasing.
        accuracy: Accuracy at each evaluation, in [0, 1].
    """

    epochs: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, epoch: float) -> float:
        """Return the accuracy at the last evaluation up to an epoch; 0 before the first."""
        count = bisect_right(self.epochs, epoch + _SAME_EPOCH)
        return self.accuracy[count - 1] if count else 0.0

    def first_at(self, target: float) -> float | None:
        """Return the first epoch at or above a target; None if it was missed."""
        reached = (e for e, a in zip(self.epochs, self.accuracy, strict=True) if a >= target)
        return next(reached, None)
