"""Find the power limit at which a step costs least, on the real work, while it trains.

A limit does not change what a step learns (only how fast), so the steps count: each is booked as
training with what a step costs at the limit that is chosen in the end. What trying the others
cost on top is booked as profiling; both sum to what the counter saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energyopt.core.conditions import PowerProfile, ProfilePoint
from energyopt.core.energy import Energy
from energyopt.core.protocols import TrainStep
from energyopt.errors import HardwareError

_GROWTH = 8  # of a slice of training whose speed is not known yet
_WORSE_TO_END = 2
_NEARLY = 1.05  # measured energy is not smooth over limits: the best can lie behind a small hill
_FEWEST = 3  # limits that a profile needs: one, and two that are worse

Select = Callable[[Sequence[ProfilePoint]], float]


def limits_to_try(low_w: float, high_w: float, step_w: float) -> list[float]:
    """Limits from the highest downward, in W.

    Args:
        low_w: The lowest that the GPUs take.
        high_w: The highest.
        step_w: Their distance.
    """
    count = int((high_w - low_w) / step_w + 1e-9) + 1
    return [high_w - i * step_w for i in range(count)]


@dataclass
class PowerProfiler:
    """Tries power limits in slices of training, one after the other.

    Attributes:
        set_limit_w: Sets a limit on the GPUs, in W.
        limits_w: The limits to try, from the highest downward, in W.
        select: Chooses the best of what was measured.
        slice_s: How long a limit is measured, in s.
        settle_s: How long it is trained at before, in s.
        shape: What the profile holds for.
        original_w: The limit that a trial too short for all this keeps, in W.
        policy: The name of `select`.
    """

    set_limit_w: Callable[[float], None]
    limits_w: Sequence[float]
    select: Select
    slice_s: float
    settle_s: float
    shape: Mapping[str, Any]
    original_w: float
    policy: str = "energy"
    step: Energy | None = None
    """What a step costs at the chosen limit, once there is one."""

    profile: PowerProfile | None = None
    """What was found out, once it is over."""

    too_short: bool = False
    """Whether the trial could not hold a profile, and keeps its limit."""

    _points: list[ProfilePoint] = field(default_factory=list)
    _steps: list[Energy] = field(default_factory=list)  # energy of a step at each point
    _waiting: Iterator[float] = field(init=False)
    _limit_w: float = 0.0
    _settling: bool = True
    _spent: Energy = field(default_factory=Energy)  # in this phase of this limit
    _trained: int = 0  # steps, likewise
    _worse: int = 0
    _samples_a_s: float | None = None
    _last_samples: int = 0

    def __post_init__(self) -> None:
        self._waiting = iter(self.limits_w)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to try."""
        return self.profile is not None or self.too_short

    def samples(self, most: int) -> int:
        """How many samples to train next, in one window, so that a limit gets its time.

        Args:
            most: The most that may be asked for.
        """
        if self._samples_a_s is None:
            self._begin_next()
            return 1  # the first batch tells the speed
        left_s = (self.settle_s if self._settling else self.slice_s) - self._spent.time_s
        fitting = int(self._samples_a_s * max(left_s, 0.0)) + 1
        return max(1, min(most, fitting, _GROWTH * self._last_samples))

    def take(self, trained: TrainStep, spent: Energy, left_samples: int) -> None:
        """Take in what a window of training cost, and go on to the next limit in time.

        Args:
            trained: What was trained in it.
            spent: What it cost.
            left_samples: How much more the trial will train at most.
        """
        self._last_samples = trained.samples
        if spent.time_s > 0:
            self._samples_a_s = trained.samples / spent.time_s
        self._spent += spent
        self._trained += trained.steps
        if self._spent.time_s < (self.settle_s if self._settling else self.slice_s):
            return
        if self._settling:
            self._settling = False
            self._spent, self._trained = Energy(), 0
            return
        self._add_point()
        if len(self._points) == 1 and self._does_not_fit(left_samples):
            self._give_up()
        elif self._worse >= _WORSE_TO_END or not self._begin_next():
            self._choose(finished=True)

    def end(self) -> None:
        """The trial is over: choose from what there is."""
        if self.over:
            return
        if self._points:
            self._choose(finished=False)
        else:
            self._give_up()

    def _begin_next(self) -> bool:
        limit_w = next(self._waiting, None)
        if limit_w is None:
            return False
        self._limit_w = limit_w
        self.set_limit_w(limit_w)
        self._settling = self.settle_s > 0
        self._spent, self._trained = Energy(), 0
        return True

    def _add_point(self) -> None:
        step = self._spent * (1 / max(self._trained, 1))
        if step.total_j <= 0:
            raise HardwareError(
                f"the meter read {self._spent.total_j:g} J over {self._spent.time_s:.3g} s of "
                "training at a power limit: the slices are too short for its counter; raise "
                f"hardware.profile_slice_s={self.slice_s:g}"
            )
        self._points.append(ProfilePoint(self._limit_w, self._trained, step.total_j, step.time_s))
        self._steps.append(step)
        chosen_w = self.select(self._points)
        if chosen_w == self._limit_w:
            self._worse = 0
        elif not self._nearly_as_good(chosen_w):
            self._worse += 1

    def _nearly_as_good(self, chosen_w: float) -> bool:
        """Whether the limit tried last may be as good as the best, but for noise."""
        best = next(at for at in self._points if at.limit_w == chosen_w)
        return self.policy == "energy" and self._points[-1].step_j < _NEARLY * best.step_j

    def _does_not_fit(self, left_samples: int) -> bool:
        more = min(_FEWEST, len(self.limits_w)) - 1
        needed_s = more * (self.settle_s + self.slice_s)
        return left_samples < needed_s * (self._samples_a_s or 0.0)

    def _give_up(self) -> None:
        self.too_short = True
        self.set_limit_w(self.original_w)

    def _choose(self, *, finished: bool) -> None:
        chosen_w = self.select(self._points)
        self.step = self._steps[[at.limit_w for at in self._points].index(chosen_w)]
        self.profile = PowerProfile(
            self.shape, tuple(self._points), chosen_w, finished, self.policy
        )
        self.set_limit_w(chosen_w)
