"""The push side of the training loop: a loop of the user's own reports to energyopt.

    run = energyopt.Run(monitor="val_loss", mode="min", target=0.35)
    run.begin(model=model, optimizer=optimizer)
    for epoch in run.epochs(20):
        train_one_epoch()
        with run.evaluation():
            loss = validate()
        run.report(loss)

`run_trial` calls a paradigm; here the user's code calls us. Both write the same record.

The contract with the code of a study that starts such a training as a job:

- The job's process gets its `RunContext` in the variable `ENERGYOPT_RUN`, as own tasks do. `Run`
  reads it and nothing else: `folder`, `params`, `metric`, `mode`, `target` (None: this run declares
  them), `epochs`, `stop_at_target`, `pause_at_j`, `resume`, `calibration`, `history` with `rules`,
  `hardware`, `device`, `leased_gpus` and `has_pruner`.
- The journal in `context.folder` is the record. Without a journal there, the job made no `Run`.
  `core.journal.read_result(folder)` returns the `TrialResult`, pauses included. Its `start` holds
  the monitor, the target and the epochs that the run declared.
- At the end of each run the journal holds a `TrialEnd`: how it ended, and why. Without one the
  process died: `read_result` then says "lost". The state of a pause is in `paused.pt` in the same
  folder, under `checkpointing.NAME`.
- `RunPaused` and `RunStopped` leave the job's function. They are `SystemExit`s of code 0, so call
  that function with `run_process.call_task(function, ...)`, which returns None for them, ends a run
  that the function left open, and passes on all else. What the function returns is free.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from energyopt.core.metric import Mode
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import RunPaused, RunStopped, TrialError
from energyopt.training.run_process import end_by
from energyopt.training.run_progress import Point, checked_samples, checked_value
from energyopt.training.run_session import RunSession
from energyopt.training.run_setup import Meter, question_of

T = TypeVar("T")


class Run:
    """One execution of training code that reports to energyopt.

    Creating it opens the window of loading. After `begin`, all time outside of `evaluation` is
    training. Outside of a study it prints and keeps what the training cost; inside of one it also
    pauses and stops where the study wants it to.

    Args:
        monitor: Name of the reported metric; "accuracy" if it is left out.
        mode: "max" if more is better, "min" if less is; "max" if it is left out.
        target: Value of the metric to reach. A study's run may leave out all three.
        epochs: Maximum number of epochs, for loops that do not use `epochs` or `steps`.
        params: Values of the hyperparameters; a study replaces those that it searches.
        meter: A meter, or the device whose best meter is chosen: "auto", "cpu", "cuda", "cuda:N"
            or "mps". A study uses its own.
        name: Name of the run; that of the program if it is left out.
        folder: Folder of its record; below `outputs` if it is left out. A study uses its own.
        on_report: Called with a `Point` after each report.
        stop_at_target: End the loop at the target, also outside of a study.
        synchronize: Waits for pending work of a device that torch does not know.

    Attributes:
        params: The hyperparameters, with what the search chose.
        monitor: The metric, as the run or its study states it.
        pending: How the loop ends once its body has ended, and why; None if it continues.
        session: The open record, for integrations.

    Raises:
        ConfigError: If an argument is not allowed, or differs from the study's.
        HardwareError: If the energy of the device cannot be read.
        TrialError: If another run is open in this process.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode | None = None,
        target: float | None = None,
        epochs: float | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        meter: Meter = "auto",
        name: str | None = None,
        folder: str | Path | None = None,
        on_report: Callable[[Point], object] | None = None,
        stop_at_target: bool = False,
        synchronize: Callable[[], object] | None = None,
    ) -> None:
        context = self._given_context()
        question = question_of(
            context,
            monitor=monitor,
            mode=mode,
            target=target,
            epochs=epochs,
            stop_at_target=stop_at_target,
        )
        self.params: Mapping[str, Any] = {**(params or {}), **context.params}
        self.monitor = question.monitor
        self._on_report = on_report
        self._in_study = context.folder is not None  # else someone gave it values only
        self.pending: tuple[End, str] | None = None
        self._body: int | None = None  # number of the epoch in whose body the program is
        self._last_step: int | None = None  # of that body, in a loop of steps
        self._next_epoch = 0  # the first to train after a pause
        self.session = RunSession(
            self,
            context,
            question,
            in_study=self._in_study,
            name=name,
            folder=folder,
            meter=meter,
            synchronize=synchronize,
        )

    def _given_context(self) -> RunContext:
        """Return the context that a study gives to this run; empty outside of one."""
        return RunContext.from_environment()

    @property
    def name(self) -> str:
        """Its name."""
        return self.session.name

    @property
    def folder(self) -> Path | None:
        """Folder of its record; None if nothing is kept."""
        return self.session.folder

    @property
    def start_epoch(self) -> int:
        """Number of the first epoch to train; above 0 where a paused training resumes."""
        return self.session.start_epoch

    def begin(self, *unnamed: Any, **stateful: Any) -> Any:
        """End the loading; the training begins.

        Args:
            *unnamed: Refused; all that it is given needs a name.
            **stateful: What the training changes, by names of your choice: model, optimizer,
                scheduler, scaler, loaders and random generators. Where a paused training
                resumes, their states are restored.

        Returns:
            The checkpoint that was reported when the training paused; None without one.

        Raises:
            TrialError: If one of them has no state that can be read and restored.
        """
        self._refuse_ended("begin")
        if self.session.is_begun:
            raise TrialError("begin() was called already: a Run has one training")
        if unnamed:
            raise TrialError(
                f"begin({type(unnamed[0]).__name__}) is given without a name; name what it is "
                "given, as in begin(model=model, optimizer=optimizer)"
            )
        return self.session.begin(stateful)

    def epochs(self, n: int | None = None) -> Iterator[int]:
        """Iterate over the numbers of the epochs to train, from `start_epoch` on.

        Between two epochs the training pauses or stops where its study wants it to.

        Args:
            n: Number of all epochs; that of the study or of `Run(epochs=...)` if it is left out.

        Raises:
            RunPaused: Where the study pauses the training.
            RunStopped: Where the study stops it for good.
        """
        last = n if n is not None else self.session.progress.epochs
        if last is None:
            raise TrialError("epochs() does not say how many; give it a number, as in epochs(20)")
        n_epochs = _count("epochs(n)", last)
        self.session.declare_epochs(n_epochs)
        return self._loop([(number, number) for number in range(self.start_epoch, n_epochs)])

    def steps(self, n: int, *, evaluate_every: int) -> Iterator[range]:
        """Iterate over ranges of steps, for loops that are counted in steps; see `epochs`.

        The steps between two evaluations are one epoch of the record.

        Args:
            n: Number of all steps.
            evaluate_every: Steps between two evaluations.

        Raises:
            RunPaused: Where the study pauses the training.
            RunStopped: Where the study stops it for good.
        """
        n, evaluate_every = _count("steps(n)", n), _count("steps(evaluate_every)", evaluate_every)
        starts = range(0, n, evaluate_every)
        self.session.declare_epochs(len(starts))
        intervals = [range(step, min(step + evaluate_every, n)) for step in starts]
        return self._loop(list(enumerate(intervals))[self.start_epoch :])

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Count the body of the context as evaluation."""
        self._refuse_outside("evaluation")
        is_nested = self.session.timeline.purpose == "evaluation"
        if not is_nested:
            self.session.begin_evaluation()
        try:
            yield
        finally:
            if not is_nested and self.session.result is None:
                self.session.end_evaluation()

    def step(self, samples: int) -> None:
        """Count an optimizer step, when it is done.

        Where `hardware.power_limit_w=profile`, limits are tried in the steps that are counted.

        Args:
            samples: Training samples in it.

        Raises:
            TrialError: If it is not a whole number.
            HardwareError: If a power limit cannot be set, or nothing was metered at one.
        """
        self.session.add_step(samples)

    def report(
        self,
        value: Any,
        epoch: float | None = None,
        samples: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        checkpoint: Any = None,
    ) -> bool:
        """Add an evaluation to the record.

        Args:
            value: Value of the metric: a number, or an array or tensor with one. One that is not
                finite ends the loop: the training has diverged. The same in all ranks, or None in
                all but rank 0.
            epoch: Epochs trained so far; one more than before if it is left out.
            samples: Training samples seen so far, if the loop counts them; those of this rank.
            metrics: Other metrics, for `on_report`.
            checkpoint: What a pause keeps in addition to the states of what `begin` was given:
                plain data, the path of a file, or a callable that returns one of them. It is
                used only where the training pauses.

        Returns:
            True if the loop should end, for a loop of one's own, in which this is the last
            statement of the body.

        Raises:
            TrialError: If the value is not a number, or the run has not begun or has ended.
        """
        self._refuse_outside("report")
        session, counts = self.session, self.session.progress.counts
        has_value = value is not None or session.ranks.is_first
        number = checked_value(value, self.monitor) if has_value else None
        trained = session.progress.epoch_of(epoch, self._body)
        if samples is not None:
            counts.samples = checked_samples("report", samples)
        counts.steps = counts.steps if self._last_step is None else self._last_step
        session.checkpoint = checkpoint
        session.ranks.await_others("report()")  # while its window is open: the boards work on
        with session.reporting():

            def decide(reported: float) -> tuple[End, str] | None:
                session.add(reported, trained)
                if self._on_report is not None:
                    self._on_report(session.point(reported, trained, metrics or {}))
                return self._verdict(reported, trained)

            self.pending = session.agree(number, trained, decide)
            self._end_own_loop(trained)
        return self.pending is not None

    @property
    def paused(self) -> bool:
        """True if the study paused the training, so that what follows its loop can be left out."""
        if self.session.result is None and self._body is None:
            self._keep_pause()
        result = self.session.result
        return result is not None and result.end == "paused"

    @property
    def result(self) -> TrialResult:
        """The record; asking for it after the loop ends the run.

        Raises:
            TrialError: Inside of the loop.
        """
        if self.session.result is None and self._body is not None:
            raise TrialError(
                "Run.result is complete after the loop; in it, use on_report, and close() where "
                "it is left by a break"
            )
        self.close()
        assert self.session.result is not None  # noqa: S101  # close() makes it
        return self.session.result

    def close(self, error: BaseException | None = None) -> None:
        """End the run, if it has not ended.

        Args:
            error: What ended it, if it was an exception.
        """
        if self.session.result is not None or isinstance(error, RunPaused | RunStopped):
            return
        ended_by = end_by(error)
        if ended_by is None:
            try:
                self._keep_pause()
            except BaseException as failure:
                self.close(failure)
                raise
        if self.session.result is None:
            end = ended_by or self.pending or self.session.progress.natural_end()
            self.session.finish(*end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close(error)

    def _loop(self, bodies: Sequence[tuple[int, T]]) -> Iterator[T]:
        """Return an iterator over the bodies of a loop, with the length that progress bars show."""
        self._refuse_outside("epochs")
        if self.session.is_left:
            raise TrialError(
                "the program left the loop of this Run already, and a Run has one training: "
                "close() it, and make another"
            )
        return _Loop(self._bodies(bodies), len(bodies))

    def _bodies(self, bodies: Sequence[tuple[int, T]]) -> Iterator[T]:
        """Iterate over the bodies of a loop; end, pause or stop between two of them."""
        self.session.restore_random()  # the program may have drawn since begin()
        try:
            for number, body in bodies:
                self._body, self._next_epoch = number, number + 1
                self._last_step = body.stop if isinstance(body, range) else None
                yield body
                if self._ends_here():
                    return
            self._body = None
            self.close()
        except GeneratorExit:  # the program left the loop, by break or by an exception
            self.session.leave_loop()
            raise
        finally:
            self._body = self._last_step = None

    def _ends_here(self) -> bool:
        """Return whether the loop ends after a body; leave the job where it pauses or stops."""
        if self.pending is None:
            return False
        end, reason = self.pending
        self._keep_pause()
        if end == "paused":
            raise RunPaused(reason)
        self.session.finish(end, reason)
        if self._in_study and end in ("stopped", "diverged"):
            raise RunStopped(reason)
        return True

    def _verdict(self, value: float, epoch: float) -> tuple[End, str] | None:
        """Return how the loop ends after a report, and why; None if it continues."""
        if self.pending is not None and self.pending[0] != "paused":
            return self.pending
        session = self.session
        ended = session.progress.end(value, is_profiling=session.is_profiling)
        return ended or session.pruner.verdict() or self._pause(epoch)

    def _end_own_loop(self, epoch: float) -> None:
        """End the run, if it ends, in a loop of the user's own."""
        if self.pending is None or self._body is not None:
            return
        self._next_epoch = int(epoch)
        self._keep_pause()
        if self.session.result is None:
            self.session.finish(*self.pending)

    def _pause(self, epoch: float) -> tuple[End, str] | None:
        """Return that the run pauses, if it is due and can."""
        if self._body is None and epoch != int(epoch):
            return None  # `start_epoch` is a whole number
        return self.session.pause()

    def _keep_pause(self) -> None:
        """Keep the state of the training if it pauses here."""
        if self.pending is not None and self.pending[0] == "paused":
            self.session.keep(self.pending[1], self._next_epoch)

    def _refuse_ended(self, name: str) -> None:
        result = self.session.result
        if result is not None:
            raise TrialError(
                f"{name}() after the run ended ({result.reason}): leave a loop of your own where "
                "report() returns True"
            )

    def _refuse_outside(self, name: str) -> None:
        self._refuse_ended(name)
        if not self.session.is_begun:
            raise TrialError(
                f"{name}() before begin(): call run.begin() where the loading of data and model is "
                "done; what comes before it is not counted as training"
            )


class _Loop(Iterator[T]):
    """An iterator with a length."""

    def __init__(self, bodies: Iterator[T], length: int) -> None:
        self._bodies = bodies
        self._length = length

    def __next__(self) -> T:
        return next(self._bodies)

    def __len__(self) -> int:
        return self._length


def _count(name: str, value: Any) -> int:
    """Return a number of epochs or steps.

    Raises:
        TrialError: If it is none.
    """
    if (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and 1 <= float(value) < math.inf
    ):
        return int(float(value))
    raise TrialError(f"{name}={value!r} is not allowed: a number of at least 1 is needed")
