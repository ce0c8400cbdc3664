"""Find the power limit with the least energy per step, while the trial trains.

Just-in-time profiling, as in Zeus (NSDI'23, arXiv 2208.06102): limits are tried one after the other
on slices of the real training, from the highest downward. A limit changes the speed of a step, not
its result, so no work is lost: each step is accounted for as training at the energy

    step_j = (energy of the slice) / (steps of the slice)

of the limit that is chosen in the end, and the excess of the others as profiling. Both sum to what
the counter read. Energy per step is convex in the limit but for noise (static power x time falls
and dynamic power rises with the clock), so the scan ends once two limits are worse than the best.

The board warms up meanwhile, which favours the limit that comes first. So that limit is measured
twice at first and again whenever the scan would end, and what the warming changed is corrected
before limits are compared: see `drift`. What a trial measures before it ends is kept, and the next
one with the same work on the same GPUs continues it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from energyopt.core.calibration import Calibration, digest, unfinished_key
from energyopt.core.conditions import PowerProfile, ProfilePoint
from energyopt.core.energy import Energy, total
from energyopt.core.protocols import TrainStep
from energyopt.errors import HardwareError
from energyopt.training.drift import Drift, fit_drift

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
# Slices that must still fit for the first limit to be measured twice at once: it takes a first and
# a last measurement to see a drift, and one between them to see its curve.
_SLICES_FOR_CURVE = 3

PARTLY_IMPUTED = "partly_imputed"
"""Flag of a trial with steps that are accounted for at a limit's mean."""

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
        earlier: Measurements of an unfinished profile of earlier trials, which this continues, of
            limits that are to be tried.
    """

    set_limit_w: Callable[[float], None]
    limits_w: Sequence[float]
    select: Select
    slice_s: float
    settle_s: float
    shape: Mapping[str, Any]
    original_w: float
    policy: str = "energy"
    earlier: Sequence[ProfilePoint] = ()
    step: Energy | None = None
    """Energy of a step at the chosen limit; None until one is chosen."""

    profile: PowerProfile | None = None
    """The profile; None until the profiler is over."""

    too_short: bool = False
    """True if the trial is too short to compare limits, and keeps its own."""

    _measured: list[ProfilePoint] = field(default_factory=list)
    _slices: list[tuple[float, Energy]] = field(default_factory=list)  # limit, energy of a step
    _limit_w: float = 0.0
    _settling: bool = True
    _slice: Energy = field(default_factory=Energy)  # used in this phase of this limit
    _slice_steps: int = 0
    _trained_s: float = 0.0
    _samples_per_s: float | None = None
    _last_samples: int = 0

    def __post_init__(self) -> None:
        self._measured += self.earlier

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
            self._begin(self._next_w(can_repeat=False) or self.limits_w[0])
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
        self._trained_s += energy.time_s
        self._slice += energy
        self._slice_steps += step.steps
        if self._slice.time_s < (self.settle_s if self._settling else self.slice_s):
            return
        if self._settling:
            self._settling = False
            self._slice, self._slice_steps = Energy(), 0
            return
        self._add_point()
        next_w = self._next_w(can_repeat=self._fits(_SLICES_FOR_CURVE, remaining_samples))
        if next_w is None:
            self._finish(finished=True)
        elif self._fits(1, remaining_samples):
            self._begin(next_w)
        else:
            self.end()

    def so_far(self) -> PowerProfile | None:
        """Return the profile of what is measured, unfinished; None before the first limit is."""
        if not self._measured:
            return None
        drift = self._drift()
        points = tuple(self._points(drift))
        return PowerProfile(
            self.shape,
            points,
            self.select(points),
            finished=False,
            policy=self.policy,
            measured=tuple(self._measured),
            drift=drift.ratio,
        )

    def end(self) -> None:
        """End the profile with the trial: choose from the limits measured so far."""
        if self.over:
            return
        if len({point.limit_w for point in self._measured}) > 1:
            self._finish(finished=False)
        else:
            self._abandon()

    # What to measure next ------------------------------------------------------------------

    def _next_w(self, *, can_repeat: bool) -> float | None:
        """Return the limit to measure next, in W; None if the best is found.

        Args:
            can_repeat: Whether the first limit may be measured twice in a row.
        """
        first_w = self.limits_w[0]
        n_first = sum(point.limit_w == first_w for point in self._measured)
        if n_first == 1 == len(self._measured) and can_repeat and len(self.limits_w) > 1:
            return first_w
        points = self._points(self._drift())
        untried = [w for w in self.limits_w if all(point.limit_w != w for point in points)]
        if untried and self._n_worse(points) < _N_WORSE_TO_END:
            return untried[0]
        is_checked = self._measured[-1].limit_w == first_w
        return None if is_checked or len(self.limits_w) == 1 else first_w

    def _n_worse(self, points: Sequence[ProfilePoint]) -> int:
        """Return how many limits, of those tried last, were worse than the best."""
        n_worse = 0
        for count, point in enumerate(points, 1):
            chosen_w = self.select(points[:count])
            if chosen_w == point.limit_w:
                n_worse = 0
            elif not self._nearly_as_good(point, chosen_w, points):
                n_worse += 1
        return n_worse

    def _nearly_as_good(
        self, point: ProfilePoint, chosen_w: float, points: Sequence[ProfilePoint]
    ) -> bool:
        """Return True if a limit may be as good as the chosen one, but for noise."""
        best = next(p for p in points if p.limit_w == chosen_w)
        return self.policy == "energy" and point.step_j < _NEARLY_BEST * best.step_j

    def _fits(self, slices: int, remaining_samples: int) -> bool:
        needed_s = slices * (self.settle_s + self.slice_s)
        return remaining_samples >= needed_s * (self._samples_per_s or 0.0)

    def _begin(self, limit_w: float) -> None:
        if limit_w != self._limit_w:
            self._limit_w = limit_w
            self.set_limit_w(limit_w)
        self._settling = self.settle_s > 0
        self._slice, self._slice_steps = Energy(), 0

    # What was measured ---------------------------------------------------------------------

    def _add_point(self) -> None:
        step = self._slice * (1 / max(self._slice_steps, 1))
        if step.total_j <= 0:
            raise HardwareError(
                f"the meter read {self._slice.total_j:g} J over {self._slice.time_s:.3g} s of "
                "training at a power limit: the slices are too short for its counter; raise "
                f"hardware.profile_slice_s={self.slice_s:g}"
            )
        at_s = self._trained_s - self._slice.time_s / 2
        self._measured.append(
            ProfilePoint(self._limit_w, self._slice_steps, step.total_j, step.time_s, at_s)
        )
        self._slices.append((self._limit_w, step))

    def _drift(self) -> Drift:
        return fit_drift([p for p in self._measured if p.limit_w == self.limits_w[0]])

    def _points(self, drift: Drift) -> list[ProfilePoint]:
        """Return the mean of each limit on the warm board, from the highest limit downward."""
        points = [drift.corrected(point) for point in self._measured]
        by_limit = {
            limit_w: [point for point in points if point.limit_w == limit_w]
            for limit_w in self.limits_w
        }
        return [_mean(repeats) for repeats in by_limit.values() if repeats]

    # Its end -------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """Keep the trial's own limit; what was measured is there for a later trial."""
        self.too_short = True
        self.profile = self.so_far()
        self.set_limit_w(self.original_w)

    def _finish(self, *, finished: bool) -> None:
        profile = self.so_far()
        assert profile is not None  # noqa: S101  # a limit was measured
        self.profile = replace(profile, finished=finished)
        chosen_w = profile.chosen_w
        self.step = self._step_at(next(p for p in profile.points if p.limit_w == chosen_w))
        self.set_limit_w(chosen_w)

    def _step_at(self, point: ProfilePoint) -> Energy:
        """Return the energy of a step at a limit, by device.

        Its parts are as in the slices of that limit; or, if an earlier trial measured it, as in
        all slices of this one.
        """
        steps = [step for limit_w, step in self._slices if limit_w == point.limit_w]
        parts = total(steps or [step for _, step in self._slices])
        return replace(parts * (point.step_j / parts.total_j), time_s=point.step_s)


