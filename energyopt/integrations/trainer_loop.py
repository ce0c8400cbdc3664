"""The loop of a `Run` that is walked through by the hooks of a trainer, which owns the real loop.

`Run.epochs` and `Run.steps` do between two bodies what a study wants: keep a pause, stop. Here the
bodies are taken one by one: `advance` ends one and begins the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, TrialError
from energyopt.training.checkpointing import PAUSE_FOLDER, random_state, set_random_state
from energyopt.training.run import Run
from energyopt.training.run_progress import Point
from energyopt.utils.text import near_word

TRAINED_J, TO_TARGET_J = "energy/train_j", "energy/to_target_j"
"""Names under which trainers log the training energy so far, and that to the target, in J."""


class TrainerLoop:
    """A run whose bodies, evaluations and reports come from the hooks of a trainer.

    Args:
        log: Called with the energies of a report, in J, for the loggers of the trainer.
        **options: Those of `Run`.

    Attributes:
        run: The run.
        is_over: Whether it has ended; what the trainer does from then on is not recorded.
    """

    def __init__(self, log: Callable[[dict[str, float]], object], **options: Any) -> None:
        self._log = log
        self._on_report: Callable[[Point], object] | None = options.pop("on_report", None)
        self._to_target_j: float | None = None
        self._bodies: Iterator[Any] | None = None
        self._evaluation: ExitStack | None = None
        self.is_over = False
        self.run = Run(**options, on_report=self._reported)

    @property
    def checkpoint(self) -> Path | None:
        """The trainer's checkpoint from which the training resumes; None at its beginning.

        Raises:
            TrialError: If it is gone.
        """
        path: Path | None = self.run.session.resumed_checkpoint
        if path is not None and not path.exists():
            raise TrialError(f"the paused training cannot resume: {path} is gone")
        return path

    @property
    def has_bodies(self) -> bool:
        """True once the first body has begun."""
        return self._bodies is not None

    @property
    def is_pausing(self) -> bool:
        """True if the study pauses the training once the body has ended."""
        return self.run.pending is not None and self.run.pending[0] == "paused"

    @property
    def is_ending(self) -> bool:
        """True if the training ends for good once the body has ended."""
        return self.run.pending is not None and not self.is_pausing

    def check_ranks(self, size: int, otherwise: str) -> None:
        """Check that the run knows of all processes of the training.

        Args:
            size: Their number.
            otherwise: What trains in one process.

        Raises:
            ConfigError: If it does not: the trainer starts them itself.
        """
        if size != self.run.session.ranks.size:
            raise ConfigError(
                f"this training has {size} processes, and its Run knows of "
                f"{self.run.session.ranks.size}; start it by `torchrun --nproc-per-node {size}`, "
                f"or use {otherwise}"
            )

    def begin(self) -> None:
        """End the loading; the random generators stay as they are."""
        with _random_kept():
            self.run.begin()

    def begin_bodies(self, bodies: Iterator[Any]) -> None:
        """Take the bodies of `Run.epochs` or `Run.steps`, and begin the first."""
        self._bodies = bodies
        self.advance()

    def advance(self) -> None:
        """End the body, and begin the next one.

        Raises:
            RunPaused: If the study pauses the training.
            RunStopped: If the study stops it.
        """
        assert self._bodies is not None  # noqa: S101  # begun
        with _random_kept():
            self.is_over = next(self._bodies, None) is None
        if self.is_over:
            self._forget_checkpoints()

    def finish(self) -> None:
        """End the run where the trainer ended its loop: what is over does not pause."""
        self.end_evaluation()
        if self.is_ending and not self.is_over:
            self.advance()
        if self.is_over:
            return
        if self.is_pausing:
            self.run.pending = None
        self.is_over = True
        self.run.close()
        self._forget_checkpoints()

    def fail(self, error: BaseException) -> None:
        """End the run with what ended the trainer."""
        self.is_over = True
        self.run.close(error)

    def begin_evaluation(self) -> None:
        """Open the window of an evaluation, unless it is open."""
        if self._evaluation is None and not self.is_over:
            self._evaluation = ExitStack()
            self._evaluation.enter_context(self.run.evaluation())

    def end_evaluation(self) -> None:
        """Close the window of an evaluation, if it is open."""
        if self._evaluation is not None:
            evaluation, self._evaluation = self._evaluation, None
            evaluation.close()

    def metric(self, metrics: Mapping[str, Any]) -> Any:
        """Return the reported metric.

        Args:
            metrics: All that the trainer has, by name.

        Raises:
            ConfigError: If it is none of them.
        """
        name = self.run.monitor.name
        if name in metrics:
            return metrics[name]
        names = sorted(map(str, metrics))
        near = near_word(name, names)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(
            f"monitor={name!r} is none of the metrics after an evaluation: "
            f"{', '.join(names) or 'there are none'}{hint}"
        )

    def checkpoint_path(self, name: str) -> Path:
        """Return where the checkpoint of a pause is written; earlier ones but the last are removed.

        A pause that fails halfway leaves the one before it as it was.
        """
        assert self.run.folder is not None  # noqa: S101  # else it does not pause
        folder = self.run.folder / PAUSE_FOLDER
        if self.run.session.ranks.is_first:
            folder.mkdir(exist_ok=True)
            for path in folder.iterdir():
                if path != self.run.session.resumed_checkpoint:
                    _remove(path)
        return folder / name

    def _forget_checkpoints(self) -> None:
        if self.run.folder is not None:
            _remove(self.run.folder / PAUSE_FOLDER)

    def _reported(self, point: Point) -> None:
        energies = {TRAINED_J: point.training_j}
        target = self.run.session.question.target
        if self._to_target_j is None and self.run.monitor.reaches(point.value, target):
            self._to_target_j = point.training_j
        if self._to_target_j is not None:
            energies[TO_TARGET_J] = self._to_target_j
        self._log(energies)
        if self._on_report is not None:
            self._on_report(point)


class LoopCallback:
    """The run of a trainer's callback, for its user."""

    _loop: TrainerLoop

    @property
    def run(self) -> Run:
        """The run."""
        return self._loop.run

    @property
    def params(self) -> Mapping[str, Any]:
        """The hyperparameters, with what a search chose."""
        return self._loop.run.params

    @property
    def result(self) -> TrialResult:
        """The record, once the training is over."""
        return self._loop.run.result


@contextmanager
def _random_kept() -> Iterator[None]:
    """Leave the random generators as they are: the trainer restores and draws at its own time."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
