"""Power limits tried in the steps that a loop of the user's own counts.

`PowerProfiler` says how many samples a slice of the training has. Our own loop trains as many in
one call; here `Run.step` counts them, and the window of training closes where a slice is full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from energyopt.core.calibration import Calibration, shape_of_work
from energyopt.core.energy import Energy, total
from energyopt.core.protocols import TrainStep
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.power_limit import PowerLimit
from energyopt.training.power_profiler import (
    PowerProfiler,
    profiler_for,
    record_profile,
    record_slice,
)
from energyopt.training.recorder import Recorder, TrainingInterval

NO_PROFILE = "no_power_profile"
"""Flag of a run whose power limit was left alone."""

_NOT_OF_WORK = "seed"  # a parameter that does not change what a step costs


class StepProfiling:
    """Tries power limits in slices of the steps of a run.

    Args:
        recorder: The record of the run.
        remaining_samples: Returns how many samples the loop trains from here on, at least; None
            where that is not known.
        make_profiler: Makes the profiler, given the samples of a step; None if an earlier profile
            of the study has chosen the limit.

    Attributes:
        is_begun: Whether a limit was tried or chosen.
    """

    def __init__(
        self,
        recorder: Recorder,
        remaining_samples: Callable[[], int | None],
        make_profiler: Callable[[int], PowerProfiler | None],
    ) -> None:
        self._recorder = recorder
        self._remaining_samples = remaining_samples
        self._make_profiler = make_profiler
        self._profiler: PowerProfiler | None = None
        # Intervals in which limits were tried, by the index of their checkpoint, until one is
        # chosen.
        self._tried: dict[int, TrainingInterval] = {}
        self._requested = 0  # samples of the slice; 0 where none is requested
        self._samples = self._steps = 0  # of the slice so far
        self.is_begun = False

    @property
    def is_active(self) -> bool:
        """Whether limits are being tried."""
        return self._profiler is not None and not self._profiler.over

    @property
    def step(self) -> Energy | None:
        """Energy of a step at the chosen limit; None until one is chosen."""
        return self._profiler.step if self._profiler else None

    @property
    def undecided(self) -> Energy:
        """The energy of training that counts as profiling until a limit is chosen."""
        return total(interval.profiled for interval in self._tried.values())

    def add_step(self, samples: int) -> bool:
        """Count a step of the training.

        Returns:
            Whether the window of training ends with it.
        """
        if self.is_active:
            self._samples += samples
            self._steps += 1
            return self._samples >= self._requested
        if self.is_begun or not samples or self._remaining_samples() is None:
            return False
        self.is_begun = True
        self._profiler = self._make_profiler(samples)
        return self.is_active

    def begin_slice(self, interval: TrainingInterval) -> None:
        """Request a slice, and set its limit, before a window of training opens."""
        assert self._profiler is not None  # noqa: S101  # it is active
        self._tried.setdefault(len(self._recorder.checkpoints), interval)
        if not self._requested:  # else an evaluation came before the first step of the slice
            self._requested = self._profiler.samples(self._remaining_samples() or 1)

    def end_slice(self, interval: TrainingInterval, energy: Energy) -> None:
        """Pass the closed window of a slice to the profiler that requested it.

        Raises:
            HardwareError: If the meter read no energy, or the next limit cannot be set.
        """
        profiler = self._profiler
        assert profiler is not None  # noqa: S101  # it requested the slice
        if not self._steps:  # what the loop does between its last step and an evaluation
            self._recorder.move_to_training(energy)
            interval.unprofiled += energy
            return
        step = TrainStep(self._samples, self._steps, 0.0)
        self._requested = self._samples = self._steps = 0
        interval.add(step, energy, is_profiling=True)
        profiler.take(step, energy, self._remaining_samples() or 0)
        if profiler.over:
            self._record(profiler)
        else:
            record_slice(profiler, self._recorder)

    def conclude(self) -> None:
        """Finish the profile at the end of the training."""
        if self._profiler is not None and self.is_active:
            self._profiler.end()
            self._record(self._profiler)
        if not self.is_begun:
            self._recorder.add_flag(NO_PROFILE)

    def _record(self, profiler: PowerProfiler) -> None:
        record_profile(profiler, self._recorder, self._tried)
        self._tried = {}


def step_profiling(
    recorder: Recorder,
    gpus: GpuAllocation,
    limit: PowerLimit,
    params: Mapping[str, Any],
    *,
    calibration: Calibration | None,
    remaining_samples: Callable[[], int | None],
) -> StepProfiling:
    """Return the profiling of a run.

    What a step costs is taken to depend on its samples and on the hyperparameters that are whole
    numbers or names, such as a width: a learning rate does not change it.

    Args:
        recorder: The record of the run.
        gpus: The GPUs that it holds.
        limit: The limit to change.
        params: Its hyperparameters.
        calibration: What earlier trials of the study found out; None outside of a study.
        remaining_samples: See `StepProfiling`.
    """
    work = {
        key: value
        for key, value in params.items()
        if isinstance(value, int | str) and key.rpartition(".")[2] != _NOT_OF_WORK
    }

    def make_profiler(step_samples: int) -> PowerProfiler | None:
        shape = shape_of_work(gpus.boards[0].name, work, step_samples, "Run")
        profiler = profiler_for(gpus, gpus.options, limit, shape, calibration)
        if profiler is None:
            recorder.record_conditions(limit_w=limit.limit_w())
        return profiler

    return StepProfiling(recorder, remaining_samples, make_profiler)
