"""The only training loop: train and evaluate in separate metered windows, record the curve."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from energyopt.core.calibration import Calibration
from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.journal import JournalWriter
from energyopt.core.protocols import (
    EnergyMeter,
    Paradigm,
    SupportsHeads,
    SupportsPause,
    SupportsPrepare,
    SupportsWarmUp,
    TrainStep,
)
from energyopt.core.trial_result import (
    End,
    PausePoint,
    Purpose,
    TrialResult,
    TrialStart,
)
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.stopping.rules import Rules
from energyopt.training.checkpointing import (
    Keep,
    ResumeState,
    capture_state,
    merge_resumed,
    restore,
)
from energyopt.training.conditions import (
    check_conditions,
    cool_down,
    measure_idle,
    measure_inference,
    measure_test,
)
from energyopt.training.ending import Ending
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import PowerProfiler, record_profile, record_slice
from energyopt.training.recorder import Recorder, TrainingInterval
from energyopt.training.tracing import traced

_NO_GPUS = GpuAllocation(GpuOptions(), "cpu")


def run_trial(
    make_paradigm: Callable[[], Paradigm],
    meter: EnergyMeter,
    plan: Plan,
    start: TrialStart,
    journal: JournalWriter,
    *,
    gpus: GpuAllocation = _NO_GPUS,
    calibration: Calibration | None = None,
    profiler: PowerProfiler | None = None,
    rules: Rules | None = None,
    keep: Keep | None = None,
    resumed: ResumeState | None = None,
    learn: Callable[[Recorder], None] | None = None,
) -> TrialResult:
    """Train once, from loading the data to the end of the plan, or to a pause.

    Args:
        make_paradigm: Loads the data and builds the paradigm; its energy is recorded as
            loading.
        meter: Meters each window.
        plan: When to evaluate and when to stop.
        start: The start of the record.
        journal: Progress and energy are appended to it.
        gpus: The GPUs that the trial holds.
        calibration: Measurements of the GPUs by earlier trials of the study; None outside a study:
            then there is nothing to be comparable with, and the trial does not cool down.
        profiler: Finds the best power limit while training.
        rules: Rules that may stop it before its plan does; None for none.
        keep: Saves the training state at a pause; None never pauses.
        resumed: The pause to resume from; its windows and checkpoints begin the record.
        learn: Trains or loads what the paradigm starts from, such as a source's weights, and
            records its cost; None where it starts from scratch.

    Returns:
        The record with the whole curve. A missed target, a diverged loss or metric are not errors.

    Raises:
        TrialError: If the paradigm breaks its contract.
        HardwareError: If the meter reads impossible values, or other processes use the GPUs.
    """
    if resumed is not None:
        start, resumed = merge_resumed(start, resumed)
    recorder = Recorder(meter, journal, start, resumed.record if resumed else None)
    with traced(recorder, gpus, start):
        paradigm = _begin(
            make_paradigm, recorder, gpus, start, calibration, resumed=resumed, learn=learn
        )
        resume_point = resumed.record.at if resumed else None
        loop = _Loop(
            paradigm,
            plan,
            recorder,
            profiler,
            rules,
            resume_point=resume_point,
            may_pause=keep is not None,
        )
        while loop.ended is None:
            samples = loop.next_samples()
            with recorder.window(loop.purpose):
                step = paradigm.train(samples)
            loop.take(step)
        end, reason = loop.conclude()
        if plan.inference_s is not None and end != "paused":
            measure_inference(recorder, paradigm, plan.inference_s)
        if plan.test_at_end and end != "paused":
            measure_test(recorder, paradigm)
        check_conditions(recorder, gpus, start)
        if end == "paused" and keep is not None:
            point = loop.pause_point
            with ExitStack() as saving:
                with recorder.window("loading", "pausing"):
                    state = capture_state(paradigm, point.samples, point.index)
                    digest = saving.enter_context(keep(state))
                recorder.pause(
                    replace(point, state=digest)
                )  # before the state replaces an earlier one
    return recorder.result(end, reason)


def _begin(
    make_paradigm: Callable[[], Paradigm],
    recorder: Recorder,
    gpus: GpuAllocation,
    start: TrialStart,
    calibration: Calibration | None,
    *,
    resumed: ResumeState | None,
    learn: Callable[[Recorder], None] | None,
) -> Paradigm:
    """Prepare the trial up to its first step, each part in a metered window of its own."""
    if learn is not None:
        learn(recorder)
    cool_down(recorder, gpus, start, calibration)
    with recorder.window("loading", "loading"):
        paradigm = make_paradigm()
    if isinstance(paradigm, SupportsHeads):
        recorder.head_targets = paradigm.head_targets
    measure_idle(recorder, gpus, start, calibration)
    if isinstance(paradigm, SupportsWarmUp):
        with recorder.window("warmup", "warming up"):
            paradigm.warm_up()
    if resumed is not None:
        with recorder.window("loading", "going on"):
            restore(paradigm, resumed.state)
    if isinstance(paradigm, SupportsPrepare):
        with recorder.window("preparation", "preparing"):
            paradigm.prepare()
        recorder.add_upfront_cost(UpfrontCost("preparation", "prepared", recorder.last()))
    gpus.record_processes()
    return paradigm


class _Loop:
    """Decides how much `run_trial` trains next, and when the trial is over.

    Samples are trained up to the next mark, in slices while power limits are tried; at a mark the
    model is evaluated, and it is decided whether the trial ends, pauses or continues.

    Attributes:
        ended: How the trial ended, and why; None while it trains.
    """

    def __init__(
        self,
        paradigm: Paradigm,
        plan: Plan,
        recorder: Recorder,
        profiler: PowerProfiler | None,
        rules: Rules | None,
        *,
        resume_point: PausePoint | None,
        may_pause: bool,
    ) -> None:
        self._paradigm = paradigm
        self._plan = plan
        self._recorder = recorder
        self._profiler = profiler
        # Intervals in which limits were tried, by the index of their checkpoint, until one is
        # chosen.
        self._tried: dict[int, TrainingInterval] = {}
        self._epoch_samples = paradigm.epoch_samples
        _check_epoch(self._epoch_samples)
        self._last_sample = plan.last_sample(self._epoch_samples)
        self._samples = self._steps = 0
        self._interval = TrainingInterval()
        self._ending = Ending(recorder, plan, rules)
        self._may_pause = may_pause
        self.ended: tuple[End, str] | None = None
        if resume_point is not None:
            self._resume(resume_point)
        self._set_mark()

    @property
    def purpose(self) -> Purpose:
        """Purpose of the next window."""
        return "profiling" if self._is_profiling else "training"

    def next_samples(self) -> int:
        """Return the minimum number of samples to train next; set a limit if limits are tried."""
        samples = self._mark - self._samples
        if self._profiler is not None and self._is_profiling:
            return self._profiler.samples(samples)
        return samples

    @property
    def pause_point(self) -> PausePoint:
        """The point of the training, to resume from it."""
        interval = self._interval
        return PausePoint(
            self._samples,
            self._steps,
            interval.loss_sum,
            interval.training(self._step),
            self._recorder.next_pause,
        )

    def take(self, step: TrainStep) -> None:
        """Add one call of `train`; evaluate, end or pause when it is time.

        Raises:
            TrialError: If the paradigm breaks its contract.
        """
        _check_step(step)
        self._samples += step.samples
        self._steps += step.steps
        was_profiling = self._is_profiling
        self._interval.add(step, self._recorder.last(), is_profiling=was_profiling)
        if was_profiling:
            self._profile(step)
        at_mark = self._samples >= self._mark
        if at_mark:
            self.ended = self._evaluate()
            if self.ended is None:
                trained_all = self._samples >= self._last_sample
                self.ended = self._ending.at_evaluation(trained_all=trained_all)
            if self.ended is None and not self._is_profiling:  # else the energy of a step is open
                self.ended = self._ending.by_rule(self._last_sample / self._epoch_samples)
        if self.ended is None and (at_mark or was_profiling):
            self.ended = self._pause()
        if at_mark and self.ended is None:
            self._set_mark()

    def conclude(self) -> tuple[End, str]:
        """Finish the profile, and return how the trial ended, and why."""
        if self._profiler is not None and self._is_profiling:
            self._profiler.end()
            self._record_profile(self._profiler)
        assert self.ended is not None  # noqa: S101  # the loop is over
        return self.ended

    @property
    def _is_profiling(self) -> bool:
        return self._profiler is not None and not self._profiler.over

    @property
    def _step(self) -> Energy | None:
        """Energy of a step at the chosen limit; None until one is chosen."""
        return self._profiler.step if self._profiler else None

    def _resume(self, point: PausePoint) -> None:
        """Continue from a pause."""
        if point.samples is None or point.steps is None or point.loss_sum is None:
            raise TrialError("the paused trial cannot go on: it does not say how much was trained")
        self._samples, self._steps = point.samples, point.steps
        last = next(reversed(self._recorder.checkpoints), None)
        samples, steps = (last.samples or 0, last.steps or 0) if last else (0, 0)
        self._interval = TrainingInterval(
            point.samples - samples,
            point.steps - steps,
            point.loss_sum,
            point.training,
        )

    def _set_mark(self) -> None:
        """Choose where to evaluate next; the training up to there is one interval."""
        reached = self._recorder.first_hit is not None
        self._mark = self._plan.next_evaluation(self._samples, self._epoch_samples, reached=reached)
        if self._is_profiling:
            self._tried[len(self._recorder.checkpoints)] = self._interval

    def _profile(self, step: TrainStep) -> None:
        """Pass a slice to the profiler that requested it."""
        profiler = self._profiler
        assert profiler is not None  # noqa: S101  # it requested the slice
        profiler.take(step, self._recorder.last(), self._last_sample - self._samples)
        if profiler.over:
            self._record_profile(profiler)
        else:
            record_slice(profiler, self._recorder)

    def _evaluate(self) -> tuple[End, str] | None:
        """Evaluate the paradigm, and begin the next interval.

        Returns:
            How and why the trial ends if the metric is not finite; it is no point of the curve.
        """
        interval, self._interval = self._interval, TrainingInterval()
        with self._recorder.window("evaluation"):
            value = float(self._paradigm.evaluate())
        epoch = self._samples / self._epoch_samples
        diverged = self._ending.at_value(value, epoch)
        if diverged is not None:
            return diverged
        self._recorder.monitor.check_value(value, "evaluate() returned")
        paradigm = self._paradigm
        heads = paradigm.head_accuracies if isinstance(paradigm, SupportsHeads) else {}
        self._recorder.add(
            Checkpoint(
                samples=self._samples,
                steps=self._steps,
                epoch=epoch,
                accuracy=value,
                loss=interval.loss_sum / interval.samples,
                training=interval.training(self._step),
                evaluation=self._recorder.last(),
                heads=dict(heads),
            )
        )
        return None

    def _pause(self) -> tuple[End, str] | None:
        """Pause if the energy limit is reached and the paradigm supports pausing."""
        if not self._may_pause or self._is_profiling or not self._ending.pause_is_due():
            return None  # a power profile is finished first
        if not isinstance(self._paradigm, SupportsPause):
            self._may_pause = False
            self._recorder.add_flag("cannot_pause")
            return None
        return self._ending.pause(self._samples / self._epoch_samples)

    def _record_profile(self, profiler: PowerProfiler) -> None:
        record_profile(profiler, self._recorder, self._tried)
        self._tried = {}


def _check_epoch(epoch_samples: int) -> None:
    if epoch_samples <= 0:
        raise TrialError(
            f"the paradigm says epoch_samples={epoch_samples}; a training set of at least one "
            "sample is needed"
        )


def _check_step(step: TrainStep) -> None:
    if step.samples <= 0 or step.steps < 0:
        raise TrialError(
            f"train() returned samples={step.samples}, steps={step.steps}; "
            "it must train at least one batch and say so"
        )
