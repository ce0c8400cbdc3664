"""The only training loop: train and evaluate in separate metered windows, keep the curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack

from energyopt.core.calibration import Calibration
from energyopt.core.curve import Checkpoint, Checkpoints
from energyopt.core.energy import Energy
from energyopt.core.history import TrialProgress
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
from energyopt.core.trial_result import End, PausePoint, Purpose, TrialResult, TrialStart
from energyopt.core.units import joules
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.stopping.rules import Rules
from energyopt.training.checkpointing import Keep, ResumeState, go_on, joined, state_of
from energyopt.training.conditions import cool_down, look_back, measure_inference, measure_rest
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import PowerProfiler
from energyopt.training.recorder import Recorder, TrainingInterval

_NO_RIG = GpuAllocation(GpuOptions(), "cpu")


def run_trial(
    make_paradigm: Callable[[], Paradigm],
    meter: EnergyMeter,
    plan: Plan,
    start: TrialStart,
    journal: JournalWriter,
    *,
    rig: GpuAllocation = _NO_RIG,
    known: Calibration | None = None,
    profiler: PowerProfiler | None = None,
    rules: Rules | None = None,
    keep: Keep | None = None,
    resumed: ResumeState | None = None,
    learn: Callable[[Recorder], None] | None = None,
) -> TrialResult:
    """Train once, from loading the data to the end of the plan, or to a pause.

    Args:
        make_paradigm: Loads the data and builds what is trained; its energy is booked as
            loading.
        meter: Meters each window.
        plan: When to evaluate and when to stop.
        start: What is known beforehand; it becomes part of the record.
        journal: Where progress and joules are appended.
        rig: The GPUs that the trial holds.
        known: What earlier trials of the study found out about them; None in no study: then
            there is nothing to be comparable with, and nothing is waited for.
        profiler: Looks for the best power limit while training.
        rules: What may stop it before its plan does; None for nothing.
        keep: Keeps what it takes to go on after a pause; None never pauses.
        resumed: The pause that it goes on from; its windows and checkpoints are the record's.
        learn: Gets what the paradigm starts from, such as a source's weights, and tells the
            recorder what that cost; None where it starts from nothing.

    Returns:
        The record with the whole curve. A missed target or a diverged loss is an outcome.

    Raises:
        TrialError: If the paradigm breaks its contract.
        HardwareError: If the meter reads what cannot be, or the GPUs are not the trial's alone.
    """
    if resumed is not None:
        start, resumed = joined(start, resumed)
    recorder = Recorder(meter, journal, start, resumed.record if resumed else None)
    paradigm = _begin(make_paradigm, recorder, rig, start, known, resumed=resumed, learn=learn)
    since = resumed.record.at if resumed else None
    loop = _Loop(paradigm, plan, recorder, profiler, rules, since=since, may_pause=keep is not None)
    while loop.ended is None:
        samples = loop.next_samples()
        with recorder.window(loop.purpose):
            step = paradigm.train(samples)
        loop.take(step)
    end, reason = loop.conclude()
    if plan.inference_s is not None and end != "paused":
        measure_inference(recorder, paradigm, plan.inference_s)
    look_back(recorder, rig, start)
    if end == "paused" and keep is not None:
        at = loop.at
        with ExitStack() as kept:
            with recorder.window("loading", "pausing"):
                kept.enter_context(keep(state_of(paradigm, at.samples, at.index)))
            recorder.pause(at)  # before it takes the place of an earlier one
    return recorder.result(end, reason)


def _begin(
    make_paradigm: Callable[[], Paradigm],
    recorder: Recorder,
    rig: GpuAllocation,
    start: TrialStart,
    known: Calibration | None,
    *,
    resumed: ResumeState | None,
    learn: Callable[[Recorder], None] | None,
) -> Paradigm:
    """Do all that comes before the first step, each part in a window of its own."""
    if learn is not None:
        learn(recorder)
    cool_down(recorder, rig, start, known)
    with recorder.window("loading", "loading"):
        paradigm = make_paradigm()
    if isinstance(paradigm, SupportsHeads):
        recorder.head_targets = paradigm.head_targets
    measure_rest(recorder, rig, start, known)
    if isinstance(paradigm, SupportsWarmUp):
        with recorder.window("warmup", "warming up"):
            paradigm.warm_up()
    if resumed is not None:
        with recorder.window("loading", "going on"):
            go_on(paradigm, resumed.state)
    if isinstance(paradigm, SupportsPrepare):
        with recorder.window("preparation", "preparing"):
            paradigm.prepare()
        recorder.know(UpfrontCost("preparation", "prepared", recorder.last()))
    rig.record_processes()
    return paradigm


class _Loop:
    """What `run_trial` trains next, and when it is over.

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
        since: PausePoint | None,
        may_pause: bool,
    ) -> None:
        self._paradigm = paradigm
        self._rules = rules
        self._plan = plan
        self._recorder = recorder
        self._profiler = profiler
        self._tried: list[
            TrainingInterval
        ] = []  # those in which limits were tried, until one is chosen
        self._epoch_samples = paradigm.epoch_samples
        _check_epoch(self._epoch_samples)
        self._last_sample = plan.last_sample(self._epoch_samples)
        self._samples = self._steps = 0
        self._interval = TrainingInterval()
        self._best = max((at.accuracy for at in recorder.checkpoints), default=0.0)
        self._may_pause = may_pause and plan.pause_at_j is not None
        self.ended: tuple[End, str] | None = None
        if since is not None:
            self._resume(since)
        self._set_mark()

    @property
    def purpose(self) -> Purpose:
        """What the next window is for."""
        return "profiling" if self._is_profiling else "training"

    def next_samples(self) -> int:
        """Return how many samples to train next, at least; where limits are tried, set one."""
        samples = self._mark - self._samples
        if self._profiler is not None and self._is_profiling:
            return self._profiler.samples(samples)
        return samples

    @property
    def at(self) -> PausePoint:
        """Where it is."""
        interval = self._interval
        return PausePoint(
            self._samples,
            self._steps,
            interval.loss_sum,
            interval.training(self._step),
            self._recorder.next_pause,
        )

    def take(self, step: TrainStep) -> None:
        """Take in one call of `train`; evaluate, end or pause where it is time to.

        Raises:
            TrialError: If the paradigm breaks its contract.
        """
        _check_trained(step)
        self._samples += step.samples
        self._steps += step.steps
        was_profiling = self._is_profiling
        self._interval.add(step, self._recorder.last(), trying=was_profiling)
        if was_profiling:
            self._profile(step)
        at_mark = self._samples >= self._mark
        if at_mark:
            self._evaluate()
            self.ended = _end(self._recorder.checkpoints, self._plan, self._last_sample)
            self.ended = self.ended or self._stopped()
        if self.ended is None and (at_mark or was_profiling):
            self.ended = self._pause()
        if at_mark and self.ended is None:
            self._set_mark()

    def conclude(self) -> tuple[End, str]:
        """Book what is not booked yet; how the trial ended, and why."""
        if self._profiler is not None and self._is_profiling:
            self._profiler.end()
            self._book_profile(self._profiler)
        assert self.ended is not None  # noqa: S101  # the loop is over
        return self.ended

    @property
    def _is_profiling(self) -> bool:
        return self._profiler is not None and not self._profiler.over

    @property
    def _step(self) -> Energy | None:
        """What a step cost while limits were tried, at the one that was chosen."""
        return self._profiler.step if self._profiler else None

    def _resume(self, since: PausePoint) -> None:
        """Continue from a pause."""
        if since.samples is None or since.steps is None or since.loss_sum is None:
            raise TrialError("the paused trial cannot go on: it does not say how much was trained")
        self._samples, self._steps = since.samples, since.steps
        last = next(reversed(self._recorder.checkpoints), None)
        samples, steps = (last.samples or 0, last.steps or 0) if last else (0, 0)
        self._interval = TrainingInterval(
            since.samples - samples, since.steps - steps, since.loss_sum, since.training
        )

    def _set_mark(self) -> None:
        """Choose where to evaluate next; the training up to there is one interval."""
        reached = self._best >= self._plan.target
        self._mark = self._plan.next_evaluation(self._samples, self._epoch_samples, reached=reached)
        if self._is_profiling:
            self._tried.append(self._interval)

    def _profile(self, step: TrainStep) -> None:
        """Let the profiler see a slice that it asked for."""
        profiler = self._profiler
        assert profiler is not None  # noqa: S101  # it asked for the slice
        profiler.take(step, self._recorder.last(), self._last_sample - self._samples)
        if profiler.over:
            self._book_profile(profiler)

    def _evaluate(self) -> None:
        """Score what was trained; the next interval begins."""
        interval, self._interval = self._interval, TrainingInterval()
        with self._recorder.window("evaluation"):
            accuracy = float(self._paradigm.evaluate())
        _check_accuracy(accuracy)
        paradigm = self._paradigm
        heads = paradigm.head_accuracies if isinstance(paradigm, SupportsHeads) else {}
        self._best = max(self._best, accuracy)
        self._recorder.add(
            Checkpoint(
                samples=self._samples,
                steps=self._steps,
                epoch=self._samples / self._epoch_samples,
                accuracy=accuracy,
                loss=interval.loss_sum / interval.samples,
                training=interval.training(self._step),
                evaluation=self._recorder.last(),
                heads=dict(heads),
            )
        )

    def _stopped(self) -> tuple[End, str] | None:
        """Ask the rules, once the energy of a step is known."""
        if not self._rules or self._is_profiling:
            return None
        upfront_j = self._recorder.upfront_j
        curve = Checkpoints.of(self._recorder.checkpoints).curve(upfront_j)
        if not len(curve):
            return None
        epoch_j = (curve.training_j[-1] - upfront_j) / curve.epoch[-1]
        progress = TrialProgress(
            curve.in_epochs(epoch_j, upfront_j),
            curve.training_j,
            curve.accuracy,
            self._plan.target,
            self._last_sample / self._epoch_samples + upfront_j / epoch_j,
            beyond=not self._plan.stop_at_target,
        )
        why = self._rules.stop(progress)
        return None if why is None else ("stopped", why)

    def _is_due(self) -> bool:
        """Whether it may pause, has come so far, and its sensor has seen what that cost.

        What is tried of power limits comes first.
        """
        at_j = self._plan.pause_at_j
        if not self._may_pause or at_j is None or self._is_profiling:
            return False
        trained = self._recorder.booked("training")
        spent_j = self._recorder.upfront_j + trained.total_j
        return spent_j >= at_j and trained.time_s >= self._recorder.legible_s

    def _pause(self) -> tuple[End, str] | None:
        """Pause if it is time to, and what is trained can be."""
        if not self._is_due():
            return None
        if not isinstance(self._paradigm, SupportsPause):
            self._may_pause = False
            self._recorder.note(flags=(*self._recorder.conditions.flags, "cannot_pause"))
            return None
        trained_j = self._recorder.booked("training").total_j
        epochs = self._samples / self._epoch_samples
        self._recorder.note(epoch_j=trained_j / epochs)
        many = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
        return "paused", f"paused after {many}, {joules(trained_j)} of training"

    def _book_profile(self, profiler: PowerProfiler) -> None:
        """A limit is chosen, or none can be: book the steps that were made meanwhile."""
        flags = self._recorder.conditions.flags
        if profiler.profile is None:
            flags = (*flags, "power_profile_too_short")
            self._recorder.note(limit_w=profiler.original_w)
        else:
            self._recorder.note(profile=profiler.profile, limit_w=profiler.profile.chosen_w)
            if not profiler.profile.finished:
                flags = (*flags, "power_profile_unfinished")
        self._recorder.note(flags=flags)
        step = profiler.step
        for each in self._tried:
            self._recorder.rebook(each.tried if step is None else step * each.tried_steps)
        for at, each in zip(range(len(self._recorder.checkpoints)), self._tried, strict=False):
            self._recorder.correct(at, each.training(step))
        self._tried = []


