"""Recorded trainings: what one reached and what it cost, to be played back on a virtual clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

_SAME_EPOCH = 1e-9


@dataclass(slots=True)
class Clock:
    """Virtual time and energy: they pass where a recording is played, and nowhere else.

    Attributes:
        time_s: Time so far, in s.
        energy_j: Energy so far, in J.
        limit_w: The power limit in force, in W; None where none is set.
    """

    time_s: float = 0.0
    energy_j: float = 0.0
    limit_w: float | None = None

    def pass_by(self, time_s: float, energy_j: float) -> None:
        """Let time pass and energy be burnt."""
        self.time_s += time_s
        self.energy_j += energy_j


@dataclass(frozen=True, slots=True)
class Pace:
    """What a training costs up to some epochs; straight lines between them, and beyond.

    Attributes:
        epochs: Rising, from epoch 0.
        time_s: Time up to each, in s.
        energy_j: Energy up to each, in J.
    """

    epochs: tuple[float, ...]
    time_s: tuple[float, ...]
    energy_j: tuple[float, ...]

    @classmethod
    def steady(cls, epoch_s: float, power_w: float) -> Pace:
        """Each epoch costs the same.

        Args:
            epoch_s: Its time, in s.
            power_w: Its mean power, in W.
        """
        return cls((0.0, 1.0), (0.0, epoch_s), (0.0, epoch_s * power_w))

    def until(self, epoch: float) -> tuple[float, float]:
        """Time in s and energy in J up to an epoch."""
        at = min(max(bisect_right(self.epochs, epoch), 1), len(self.epochs) - 1)
        begin, end = self.epochs[at - 1], self.epochs[at]
        share = (epoch - begin) / (end - begin)
        return (
            self.time_s[at - 1] + share * (self.time_s[at] - self.time_s[at - 1]),
            self.energy_j[at - 1] + share * (self.energy_j[at] - self.energy_j[at - 1]),
        )

    def mixed(self, other: Pace, share: float) -> Pace:
        """The pace at a share of the way to another one of the same epochs."""

        def mix(mine: tuple[float, ...], others: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(a + share * (b - a) for a, b in zip(mine, others, strict=True))

        return Pace(self.epochs, mix(self.time_s, other.time_s), mix(self.energy_j, other.energy_j))


@dataclass(frozen=True, slots=True)
class Costs:
    """What an epoch costs at each power limit.

    Attributes:
        paces: By power limit, in W; a single one where no limits were recorded.
    """

    paces: Mapping[float, Pace]
    limits_w: tuple[float, ...] = field(init=False)
    """The recorded limits, rising, in W."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits_w", tuple(sorted(self.paces)))

    def pace(self, limit_w: float | None) -> Pace:
        """The pace at a limit: between recorded ones on a straight line; None is the highest."""
        limits_w = self.limits_w
        if limit_w is None or limit_w >= limits_w[-1]:
            return self.paces[limits_w[-1]]
        if limit_w in self.paces or limit_w < limits_w[0]:
            return self.paces.get(limit_w, self.paces[limits_w[0]])
        above = bisect_right(limits_w, limit_w)
        low_w, high_w = limits_w[above - 1], limits_w[above]
        share = (limit_w - low_w) / (high_w - low_w)
        return self.paces[low_w].mixed(self.paces[high_w], share)


@dataclass(frozen=True, slots=True)
class Curve:
    """What one recorded training reached.

    Attributes:
        epochs: Rising.
        accuracy: At each, in [0, 1].
    """

    epochs: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, epoch: float) -> float:
        """Accuracy at the last recorded epoch that is not later; 0 before the first."""
        known = bisect_right(self.epochs, epoch + _SAME_EPOCH)
        return self.accuracy[known - 1] if known else 0.0

    def first_at(self, target: float) -> float | None:
        """The first epoch at or above a target; None where it was missed."""
        reached = (at for at, a in zip(self.epochs, self.accuracy, strict=True) if a >= target)
        return next(reached, None)
