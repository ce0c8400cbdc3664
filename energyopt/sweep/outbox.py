"""Outcomes that could not be stored: kept next to a trial's journal, stored by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial

from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalReader
from energyopt.core.outcome import outcome_of_paused
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import DamagedFileError, JournalError, StorageError, TrialError
from energyopt.storage.reconciliation import TrialRemnant
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import PAUSE_FOLDER
from energyopt.utils.digests import check_digest, with_digest
from energyopt.utils.files import write_atomically

NAME = "untold.json"
"""Name of the file in a job's folder that keeps such an outcome."""

_SPARE = ".spare"
_SPARE_BYTES = 1 << 20
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, DamagedFileError)
_MAX_CLOCK_SKEW_S = 60.0  # between two hosts


class Outbox:
    """The files in which a run leaves its trials outside of the database.

    Args:
        folder: Holds a folder for each trial, named by its number.
        recipe: Returns the overrides that reproduce a trial with given parameters.
        journals: Whether jobs keep journals.
        outcome_of_pause: Returns the outcome of a paused trial.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Callable[[Mapping[str, Any]], tuple[str, ...]],
        *,
        journals: bool,
        outcome_of_pause: Callable[[TrialResult], Outcome] = outcome_of_paused,
    ) -> None:
        self._folder = folder
        self._recipe = recipe
        self._journals = journals
        self._outcome_of_pause = outcome_of_pause

    def begin(self) -> None:
        """Reserve space, so that a full disk does not cost a result."""
        with contextlib.suppress(OSError):  # then nothing is reserved
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / _SPARE).open("wb") as file:
                if hasattr(os, "posix_fallocate"):  # not on macOS
                    os.posix_fallocate(file.fileno(), 0, _SPARE_BYTES)

    def end(self) -> None:
        """Free the reserved space."""
        with contextlib.suppress(OSError):
            (self._folder / _SPARE).unlink(missing_ok=True)

    def clear(self, number: int) -> None:
        """Remove the files of an earlier study of this name from a new trial's folder."""
        for name in (NAME, JOURNAL, PAUSED) if self._journals else (NAME,):
            with contextlib.suppress(OSError):
                (self._folder / str(number) / name).unlink(missing_ok=True)

    def result(
        self, number: int, end: End = "lost", reason: str = "it did not end"
    ) -> TrialResult | None:
        """Return a trial's record from its journal; None if it keeps none.

        Raises:
            JournalError: If a newer energyopt wrote the journal.
        """
        if not self._journals:
            return None
        journal = JournalReader(self._journal(number)).read()
        if journal.damaged:
            reason += f"; {journal.damage} of its journal were changed on the disk, without joules"
        return journal.result(end, reason)

    def progress(self, number: int) -> TrialResult | None:
        """Return the record of a running trial: its energy so far, and its curve up to a pause."""
        if not self._journals:
            return None
        try:
            journal = JournalReader(self._journal(number)).read()
        except JournalError:  # reported when the trial ends
            return None
        return journal.paused_result("it goes on") or journal.result("lost", "it did not end")

    def can_resume(self, number: int) -> bool:
        """Return True if the training state of a paused trial is in its folder here."""
        return (self._folder / str(number) / PAUSED).exists()

    def forget_pause(self, number: int) -> None:
        """Remove the training state of a trial that has ended."""
        if not self._journals:
            return
        folder = self._folder / str(number)
        with contextlib.suppress(OSError):
            # And those of other ranks, and partly written ones.
            others = (*folder.glob("paused-[0-9]*.pt"), *folder.glob(".paused*.pt"))
            for path in (folder / PAUSED, *others):
                path.unlink(missing_ok=True)
        shutil.rmtree(folder / PAUSE_FOLDER, ignore_errors=True)

    def pause(self, number: int) -> Outcome | None:
        """Return a trial's outcome at its last pause, if it can resume from there.

        Raises:
            JournalError: If a newer energyopt wrote its journal.
        """
        if not self._journals or not self.can_resume(number):
            return None
        reason = "it can go on from where it paused"
        journal = JournalReader(self._journal(number)).read()
        result = journal.paused_result(reason)
        if result is None or journal.damaged:
            return None
        try:
            return self._outcome_of_pause(result)
        except TrialError:  # an objective that rejects the record will do so again at the end
            return outcome_of_paused(result)

    def keep(self, trial: Trial, overrides: Sequence[str], outcome: Outcome) -> Path:
        """Write a trial's outcome to a file for the next run. Returns its path.

        Raises:
            StorageError: If it cannot be written either.
        """
        path = self._folder / str(trial.number) / NAME
        data = {
            "began": _start_time(trial),
            "overrides": list(overrides),
            "outcome": outcome.to_dict(),
            "result": outcome.result and outcome.result.to_dict(),
        }
        text = json.dumps(with_digest(data))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError:
            self.end()
            try:
                write_atomically(path, text)
            except OSError as error:
                raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def remains(self, trial: FrozenTrial) -> TrialRemnant:
        """Return the remnant of a trial whose run crashed.

        Raises:
            JournalError: If a newer energyopt wrote its journal.
        """
        path = self._folder / str(trial.number) / NAME
        with contextlib.suppress(*_UNREADABLE):
            data = json.loads(path.read_text())
            check_digest(data, path)
            if data["began"] == _start_time(trial):
                result = data["result"] and TrialResult.from_dict(data["result"])
                outcome = Outcome.from_dict(data["outcome"], result)
                return TrialRemnant(tuple(data["overrides"]), outcome, result)
        recipe = self._recipe(trial.params)
        if not self._has_journal_of(trial):
            return TrialRemnant(recipe)
        return TrialRemnant(recipe, None, self.result(trial.number), self.pause(trial.number))

    def _journal(self, number: int) -> Path:
        return self._folder / str(number) / JOURNAL

    def _has_journal_of(self, trial: FrozenTrial) -> bool:
        """Return True if the journal is this trial's, not one of an earlier study of the name."""
        try:
            written_s = self._journal(trial.number).stat().st_mtime
        except OSError:
            return False
        began = trial.datetime_start
        return began is None or written_s > began.timestamp() - _MAX_CLOCK_SKEW_S


def _start_time(trial: Trial | FrozenTrial) -> str:
    """Return when a trial began: it differs from that of its number in a deleted study."""
    return str(trial.datetime_start)
