"""The only training loop: train and evaluate in separate metered windows, keep the curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from energyopt.core.calibration import Known
from energyopt.core.history import Progress
from energyopt.core.journal import JournalWriter
from energyopt.core.protocols import (
    EnergyMeter,
    Paradigm,
    Pauses,
    Prepares,
    ScoresHeads,
    Trained,
    WarmsUp,
)
from energyopt.core.trial_result import (
    Checkpoint,
    Checkpoints,
    End,
    Energy,
    Pause,
    TrialResult,
    TrialStart,
)
from energyopt.core.units import joules
from energyopt.core.upfront_cost import Upfront
from energyopt.errors import TrialError
from energyopt.hardware.gpu_allocation import Rig
from energyopt.hardware.gpu_options import RigOptions
from energyopt.stopping.rules import Rules
from energyopt.training.checkpointing import Keep, Resumed, go_on, joined, state_of
from energyopt.training.conditions import cool_down, look_back, measure_inference, measure_rest
from energyopt.training.power_profiler import PowerProfiler
from energyopt.training.recorder import Interval, Recorder

_EVALUATIONS_PER_EPOCH = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a trial trains and when it is scored.

    Attributes:
        target: Accuracy to reach, in [0, 1].
        epochs: The most epochs it may train.
        max_samples: Samples after which it ends in any case; None for no such end.
        eval_every: Samples between evaluations, the same for all batch sizes; None is a
            quarter of an epoch until the target is reached and an epoch after it (four
            evaluations an epoch cost 22-44 % of a small network's time).
        patience: Evaluations without a better accuracy, after the target, that end the trial;
            None trains all epochs.
        stop_at_target: End at the first evaluation at the target.
        pause_at_j: Training energy at which it pauses, its share of what went into it before its
            first step included, in J; 0 as soon as power limits are tried, or at its first
            evaluation; None never.
        inference_s: How long answers are asked for after the training, at least, to meter them, in
            s; None does not.
        max_loss_growth: Mean loss of a window, in units of the first window's, that counts
            as divergence.
    """

    target: float
    epochs: float
    max_samples: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    stop_at_target: bool = False
    pause_at_j: float | None = None
    inference_s: float | None = None
    max_loss_growth: float = 10.0

    def next_evaluation(self, samples: int, epoch_samples: int, *, reached: bool) -> int:
        """Samples since the first step at which to evaluate next.

        Marks are multiples counted from the start, so that a large batch that overshoots one
        does not shift the others.
        """
        if self.eval_every is not None:
            interval = float(self.eval_every)
        else:
            interval = epoch_samples / (1 if reached else _EVALUATIONS_PER_EPOCH)
        mark = math.ceil(round((math.floor(samples / interval + 1e-9) + 1) * interval, 6))
        return min(mark, self.last_sample(epoch_samples))

    def last_sample(self, epoch_samples: int) -> int:
        """Samples after which the trial has run its course."""
        last = max(1, round(self.epochs * epoch_samples))
        return last if self.max_samples is None else min(last, self.max_samples)


_NO_RIG = Rig(RigOptions(), "cpu")


