"""The open record of a `Run`: its windows, its pauses, its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from energyopt.core.journal import TrialEnd
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import BROKEN, End, PausePoint, Purpose, TrialResult
from energyopt.errors import EnergyoptError, RunStopped, TrialError
from energyopt.training import run_process, run_state
from energyopt.training.checkpointing import (
    random_state,
    set_random_state,
)
from energyopt.training.conditions import check_conditions, cool_down, measure_idle
from energyopt.training.ranks import Ranks, own_rank
from energyopt.training.recorder import Recorder
from energyopt.training.run_children import (
    PREFETCH_SHARE,
    ChildClock,
    fresh_children,
    wait_until_idle,
)
from energyopt.training.run_opening import Opening
from energyopt.training.run_output import default_name, print_end, say
from energyopt.training.run_process import OpenRun, ProcessHooks
from energyopt.training.run_profiling import step_profiling
from energyopt.training.run_progress import Point, Progress
from energyopt.training.run_pruner import StudyPruner
from energyopt.training.run_ranks import (
    RankRecord,
    Verdict,
    refuse_late_group,
    state_path,
)
from energyopt.training.run_setup import (
    Meter,
    Question,
    rules_of,
    uses_unmetered_gpu,
)
from energyopt.training.run_timeline import Timeline
from energyopt.training.tracing import begin_trace, end_trace


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
        ranks: The ranks of the training.
        pruner: Asks the study's pruner.
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
        self._getters: dict[str, run_state.Getter] = {}
        self._child_clock = ChildClock()
        self._fresh_children = fresh_children()
        with ExitStack() as stack:
            is_second = run_process.is_open(context.folder)
            run_process.open_run(run, replaces=in_study and not is_second)
            stack.callback(run_process.forget_run, run)
            self.ranks = Ranks(*own_rank())
            stack.callback(self.ranks.close)
            opening = Opening(self.ranks, context, question, run.params, in_study, meter, stack)
            opened = opening.open(self.name, folder)
            self.folder, self._journal, start = opened.folder, opened.journal, opened.start
            hardware, record, self._state = opened.hardware, opened.record, opened.state
            self._start, self._gpus = start, hardware.gpus
            self._knows_meter = not hardware.is_own_meter
            self._recorder = Recorder(hardware.meter, self._journal, start, record)
            stack.callback(end_trace, self._recorder, self._gpus)
            begin_trace(self._recorder, self._gpus, start)
            self.progress = Progress(
                self._recorder, question, rules_of(context), context.pause_at_j
            )
            self.timeline = Timeline(self._recorder, synchronize)
            judged = self.folder if context.has_pruner and self.ranks.is_first else None
            self.pruner = StudyPruner(judged, self._recorder)
            self._shared = RankRecord(self.ranks, self._recorder, self.timeline, self.progress)
            if self._state is not None:
                self.start_epoch = self._state["epoch"]
                self._shared.resume(record, self._state)
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
        refuse_late_group(self.ranks)
        if not self.ranks.is_first:
            wait_until_idle()
        self.ranks.share("begin()", {}, self._end_loading)
        self._fresh_children = fresh_children()
        with self._hooks.working():
            self.timeline.close()
        self.is_begun = True
        if self._context.preflight:
            self.finish("stopped", "preflight: it can be built", settled=True)
            raise RunStopped("preflight: it can be built")
        self.restore_random()
        self.timeline.switch("training")
        return self.resumed_checkpoint

    def _end_loading(self, _others: object) -> None:
        """Wait until no child computes, and look at the GPUs at rest, while the others wait.

        They may be children of this process.
        """
        if not wait_until_idle():
            self._recorder.add_flag("imports_in_training")
        with self._hooks.working():
            self.timeline.close()
            measure_idle(self._recorder, self._gpus, self._start, self._context.calibration)
            self._gpus.record_processes()

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
        self.ranks.evaluates()
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

    def agree(
        self, value: float | None, epoch: float, decide: Callable[[float], Verdict]
    ) -> Verdict:
        """Return what is decided at a report, by `decide` in rank 0 for all ranks."""
        can_pause = bool(self._getters) or self.checkpoint is not None
        reported, verdict = self._shared.agree(value, epoch, decide, can_pause=can_pause)
        if not self.ranks.is_first:
            self.add(reported, epoch)
        return verdict

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
            samples=self.progress.samples,
            steps=self.progress.counts.steps,
        )

    def pause(self) -> tuple[End, str] | None:
        """Return that the run pauses after its last report; None if it is not due, or cannot."""
        if not self._may_pause or self.is_profiling or not self.progress.ending.pause_is_due():
            return None  # a power profile is finished first
        if self._shared.can_all_pause:
            return self.progress.ending.pause(self.progress.counts.epoch)
        self._may_pause = False
        self._recorder.add_flag("cannot_pause")
        say(
            "this training cannot pause, so it trains to its end: give begin() what has a "
            "state_dict, or report() a checkpoint"
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
            path = state_path(self.folder, self.ranks.rank, index)
            with ExitStack() as saving:
                with self._recorder.window("loading", "pausing"):
                    state: dict[str, Any] = {
                        "pause": index,
                        "samples": counts.samples,
                        "epoch": next_epoch,
                        "objects": {name: get() for name, get in self._getters.items()},
                        "checkpoint": run_state.kept(self.checkpoint),
                        "random": random_state(),
                    }
                    if self.ranks.is_first:  # last, so that a pause is whole or not there
                        digests = self.ranks.share("a pause", {}, self._shared.add_pause)
                        state |= {"ranks": digests} if digests else {}
                        digest = saving.enter_context(run_state.keep(path, state))
                    else:
                        state["counts"] = astuple(counts)
                        with run_state.keep(path, state) as digest:
                            pass
                if self.ranks.is_first:
                    training, _ = self.timeline.take()
                    point = PausePoint(counts.samples, counts.steps, None, training, index, digest)
                    self._recorder.pause(point)  # before the state replaces an earlier one
                else:
                    news = {"digest": digest, **self._shared.news()}
                    self.ranks.share("a pause", news, self._shared.add_pause)
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
                if end in BROKEN:
                    end, reason = self._shared.blame(end, reason)
                else:
                    self.ranks.share("the end of its run", self._shared.news(), self._shared.add)
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
        if not self.ranks.is_first:
            return
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
        if self.ranks.is_first:
            self._recorder.check_energy()