def _mean(repeats: Sequence[ProfilePoint]) -> ProfilePoint:
    """Return the mean of a limit's measurements, each weighted by its steps."""
    weights = [max(point.steps, 1) for point in repeats]
    step_j, step_s = (
        sum(weight * getattr(point, name) for weight, point in zip(weights, repeats, strict=True))
        / sum(weights)
        for name in ("step_j", "step_s")
    )
    return ProfilePoint(repeats[0].limit_w, sum(p.steps for p in repeats), step_j, step_s)


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
    uuids = [board.uuid for board in gpus.boards]
    earlier = calibration.unfinished.get(unfinished_key(shape, uuids), ()) if calibration else ()
    if points and low_w <= select(points) <= high_w:
        limit.set(select(points))
        return None
    limits_w = limits_to_try(low_w, high_w, options.power_step_w)
    return PowerProfiler(
        set_limit_w=limit.set,
        limits_w=limits_w,
        select=select,
        slice_s=options.profile_slice_s,
        settle_s=options.profile_settle_s,
        shape=shape,
        original_w=min(limit.limit_w(), high_w),
        policy=options.power_policy,
        earlier=[point for point in earlier if point.limit_w in limits_w],
    )


def record_slice(profiler: PowerProfiler, recorder: Recorder) -> None:
    """Record what was measured so far, so that a later trial continues it if this one dies."""
    profile, recorded = profiler.so_far(), recorder.conditions.profile
    n_recorded = len(profiler.earlier) if recorded is None else len(recorded.measured)
    if profile is not None and len(profile.measured) > n_recorded:
        recorder.record_conditions(profile=profile)


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
    recorder.record_conditions(profile=profiler.profile)
    if profiler.too_short or profiler.profile is None:
        flags = (*flags, "power_profile_too_short")
        recorder.record_conditions(limit_w=profiler.original_w)
    else:
        recorder.record_conditions(limit_w=profiler.profile.chosen_w)
        if not profiler.profile.finished:
            flags = (*flags, "power_profile_unfinished")
    step = profiler.step
    if step is not None:
        flags = (*flags, PARTLY_IMPUTED)
    recorder.record_conditions(flags=flags)
    for interval in tried.values():
        energy = interval.profiled if step is None else step * interval.profiled_steps
        recorder.move_to_training(energy)
    for index, interval in tried.items():
        if index < len(recorder.checkpoints):
            recorder.correct(index, interval.training(step))
