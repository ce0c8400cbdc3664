"""A trial's progress, one JSON line at a time, in its own folder.

Written by the job, read by the coordinator: for the live display, and for the joules of a
trial that dies. Plain files, so that any launcher can carry the job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energyopt.core.conditions import NOT_MEASURED, Conditions
from energyopt.core.curve import Checkpoint, checkpoint_from_dict
from energyopt.core.energy import total
from energyopt.core.trial_result import (
    End,
    PausePoint,
    TrialResult,
    TrialStart,
    Window,
    start_from_dict,
    window_from_dict,
)
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import JournalError, TrialError

NAME = "progress.jsonl"
"""The journal's file name in a job's folder."""


Record = TrialStart | Window | Checkpoint | Conditions | PausePoint | UpfrontCost
"""What a journal is made of."""

_FORMS: tuple[tuple[type[Record], str, Callable[[Any], Record]], ...] = (
    (TrialStart, "TrialStart", start_from_dict),
    (Window, "Window", window_from_dict),
    (Checkpoint, "Checkpoint", checkpoint_from_dict),
    (Conditions, "Conditions", Conditions.from_dict),
    (PausePoint, "Pause", PausePoint.from_dict),
    (UpfrontCost, "Upfront", UpfrontCost.from_dict),
)
"""Each class with the tag of its lines, and what reads them. Journals on disk say the tags: a class
may get another name, a tag never does."""

_TAGS = {kind: tag for kind, tag, _ in _FORMS}
_READERS = {tag: read for _, tag, read in _FORMS}
_BEGAN = "Began"  # the tag of a line that holds no record: what the trial does now


class JournalWriter:
    """Appends records to a journal, each written out at once.

    Args:
        path: The file; None keeps nothing.
        again: Whether a journal that is there already is the same trial's, whose execution was
            cut: what that burnt is carried into the new one.
        pause: Number of the pause that the trial goes on from; None where it begins.
        samples: Samples at that pause, where it has no number because it is of old.

    Attributes:
        resumed: The record up to that pause, which goes on; None where there is none.
        carried: What was carried beyond it, as a window; nothing where there was nothing.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        again: bool = False,
        pause: int | None = None,
        samples: int | None = None,
    ) -> None:
        self._path = path
        self._file = 0
        self.resumed: PausedRecord | None = None
        self.carried: tuple[Window, ...] = ()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        before = JournalReader(path).read() if again else Journal()
        if pause is not None or samples is not None:
            self.resumed = before.paused(pause, samples)
        self.carried = before.carried(self.resumed)
        if self.resumed is not None:
            write_whole(path, _lines(*map(_named, (*self.resumed.records(), *self.carried))))
        elif before.start is None or not self.carried:
            path.write_text("")
        else:  # with its start: a trial that is cut again before it begins has its record, too
            write_whole(path, _lines(_named(before.start), *map(_named, self.carried)))
        self._file = path.stat().st_ino

    def append(self, *records: Record) -> None:
        """Append records, all of them or none."""
        if self._path is not None:
            self._write(*map(_named, records))

    def began(self, doing: str) -> None:
        """Say what the trial does now, for those who wait for it."""
        self._write({_BEGAN: doing})

    def _write(self, *lines: Mapping[str, object]) -> None:
        if self._path is None:
            return
        with self._path.open("a") as file:
            # A job that outlived its run: another has gone on from the same pause since.
            if self.resumed is not None and os.fstat(file.fileno()).st_ino != self._file:
                raise TrialError(f"another process goes on with this trial: {self._path}")
            file.write(_lines(*lines))


def _named(record: Record) -> dict[str, object]:
    return {_TAGS[type(record)]: dataclasses.asdict(record)}


