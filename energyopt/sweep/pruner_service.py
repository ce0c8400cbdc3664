"""Answers the reports of running trials, where the study lives.

A job writes each report to its journal and waits. A thread here follows the journals, tells Optuna
the values, asks its pruner, and writes the verdict into the job's folder. It is a thread because
the coordinator itself waits for answers, or runs the job in its own process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalReader
from energyopt.core.verdict import Verdict, write_verdict
from energyopt.errors import JournalError, StorageError, TrialError
from energyopt.storage.trial_reports import TrialReports
from energyopt.utils.failure import reason_of

_PAUSE_S = 0.02  # between two looks at the journals of jobs on this host
_PAUSE_ELSEWHERE_S = 0.5  # of those on others, through a shared file system


@dataclass(slots=True)
class _FollowedTrial:
    """A running trial, and how many of its reports are answered."""

    number: int
    folder: Path
    reader: JournalReader = field(init=False)
    n_answered: int = 0
    failure: str | None = None

    def __post_init__(self) -> None:
        self.reader = JournalReader(self.folder / JOURNAL)


class PrunerService:
    """Judges the reports of a run's trials.

    Args:
        reports: Takes them, and asks the pruner.
        name: Name of the pruner, for reasons.
        metric: Name of what is reported, for reasons.
        are_jobs_here: Whether the jobs run on this host.
    """

    def __init__(
        self, reports: TrialReports, name: str, metric: str, *, are_jobs_here: bool = True
    ) -> None:
        self._reports = reports
        self._name = name
        self._metric = metric
        self._pause_s = _PAUSE_S if are_jobs_here else _PAUSE_ELSEWHERE_S
        self._trials: dict[int, _FollowedTrial] = {}
        self._lock = threading.Lock()
        self._has_trials = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def following(self, number: int, folder: Path) -> Iterator[None]:
        """Answer the reports of a trial while the body of the context runs it.

        Args:
            number: Number of the trial.
            folder: Its folder.

        Raises:
            TrialError: If the pruner raised something.
        """
        trial = _FollowedTrial(number, folder)
        with self._lock:
            self._trials[number] = trial
            self._has_trials.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._trials[number]
                if not self._trials:
                    self._has_trials.clear()
        if trial.failure is not None:
            raise TrialError(trial.failure)

    def _serve(self) -> None:
        pause = threading.Event()
        while self._has_trials.wait():
            with self._lock:
                for trial in self._trials.values():
                    self._answer(trial)
            pause.wait(self._pause_s)

    def _answer(self, trial: _FollowedTrial) -> None:
        """Answer what a trial has reported since its last verdict."""
        try:
            points = trial.reader.read().checkpoints
        except (JournalError, OSError):  # the end of the trial says so
            return
        if len(points) < trial.n_answered:
            trial.n_answered = 0  # a cluster began the job again
        if len(points) == trial.n_answered:
            return
        reason = None
        for step in range(trial.n_answered, len(points)):
            reason = self._judge(trial, step, points[step].accuracy)
        trial.n_answered = len(points)
        with suppress(OSError):  # of a full disk: the job continues without it
            write_verdict(trial.folder, Verdict(len(points) - 1, reason))

    def _judge(self, trial: _FollowedTrial, step: int, value: float) -> str | None:
        """Return why a trial is pruned after a report; None if it continues."""
        try:
            if not self._reports.add(trial.number, step, value):
                return None
        except StorageError:  # the report is stored at the end of the trial
            return None
        # A pruner may be a user's code: what it raises fails the trial, and leaves the others.
        except Exception as error:
            trial.failure = f"hydra.sweeper.pruner {self._name}: {reason_of(error)}"
            return trial.failure
        return f"{self._name}: at report {step + 1} {self._metric} is {value:.4g}"