def run_trial(
    make_paradigm: Callable[[], Paradigm],
    meter: EnergyMeter,
    plan: Plan,
    start: TrialStart,
    journal: JournalWriter,
    *,
    rig: Rig = _NO_RIG,
    known: Known | None = None,
    profiler: PowerProfiler | None = None,
    rules: Rules | None = None,
    keep: Keep | None = None,
    resumed: Resumed | None = None,
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
    if learn is not None:
        learn(recorder)
    cool_down(recorder, rig, start, known)
    with recorder.window("loading", "loading"):
        paradigm = make_paradigm()
    if isinstance(paradigm, ScoresHeads):
        recorder.head_targets = paradigm.head_targets
    measure_rest(recorder, rig, start, known)
    if isinstance(paradigm, WarmsUp):
        with recorder.window("warmup", "warming up"):
            paradigm.warm_up()
    if resumed is not None:
        with recorder.window("loading", "going on"):
            go_on(paradigm, resumed.state)
    if isinstance(paradigm, Prepares):
        with recorder.window("preparation", "preparing"):
            paradigm.prepare()
        recorder.know(Upfront("preparation", "prepared", recorder.last()))
    rig.note_company()
    training = _Training(paradigm, plan, recorder, profiler, rules, may_pause=keep is not None)
    end, reason = training.run(resumed.record.at if resumed else None)
    if plan.inference_s is not None and end != "paused":
        measure_inference(recorder, paradigm, plan.inference_s)
    look_back(recorder, rig, start)
    if end == "paused" and keep is not None:
        with ExitStack() as kept:
            with recorder.window("loading", "pausing"):
                kept.enter_context(keep(state_of(paradigm, training.at.samples)))
            recorder.pause(training.at)  # before it takes the place of an earlier one
    return recorder.result(end, reason)


class _Training:
    """The loop itself: train to the next mark, evaluate, decide whether to go on."""

    def __init__(
        self,
        paradigm: Paradigm,
        plan: Plan,
        recorder: Recorder,
        profiler: PowerProfiler | None,
        rules: Rules | None,
        *,
        may_pause: bool,
    ) -> None:
        self._paradigm = paradigm
        self._rules = rules
        self._plan = plan
        self._recorder = recorder
        self._profiler = profiler
        self._tried: list[Interval] = []  # those in which limits were tried, until one is chosen
        self._epoch_samples = paradigm.epoch_samples
        _check_epoch(self._epoch_samples)
        self._last_sample = plan.last_sample(self._epoch_samples)
        self._samples = self._steps = 0
        self._interval = Interval()
        self._best = max((at.accuracy for at in recorder.checkpoints), default=0.0)
        self._may_pause = may_pause and plan.pause_at_j is not None

    @property
    def at(self) -> Pause:
        """Where it is."""
        interval = self._interval
        training = interval.training(self._step)
        return Pause(self._samples, self._steps, interval.loss_sum, training)

    def run(self, since: Pause | None = None) -> tuple[End, str]:
        """Train until the plan ends or pauses it; how, and why.

        Args:
            since: The pause that it goes on from.
        """
        if since is not None:
            self._go_on(since)
        ended: tuple[End, str] | None = None
        while ended is None:
            reached = self._best >= self._plan.target
            mark = self._plan.next_evaluation(self._samples, self._epoch_samples, reached=reached)
            self._train(mark)
            if self._samples >= mark:
                self._evaluate()
                ended = _end(self._recorder.checkpoints, self._plan, self._last_sample)
                ended = ended or self._stopped()
            ended = ended or self._pause()
        if self._profiler is not None and not self._profiler.over:
            self._profiler.end()
            self._conclude(self._profiler)
        return ended

    @property
    def _step(self) -> Energy | None:
        """What a step cost while limits were tried, at the one that was chosen."""
        return self._profiler.step if self._profiler else None

    def _go_on(self, since: Pause) -> None:
        last = next(reversed(self._recorder.checkpoints), None)
        self._samples, self._steps = since.samples, since.steps
        self._interval = Interval(
            since.samples - (last.samples if last else 0),
            since.steps - (last.steps if last else 0),
            since.loss_sum,
            since.training,
        )

    def _evaluate(self) -> None:
        """Score what was trained; the next interval begins."""
        interval, self._interval = self._interval, Interval()
        with self._recorder.window("evaluation"):
            accuracy = float(self._paradigm.evaluate())
        _check_accuracy(accuracy)
        paradigm = self._paradigm
        heads = paradigm.head_accuracies if isinstance(paradigm, ScoresHeads) else {}
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
        if not self._rules or (self._profiler is not None and not self._profiler.over):
            return None
        upfront_j = self._recorder.upfront_j
        curve = Checkpoints.of(self._recorder.checkpoints).curve(upfront_j)
        if not len(curve):
            return None
        epoch_j = (curve.training_j[-1] - upfront_j) / curve.epoch[-1]
        progress = Progress(
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
        at_j, profiler = self._plan.pause_at_j, self._profiler
        tries = profiler is not None and not profiler.over
        if not self._may_pause or at_j is None or tries:
            return False
        trained = self._recorder.booked("training")
        spent_j = self._recorder.upfront_j + trained.total_j
        return spent_j >= at_j and trained.time_s >= self._recorder.legible_s

    def _pause(self) -> tuple[End, str] | None:
        """Pause if it is time to, and what is trained can be."""
        if not self._is_due():
            return None
        if not isinstance(self._paradigm, Pauses):
            self._may_pause = False
            self._recorder.note(flags=(*self._recorder.conditions.flags, "cannot_pause"))
            return None
        trained_j = self._recorder.booked("training").total_j
        epochs = self._samples / self._epoch_samples
        self._recorder.note(epoch_j=trained_j / epochs)
        many = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
        return "paused", f"paused after {many}, {joules(trained_j)} of training"

    def _train(self, mark: int) -> None:
        """Train up to a mark, in parts while power limits are tried, or until it is to pause."""
        interval, profiler = self._interval, self._profiler
        if profiler is not None and not profiler.over:
            self._tried.append(interval)
        while self._samples < mark:
            trying = profiler is not None and not profiler.over
            samples = mark - self._samples
            if profiler is not None and trying:
                samples = profiler.samples(samples)
            with self._recorder.window("profiling" if trying else "training"):
                trained = self._paradigm.train(samples)
            _check_trained(trained)
            self._samples += trained.samples
            self._steps += trained.steps
            interval.add(trained, self._recorder.last(), trying=trying)
            if profiler is not None and trying:
                left = self._last_sample - self._samples
                profiler.take(trained, self._recorder.last(), left)
                if profiler.over:
                    self._conclude(profiler)
                    if self._is_due():
                        return

    def _conclude(self, profiler: PowerProfiler) -> None:
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
    first_loss = checkpoints[0].loss
    if not math.isfinite(now.loss):
        return "diverged", f"the training loss is {now.loss} at epoch {now.epoch:.3g}"
    if now.loss > plan.max_loss_growth * abs(first_loss):
        return (
            "diverged",
            f"the training loss grew from {first_loss:.3g} to {now.loss:.3g} "
            f"by epoch {now.epoch:.3g}",
        )
    hits = [i for i, at in enumerate(checkpoints) if at.accuracy >= plan.target]
    if hits and plan.stop_at_target:
        return "target", f"accuracy {now.accuracy:.4g} reached the target {plan.target:g}"
    if now.samples >= last_sample:
        return "epochs", f"trained all {now.epoch:.4g} epochs"
    if hits and plan.patience is not None:
        since_hit = checkpoints[hits[0] :]
        best = max(range(len(since_hit)), key=lambda i: since_hit[i].accuracy)
        if len(since_hit) - 1 - best >= plan.patience:
            return "plateau", f"no better accuracy in {plan.patience} evaluations"
    return None


def _check_epoch(epoch_samples: int) -> None:
    if epoch_samples <= 0:
        raise TrialError(
            f"the paradigm says epoch_samples={epoch_samples}; a training set of at least one "
            "sample is needed"
        )


def _check_trained(trained: Trained) -> None:
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