def _end(checkpoints: list[Checkpoint], plan: Plan, last_sample: int) -> tuple[End, str] | None:
    """Why the trial is over after its latest checkpoint; None while it is not."""
    now = checkpoints[-1]
    growth = _growth(checkpoints[0].loss, now.loss, plan.max_loss_growth)
    if growth is not None:
        return "diverged", f"the training loss {growth} epoch {now.epoch:.3g}"
    hits = [i for i, at in enumerate(checkpoints) if at.accuracy >= plan.target]
    if hits and plan.stop_at_target:
        return "target", f"accuracy {now.accuracy:.4g} reached the target {plan.target:g}"
    if now.samples is not None and now.samples >= last_sample:
        return "epochs", f"trained all {now.epoch:.4g} epochs"
    if hits and plan.patience is not None:
        since_hit = checkpoints[hits[0] :]
        best = max(range(len(since_hit)), key=lambda i: since_hit[i].accuracy)
        if len(since_hit) - 1 - best >= plan.patience:
            return "plateau", f"no better accuracy in {plan.patience} evaluations"
    return None


def _growth(first: float | None, now: float | None, most: float) -> str | None:
    """Say what a loss has become that shows divergence, up to the epoch; None if it does not."""
    if now is None:
        return None
    if not math.isfinite(now):
        return f"is {now} at"
    if first is not None and now > most * abs(first):
        return f"grew from {first:.3g} to {now:.3g} by"
    return None


def _check_epoch(epoch_samples: int) -> None:
    if epoch_samples <= 0:
        raise TrialError(
            f"the paradigm says epoch_samples={epoch_samples}; a training set of at least one "
            "sample is needed"
        )


def _check_trained(trained: TrainStep) -> None:
    if trained.samples <= 0 or trained.steps < 0:
        raise TrialError(
            f"train() returned samples={trained.samples}, steps={trained.steps}; "
            "it must train at least one batch and say so"
        )


def _check_accuracy(accuracy: float) -> None:
    if not 0 <= accuracy <= 1:
        raise TrialError(
            f"evaluate() returned {accuracy}; an accuracy in [0, 1] is expected, "
            "higher is better (divide a percentage by 100)"
        )
