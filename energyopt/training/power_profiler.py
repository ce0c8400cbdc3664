"""Find the power limit with the least energy per step, while the trial trains.

Just-in-time profiling, as in Zeus (NSDI'23, arXiv 2208.06102): limits are tried one after the other
on slices of the real training, from the highest downward. A limit changes the speed of a step, not
its result, so no work is lost: each step is accounted for as training at the energy

    step_j = (energy of the slice) / (steps of the slice)

of the limit that is chosen in the end, and the excess of the others as profiling. Both sum to what
the counter read. Energy per step is convex in the limit but for noise (static power x time falls
and dynamic power rises with the clock), so the scan ends once two limits are worse than the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from energyopt.core.calibration import Calibration, digest
from energyopt.core.conditions import PowerProfile, ProfilePoint
from energyopt.core.energy import Energy
from energyopt.core.protocols import TrainStep
from energyopt.errors import HardwareError

if TYPE_CHECKING:
    from energyopt.hardware.gpu_allocation import GpuAllocation
    from energyopt.hardware.gpu_options import GpuOptions
    from energyopt.hardware.power_limit import PowerLimit
    from energyopt.training.recorder import Recorder, TrainingInterval

# A window cannot be interrupted, and the speed measured in the first small ones is unreliable: grow
# windows by at most this factor.
_MAX_GROWTH = 8
_N_WORSE_TO_END = 2  # one worse limit may be noise
# A limit within 5 % of the best is not counted as worse: measured energy is not smooth over limits,
# and the best can lie behind a small hill.
_NEARLY_BEST = 1.05
_MIN_LIMITS = 3  # limits that a profile needs: one, and two that are worse

Select = Callable[[Sequence[ProfilePoint]], float]


def limits_to_try(low_w: float, high_w: float, step_w: float) -> list[float]:
    """Return limits from the highest downward, in W.

    Args:
        low_w: The lowest limit that the GPUs accept, in W.
        high_w: The highest, in W.
        step_w: Distance of the limits, in W.
    """
    count = int((high_w - low_w) / step_w + 1e-9) + 1
    return [high_w - i * step_w for i in range(count)]


@dataclass
class PowerProfiler:
    """Tries power limits in slices of training, one after the other.

    Attributes:
        set_limit_w: Sets a limit on the GPUs, in W.
        limits_w: The limits to try, from the highest downward, in W.
        select: Chooses the best of the measured limits.
        slice_s: Time for which a limit is measured, in s.
        settle_s: Training time at a limit before it is measured, in s: clocks need time to settle.
        shape: Describes the work that the profile is valid for.
        original_w: The limit that a trial too short for a profile keeps, in W.
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
    """Energy of a step at the chosen limit; None until one is chosen."""

    profile: PowerProfile | None = None
    """The profile; None until the profiler is over."""

    too_short: bool = False
    """True if the trial is too short for a profile, and keeps its limit."""

    _points: list[ProfilePoint] = field(default_factory=list)
    _steps: list[Energy] = field(default_factory=list)  # energy of a step at each point
    _untried_w: Iterator[float] = field(init=False)
    _limit_w: float = 0.0
    _settling: bool = True
    _slice: Energy = field(default_factory=Energy)  # used in this phase of this limit
    _slice_steps: int = 0
    _n_worse: int = 0
    _samples_per_s: float | None = None
    _last_samples: int = 0

    def __post_init__(self) -> None:
        self._untried_w = iter(self.limits_w)

    @property
    def over(self) -> bool:
        """True if no limit remains to be tried."""
        return self.profile is not None or self.too_short

    def samples(self, max_samples: int) -> int:
        """Return how many samples to train next, in one window, so that a limit gets its time.

        Args:
            max_samples: Maximum number of samples.
        """
        if self._samples_per_s is None:
            self._begin_next()
            return 1  # the first batch measures the speed
        remaining_s = (self.settle_s if self._settling else self.slice_s) - self._slice.time_s
        fitting = int(self._samples_per_s * max(remaining_s, 0.0)) + 1
        return max(1, min(max_samples, fitting, _MAX_GROWTH * self._last_samples))

    def take(self, step: TrainStep, energy: Energy, remaining_samples: int) -> None:
        """Add the energy of a window of training, and move to the next limit when it is time.

        Args:
            step: The training in the window.
            energy: Its energy.
            remaining_samples: Maximum number of samples that the trial still trains.
        """
        self._last_samples = step.samples
        if energy.time_s > 0:
            self._samples_per_s = step.samples / energy.time_s
        self._slice += energy
        self._slice_steps += step.steps
        if self._slice.time_s < (self.settle_s if self._settling else self.slice_s):
            return
        if self._settling:
            self._settling = False
            self._slice, self._slice_steps = Energy(), 0
            return
        self._add_point()
        if len(self._points) == 1 and self._does_not_fit(remaining_samples):
            self._abandon()
        elif self._n_worse >= _N_WORSE_TO_END or not self._begin_next():
            self._finish(finished=True)

    def end(self) -> None:
        """End the profile with the trial: choose from the limits measured so far."""
        if self.over:
            return
        if self._points:
            self._finish(finished=False)
        else:
            self._abandon()

    def _begin_next(self) -> bool:
        limit_w = next(self._untried_w, None)
        if limit_w is None:
            return False
        self._limit_w = limit_w
        self.set_limit_w(limit_w)
        self._settling = self.settle_s > 0
        self._slice, self._slice_steps = Energy(), 0
        return True

    def _add_point(self) -> None:
        step = self._slice * (1 / max(self._slice_steps, 1))
        if step.total_j <= 0:
            raise HardwareError(
                f"the meter read {self._slice.total_j:g} J over {self._slice.time_s:.3g} s of "
                "training at a power limit: the slices are too short for its counter; raise "
                f"hardware.profile_slice_s={self.slice_s:g}"
            )
        self._points.append(
            ProfilePoint(self._limit_w, self._slice_steps, step.total_j, step.time_s)
        )
        self._steps.append(step)
        chosen_w = self.select(self._points)
        if chosen_w == self._limit_w:
            self._n_worse = 0
        elif not self._nearly_as_good(chosen_w):
            self._n_worse += 1

    def _nearly_as_good(self, chosen_w: float) -> bool:
        """Return True if the limit tried last may be as good as the best, but for noise."""
        best = next(point for point in self._points if point.limit_w == chosen_w)
        return self.policy == "energy" and self._points[-1].step_j < _NEARLY_BEST * best.step_j

    def _does_not_fit(self, remaining_samples: int) -> bool:
        n_more = min(_MIN_LIMITS, len(self.limits_w)) - 1
        needed_s = n_more * (self.settle_s + self.slice_s)
        return remaining_samples < needed_s * (self._samples_per_s or 0.0)

    def _abandon(self) -> None:
        self.too_short = True
        self.set_limit_w(self.original_w)

    def _finish(self, *, finished: bool) -> None:
        chosen_w = self.select(self._points)
        self.step = self._steps[[point.limit_w for point in self._points].index(chosen_w)]
        self.profile = PowerProfile(
            self.shape, tuple(self._points), chosen_w, finished, self.policy
        )
        self.set_limit_w(chosen_w)


