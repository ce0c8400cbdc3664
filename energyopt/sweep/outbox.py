"""Results that could not be told: kept beside a trial's journal, and told by the next run."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial

from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalReader, write_whole
from energyopt.core.outcome import paused
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import JournalError, StorageError, TrialError
from energyopt.storage.reconciliation import TrialRemnant
from energyopt.training.checkpointing import NAME as PAUSED

NAME = "untold.json"
"""A spooled result's file name in a job's folder."""

_SPARE = ".spare"
_SPARE_BYTES = 1 << 20
_CLOCKS_S = 60.0  # how far those of two hosts may be apart


class Outbox:
    """What a run leaves of its trials outside of the database.

    Args:
        folder: Where each trial has a folder, named by its number.
        recipe: What reproduces a trial with given parameters.
        journals: Whether jobs keep journals.
        told: What is told of a trial that paused.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Callable[[Mapping[str, Any]], tuple[str, ...]],
        *,
        journals: bool,
        told: Callable[[TrialResult], Outcome] = paused,
    ) -> None:
        self._folder = folder
        self._recipe = recipe
        self._journals = journals
        self._told = told

    def begin(self) -> None:
        """Set space aside, so that a full disk does not cost a result."""
        with contextlib.suppress(OSError):  # then there is none
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / _SPARE).open("wb") as file:
                if hasattr(os, "posix_fallocate"):  # not on macOS
                    os.posix_fallocate(file.fileno(), 0, _SPARE_BYTES)

    def end(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            (self._folder / _SPARE).unlink(missing_ok=True)

    def clear(self, number: int) -> None:
        """Remove what an earlier study of this name left in a new trial's folder."""
        for name in (NAME, JOURNAL, PAUSED) if self._journals else (NAME,):
            with contextlib.suppress(OSError):
                (self._folder / str(number) / name).unlink(missing_ok=True)

    def result(
        self, number: int, end: End = "lost", reason: str = "it did not end"
    ) -> TrialResult | None:
        """The record of a trial that gave none, from its journal; None if it keeps none.

        Raises:
            JournalError: If a newer energyopt wrote that.
        """
        if not self._journals:
            return None
        return JournalReader(self._journal(number)).read().result(end, reason)

    def progress(self, number: int) -> TrialResult | None:
        """The record of a trial that runs: what it has burnt, and its curve up to a pause."""
        if not self._journals:
            return None
        try:
            journal = JournalReader(self._journal(number)).read()
        except JournalError:  # whoever brings it to its end says so
            return None
        return journal.paused_result("it goes on") or journal.result("lost", "it did not end")

    def can_go_on(self, number: int) -> bool:
        """Whether what a paused trial goes on with is in its folder here."""
        return (self._folder / str(number) / PAUSED).exists()

    def forget_pause(self, number: int) -> None:
        """Remove what a trial that has ended would have gone on with."""
        if not self._journals:
            return
        folder = self._folder / str(number)
        with contextlib.suppress(OSError):
            for path in (folder / PAUSED, *folder.glob(f".{PAUSED}.*")):  # and what was cut short
                path.unlink(missing_ok=True)

    def pause(self, number: int) -> Outcome | None:
        """How far a trial came at its last pause, if it can go on from that.

        Raises:
            JournalError: If a newer energyopt wrote its journal.
        """
        if not self._journals or not self.can_go_on(number):
            return None
        reason = "it can go on from where it paused"
        result = JournalReader(self._journal(number)).read().paused_result(reason)
        if result is None:
            return None
        try:
            return self._told(result)
        except TrialError:  # an objective that does not like it; it will say so in the end
            return paused(result)

    def keep(self, trial: Trial, overrides: Sequence[str], outcome: Outcome) -> Path:
        """Keep how a trial ended for the next run.

        Raises:
            StorageError: If that cannot be written either.
        """
        path = self._folder / str(trial.number) / NAME
        data = {
            "began": _began(trial),
            "overrides": list(overrides),
            "outcome": outcome.to_dict(),
            "result": outcome.result and outcome.result.to_dict(),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(data))
        except OSError:
            self.end()
            try:
                write_whole(path, json.dumps(data))
            except OSError as error:
                raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def remains(self, trial: FrozenTrial) -> TrialRemnant:
        """What there is of a trial that a dead run left.

        Raises:
            JournalError: If a newer energyopt wrote its journal.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = json.loads((self._folder / str(trial.number) / NAME).read_text())
            if data["began"] == _began(trial):
                result = data["result"] and TrialResult.from_dict(data["result"])
                outcome = Outcome.from_dict(data["outcome"], result)
                return TrialRemnant(tuple(data["overrides"]), outcome, result)
        recipe = self._recipe(trial.params)
        if not self._is_of(trial):
            return TrialRemnant(recipe)
        return TrialRemnant(recipe, None, self.result(trial.number), self.pause(trial.number))

    def _journal(self, number: int) -> Path:
        return self._folder / str(number) / JOURNAL

    def _is_of(self, trial: FrozenTrial) -> bool:
        """Whether a journal is not one of a study that had this name before."""
        try:
            written_s = self._journal(trial.number).stat().st_mtime
        except OSError:
            return False
        began = trial.datetime_start
        return began is None or written_s > began.timestamp() - _CLOCKS_S


def _began(trial: Trial | FrozenTrial) -> str:
    """What tells a trial from one of the same number in a study that was deleted."""
    return str(trial.datetime_start)