def _lines(*lines: Mapping[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that at each moment the old one or the new one is there, whole.

    Raises:
        OSError: If it cannot be written; the old one is there then.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class PausedRecord:
    """The record of a trial at the moment when it paused.

    Attributes:
        at: Where that was.
        start: What was known beforehand.
        windows: All up to then.
        checkpoints: Likewise.
        conditions: As they were known then.
        upfront: What its knowledge had cost before its first step.
    """

    at: PausePoint
    start: TrialStart
    windows: tuple[Window, ...]
    checkpoints: tuple[Checkpoint, ...]
    conditions: Conditions
    upfront: tuple[UpfrontCost, ...] = ()

    def records(self) -> tuple[Record, ...]:
        """All of it, for a journal that goes on."""
        known: tuple[Record, ...] = (self.start, *self.upfront, *self.windows)
        return (*known, *self.checkpoints, self.conditions, self.at)


@dataclass(slots=True)
class Journal:
    """What a journal holds so far."""

    start: TrialStart | None = None
    windows: list[Window] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    conditions: Conditions = NOT_MEASURED
    now: str | None = None
    pauses: list[PausedRecord] = field(default_factory=list)
    upfront: list[UpfrontCost] = field(default_factory=list)

    def result(self, end: End, reason: str) -> TrialResult | None:
        """The record of a trial that left only its journal; None if it never started."""
        if self.start is None:
            return None
        return TrialResult.assemble(
            self.start,
            self.windows,
            self.checkpoints,
            end,
            reason,
            conditions=self.conditions,
            upfront=tuple(self.upfront),
        )

    def paused(self, index: int | None = None, samples: int | None = None) -> PausedRecord | None:
        """The record at a pause; None where it is not known.

        Args:
            index: Its number; the last one's if None.
            samples: How many it was after, where it has no number.
        """
        for paused in reversed(self.pauses):
            if index is not None:
                found = paused.at.index == index
            else:
                found = samples is None or paused.at.samples == samples
            if found:
                return paused
        return None

    def paused_result(self, reason: str) -> TrialResult | None:
        """The record of a trial that can go on from its last pause; None if it never paused."""
        paused = self.paused()
        if paused is None:
            return None
        return TrialResult.assemble(
            paused.start,
            (*paused.windows, *self.carried(paused)),
            paused.checkpoints,
            "paused",
            reason,
            conditions=paused.conditions,
            upfront=paused.upfront,
        )

    def carried(self, since: PausedRecord | None = None) -> tuple[Window, ...]:
        """All that it booked, as what a cut execution burnt; nothing where nothing was booked.

        Args:
            since: A pause up to which nothing was cut.
        """
        windows = self.windows[len(since.windows) if since else 0 :]
        if not windows:
            return ()
        burnt = total(window.energy for window in windows)
        # Without the parts of single boards: the next execution may hold others.
        return (Window("restarted", dataclasses.replace(burnt, gpus_j=()), measured=False),)


class JournalReader:
    """Follows a journal while it grows; a torn last line waits for the next call.

    Where the trial is executed again it follows the new journal from its beginning.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._offset = 0
        self.journal = Journal()

    def read(self) -> Journal:
        """Take in what was appended since the last call.

        Raises:
            JournalError: If a newer energyopt wrote it; what comes before that is taken in.
        """
        try:
            with self._path.open("rb") as file:
                self._notice(os.fstat(file.fileno()))
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return self.journal
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            self._take(line)
            self._offset += len(line)
        return self.journal

    def _notice(self, now: os.stat_result) -> None:
        """Begin anew if it is another file than it was."""
        if now.st_ino != self._file or now.st_size < self._offset:
            self._file, self._offset, self.journal = now.st_ino, 0, Journal()

    def _take(self, line: bytes) -> None:
        try:
            ((tag, data),) = json.loads(line).items()
        except (ValueError, AttributeError):  # damaged by a full disk or a crash, it says nothing
            return
        if tag == _BEGAN:
            self.journal.now = data
            return
        if tag not in _READERS:
            raise JournalError(
                f"{self._path} was written by a newer energyopt: it has a record {tag!r}, which "
                "this one does not know, and joules would be missing without it; update energyopt "
                "(the file is left as it is)"
            )
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # damaged
            self._add(_READERS[tag](data))

    def _add(self, record: Record) -> None:
        match record:
            case TrialStart():
                self.journal.start = record
            case Window():
                self.journal.windows.append(record)
            case Checkpoint():
                self._add_checkpoint(record)
            case Conditions():
                self.journal.conditions = record
            case UpfrontCost():
                self.journal.upfront.append(record)
            case PausePoint():
                self._add_pause(record)

    def _add_pause(self, at: PausePoint) -> None:
        journal = self.journal
        if at.index is None:
            at = dataclasses.replace(at, index=len(journal.pauses))
        if journal.start is not None:
            windows, checkpoints = tuple(journal.windows), tuple(journal.checkpoints)
            now = (windows, checkpoints, journal.conditions, tuple(journal.upfront))
            journal.pauses.append(PausedRecord(at, journal.start, *now))

    def _add_checkpoint(self, new: Checkpoint) -> None:
        """Add one; a later one of the same number is the same, with its joules booked anew."""
        known = self.journal.checkpoints
        if new.index is None:  # of old: of the same samples is the same
            same = (old.index for old in known if old.samples == new.samples is not None)
            new = dataclasses.replace(new, index=next(same, next_index(known)))
        place = next((at for at, old in enumerate(known) if old.index == new.index), None)
        if place is None:
            known.append(new)
        else:
            known[place] = new


def next_index(checkpoints: Sequence[Checkpoint]) -> int:
    """The number of the evaluation after these."""
    last = checkpoints[-1].index if checkpoints else -1
    return len(checkpoints) if last is None else last + 1