def profiler_for(
    gpus: GpuAllocation,
    options: GpuOptions,
    limit: PowerLimit,
    shape: Mapping[str, Any],
    calibration: Calibration | None,
) -> PowerProfiler | None:
    """Return the profiler of power limits, or set the limit that an earlier profile found.

    Args:
        gpus: The GPUs that the trial holds.
        options: How they are limited and profiled.
        limit: The limit to change.
        shape: Describes the work that the profile holds for; see `shape_of_work`.
        calibration: What earlier trials of the study found out; None outside of a study.

    Returns:
        None if no profiling is needed.
    """
    from energyopt.hardware.power_limit_policy import selector

    select = selector(options, len(gpus.boards))
    low_w, high_w = gpus.limits_w()
    points = calibration.profiles.get(digest(shape)) if calibration else None
    if points and low_w <= select(points) <= high_w:
        limit.set(select(points))
        return None
    return PowerProfiler(
        set_limit_w=limit.set,
        limits_w=limits_to_try(low_w, high_w, options.power_step_w),
        select=select,
        slice_s=options.profile_slice_s,
        settle_s=options.profile_settle_s,
        shape=shape,
        original_w=min(limit.limit_w(), high_w),
        policy=options.power_policy,
    )


def record_profile(
    profiler: PowerProfiler, recorder: Recorder, tried: Mapping[int, TrainingInterval]
) -> None:
    """Record the profile, and count the steps made while limits were tried as training.

    Args:
        profiler: The profiler, which is over.
        recorder: The record of the training.
        tried: The intervals in which limits were tried, by the index of the checkpoint that each
            leads to.
    """
    flags = recorder.conditions.flags
    if profiler.profile is None:
        flags = (*flags, "power_profile_too_short")
        recorder.record_conditions(limit_w=profiler.original_w)
    else:
        recorder.record_conditions(profile=profiler.profile, limit_w=profiler.profile.chosen_w)
        if not profiler.profile.finished:
            flags = (*flags, "power_profile_unfinished")
    recorder.record_conditions(flags=flags)
    step = profiler.step
    for interval in tried.values():
        energy = interval.profiled if step is None else step * interval.profiled_steps
        recorder.move_to_training(energy)
    for index, interval in tried.items():
        if index < len(recorder.checkpoints):
            recorder.correct(index, interval.training(step))
