"""The open record of a `Run`: its windows, its pauses, its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from energyopt.core.conditions import Conditions
from energyopt.core.journal import NAME, JournalWriter, TrialEnd
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import BROKEN, End, PausePoint, Purpose, TrialResult
from energyopt.core.verdict import await_verdict, forget_verdict
from energyopt.errors import EnergyoptError, RunStopped, TrialError
from energyopt.training import run_process, run_state
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import (
    ResumeState,
    check_same,
    merge_resumed,
    random_state,
    set_random_state,
)
from energyopt.training.conditions import check_conditions, cool_down, measure_idle
from energyopt.training.recorder import Recorder
from energyopt.training.run_children import (
    PREFETCH_SHARE,
    ChildClock,
    fresh_children,
    wait_until_idle,
)
from energyopt.training.run_output import default_name, make_folder, print_end, say
from energyopt.training.run_process import OpenRun, ProcessHooks
from energyopt.training.run_profiling import NO_PROFILE, step_profiling
from energyopt.training.run_progress import Point, Progress
from energyopt.training.run_setup import (
    Meter,
    Question,
    open_hardware,
    rules_of,
    uses_unmetered_gpu,
)
from energyopt.training.run_timeline import Timeline
from energyopt.training.tracing import begin_trace, end_trace

_VERDICT_S = 60.0  # a database that is busy may take so long


class RunSession:
    """The parts of a run from its creation to its end.

    Args:
        run: The run, which the end of the process closes.
        context: Of its study; empty outside of one.
        question: What the run is asked to reach.
        in_study: Whether it is a job of a study.
        name: Name that the user gave.
        folder: Folder that the user gave.
        meter: Meter that the user gave.
        synchronize: Waits for pending work of the user's device.

    Attributes:
        name: Name of the run.
        folder: Folder of its record; None if nothing is kept.
        question: What the run is asked to reach.
        start_epoch: Number of the first epoch to train.
        progress: Its learning curve.
        timeline: Its windows.
        checkpoint: The checkpoint of the last report.
        is_begun: Whether the training has begun.
        is_left: Whether the program has left its loop before the end.
        result: Its record, once it has ended.
    """

    def __init__(
        self,
        run: OpenRun,
        context: RunContext,
        question: Question,
        *,
        in_study: bool,
        name: str | None,
        folder: str | Path | None,
        meter: Meter,
        synchronize: Callable[[], object] | None,
    ) -> None:
        self._context = context
        self._in_study = in_study
        self.question = question
        self.name = name or default_name()
        self.start_epoch = 0
        self.checkpoint: Any = None
        self.is_begun = self.is_left = False
        self.result: TrialResult | None = None
        self._is_evaluated = False
        self._may_pause = True
        self._asks_pruner = context.has_pruner
        self._getters: dict[str, run_state.Getter] = {}
        self._child_clock = ChildClock()
        self._fresh_children = fresh_children()
        with ExitStack() as stack:
            run_process.open_run(run, replaces=in_study)
            stack.callback(run_process.forget_run, run)
            self.folder = context.folder if in_study else make_folder(self.name, folder)
            self._journal, resumed = self._open_journal()
            limit_w = None if resumed is None else _kept_limit_w(resumed.record.conditions)
            hardware = open_hardware(context, meter, run.params, self._journal.began, limit_w)
            stack.callback(hardware.close)
            start = hardware.start_of(question, run.params)
            if resumed is not None:
                start, resumed = merge_resumed(start, resumed)
            self._start = start
            self._gpus = hardware.gpus
            self._knows_meter = not hardware.is_own_meter
            record = None if resumed is None else resumed.record
            self._state = None if resumed is None else resumed.state
            self._recorder = Recorder(hardware.meter, self._journal, start, record)
            stack.callback(end_trace, self._recorder, self._gpus)
            begin_trace(self._recorder, self._gpus, start)
            self.progress = Progress(
                self._recorder, question, rules_of(context), context.pause_at_j
            )
            self.timeline = Timeline(self._recorder, synchronize)
            if record is not None and self._state is not None:
                self.start_epoch = self._state["epoch"]
                self.progress.resume(record.at)
                self.timeline.training.unprofiled = record.at.training
            elif hardware.profiled_limit is not None:
                self.timeline.profiling = step_profiling(
                    self._recorder,
                    hardware.gpus,
                    hardware.profiled_limit,
                    run.params,
                    calibration=context.calibration,
                    remaining_samples=self.progress.remaining_samples,
                )
            cool_down(self._recorder, self._gpus, start, context.calibration)
            self._hooks = ProcessHooks(run)
            stack.callback(self._hooks.remove)
            self.timeline.switch("loading", "loading")
            self._release = stack.pop_all().close

    def _open_journal(self) -> tuple[JournalWriter, ResumeState | None]:
        """Open the journal, and load the pause from which the training resumes."""
        if self.folder is None:
            return JournalWriter(None), None
        path = self.folder / NAME
        if self._asks_pruner:
            forget_verdict(self.folder)
        if not self._context.resume:
            return JournalWriter(path, is_rerun=self._in_study), None
        state = run_state.load(self.folder / PAUSED)
        journal = JournalWriter(path, is_rerun=True, pause=state.get("pause"))
        if journal.resumed is None or "objects" not in state:
            raise TrialError(f"the paused training cannot resume: {path} does not hold its pause")
        check_same(self.folder / PAUSED, journal.resumed.at)
        return journal, ResumeState(journal.resumed, state)

    @property
    def resumed_checkpoint(self) -> Any:
        """The checkpoint of the pause from which the training resumes; None without one."""
        return None if self._state is None else run_state.reported(self._state["checkpoint"])

    def begin(self, stateful: Mapping[str, Any]) -> Any:
        """End the loading. Returns the checkpoint of the pause from which the training resumes.

        Raises:
            TrialError: If an object has no state that can be read and restored.
            RunStopped: If only the loading is checked.
        """
        accessors = {name: run_state.accessors(name, part) for name, part in stateful.items()}
        self._getters = {name: get for name, (get, _) in accessors.items()}
        if self._state is not None:
            setters = {name: put for name, (_, put) in accessors.items()}
            run_state.restore(setters, self._state["objects"])
        if not wait_until_idle():
            self._recorder.add_flag("imports_in_training")
        self._fresh_children = fresh_children()
        with self._hooks.working():
            self.timeline.close()
            measure_idle(self._recorder, self._gpus, self._start, self._context.calibration)
            self._gpus.record_processes()
        self.is_begun = True
        if self._context.preflight:
            self.finish("stopped", "preflight: it can be built", settled=True)
            raise RunStopped("preflight: it can be built")
        self.restore_random()
        self.timeline.switch("training")
        return self.resumed_checkpoint

    def restore_random(self) -> None:
        """Restore the random generators of torch, NumPy and Python, where a training resumes."""
        if self._state is not None:
            set_random_state(self._state["random"])

    def declare_epochs(self, epochs: float) -> None:
        """Record how many epochs the loop trains."""
        self.progress.epochs = epochs
        if epochs != self._start.epochs:
            self._start = replace(self._start, epochs=float(epochs))
            self._recorder.restate(self._start)

    @property
    def is_profiling(self) -> bool:
        """Whether power limits are being tried."""
        return self.timeline.profiling is not None and self.timeline.profiling.is_active

    def add_step(self, samples: int) -> None:
        """Count an optimizer step; power limits are tried in those of the training."""
        self.progress.counts.add_step(samples)
        profiling = self.timeline.profiling
        if profiling is None or self.timeline.purpose != "training":
            return
        with self._hooks.working():
            if profiling.add_step(int(samples)):
                self.timeline.switch("training")

    def begin_evaluation(self) -> None:
        """Open the window of an evaluation."""
        self._is_evaluated = True
        with self._hooks.working():
            self._flag_imports()
            self.timeline.switch("evaluation")
            self._child_clock.start()

    def end_evaluation(self) -> None:
        """Open a window of training again."""
        with self._hooks.working():
            self._child_clock.stop()
            self._fresh_children |= fresh_children()  # their imports are the evaluation's
            self._resume("training")

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Leave the body of the context out of the windows, unless the run ends in it."""
        with self._hooks.working():
            purpose = self.timeline.purpose or "training"
            if purpose == "training":
                self._flag_imports()
            self.timeline.close()
            try:
                yield
            finally:
                if self.result is None:
                    self._resume(purpose)

    def add(self, value: float, epoch: float) -> None:
        """Record an evaluation; one that is not finite has no point on the curve."""
        if not self._is_evaluated:
            self._recorder.add_flag("evaluation_in_training")
        self.progress.counts.epoch = epoch
        if math.isfinite(value):
            self.progress.add(value, epoch, *self.timeline.take())

    def point(self, value: float, epoch: float, metrics: Mapping[str, Any]) -> Point:
        """Return a report with the energy so far."""
        training = self._recorder.booked("training")
        if self.timeline.profiling is not None:
            training += self.timeline.profiling.undecided
        return Point(
            epoch=epoch,
            value=value,
            metrics=metrics,
            training_j=training.total_j,
            training_s=training.time_s,
            evaluation_j=self._recorder.booked("evaluation").total_j,
            samples=self.progress.counts.samples,
            steps=self.progress.counts.steps,
        )

    def pause(self) -> tuple[End, str] | None:
        """Return that the run pauses after its last report; None if it is not due, or cannot."""
        if not self._may_pause or self.is_profiling or not self.progress.ending.pause_is_due():
            return None  # a power profile is finished first
        if self._getters or self.checkpoint is not None:
            return self.progress.ending.pause(self.progress.counts.epoch)
        self._may_pause = False
        self._recorder.add_flag("cannot_pause")
        say(
            "this training cannot pause, so it trains to its end: give begin() what has a "
            "state_dict, or report() a checkpoint"
        )
        return None

    def pruned(self) -> tuple[End, str] | None:
        """Return that the study's pruner ends the run after its last report; None if it does not.

        The journal has brought the report to the study, whose answer is awaited.
        """
        if not self._asks_pruner or self.folder is None or not self._recorder.checkpoints:
            return None
        verdict = await_verdict(self.folder, len(self._recorder.checkpoints) - 1, _VERDICT_S)
        if verdict is not None:
            return None if verdict.reason is None else ("stopped", verdict.reason)
        self._asks_pruner = False
        self._recorder.add_flag("not_judged")
        say(
            f"the study did not answer a report within {_VERDICT_S:g} s, so this training is not "
            "pruned: its program has ended, or does not see the files of this folder"
        )
        return None

    def leave_loop(self) -> None:
        """End the training where the program left its loop; how the run ends shows later."""
        if self.result is None and self._hooks.is_own_process:
            self.is_left = True
            with self._hooks.working():
                self.timeline.close()

    def _resume(self, purpose: Purpose) -> None:
        """Open a window again, unless the training is over."""
        if self.is_left:
            self.timeline.close()
        else:
            self.timeline.switch(purpose)

    def keep(self, reason: str, next_epoch: int) -> None:
        """Keep the state of the training, and end the run as paused.

        Raises:
            TrialError: If the state cannot be kept.
            HardwareError: If what was measured cannot be.
        """
        if self.folder is None:
            raise TrialError("a training without a folder cannot pause")
        with self._hooks.working():
            self._settle()
            counts, index = self.progress.counts, self._recorder.next_pause
            training, _ = self.timeline.take()
            point = PausePoint(counts.samples, counts.steps, None, training, index)
            with ExitStack() as saving:
                with self._recorder.window("loading", "pausing"):
                    state = {
                        "pause": index,
                        "samples": counts.samples,
                        "epoch": next_epoch,
                        "objects": {name: get() for name, get in self._getters.items()},
                        "checkpoint": run_state.kept(self.checkpoint),
                        "random": random_state(),
                    }
                    digest = saving.enter_context(run_state.keep(self.folder / PAUSED, state))
                self._recorder.pause(
                    replace(point, state=digest)
                )  # before the state replaces an earlier one
            self.finish("paused", reason, settled=True)

    def finish(self, end: End, reason: str, *, settled: bool = False) -> None:
        """End the run: write how it ended, release the GPUs, leave the process as it was.

        Args:
            end: How it ended.
            reason: Description of how it ended.
            settled: Whether what was measured is checked already.

        Raises:
            HardwareError: In a study, if what was measured cannot be.
            TrialError: In a study, if the record cannot be written.
        """
        problem = None
        with self._hooks.working():
            try:
                self._complete()
                if not settled and end not in BROKEN and self.is_begun:
                    self._settle()
                self._journal.append(TrialEnd(end, reason))
            except EnergyoptError as error:
                if end not in BROKEN:  # else what broke it is on its way already
                    end, reason, problem = "failed", str(error), error
                with suppress(TrialError):  # of a full disk
                    self._journal.append(TrialEnd(end, reason))
            self.result = self._recorder.result(end, reason, checked=False)
            self._release()
        if not self._in_study:
            print_end(self.result, self.folder)
        elif problem is not None:
            raise problem

    def _flag_imports(self) -> None:
        """Flag children that began as new interpreters during the training: they import first."""
        if not fresh_children() <= self._fresh_children:
            self._recorder.add_flag("imports_in_training")

    def _complete(self) -> None:
        """Add what is known at the end only."""
        self.timeline.close()
        trained = self._recorder.booked("training") + self._recorder.booked("profiling")
        if self._child_clock.used_s > PREFETCH_SHARE * trained.time_s:
            self._recorder.add_flag("prefetch_in_evaluation")
        if not self._start.epochs:
            self.declare_epochs(self.progress.counts.epoch)

    def _settle(self) -> None:
        """Close the open window, finish a power profile, and check what was measured."""
        self.timeline.close()
        if self.timeline.profiling is not None:
            self.timeline.profiling.conclude()
        if self._knows_meter and uses_unmetered_gpu(self._gpus):
            self._recorder.add_flag("unmetered_gpu")
        check_conditions(self._recorder, self._gpus, self._start)
        self._recorder.check_energy()


def _kept_limit_w(conditions: Conditions) -> float | None:
    """Return the power limit that a resumed run keeps, in W; None if it was left alone."""
    return None if NO_PROFILE in conditions.flags else conditions.limit_w
