"""A trial's journal: its progress as lines of JSON, in its own folder.

The job writes it, the coordinator reads it for the live display and for the energy of a trial that
crashes. A plain file works with any launcher. Each line ends with its digest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energyopt.core.conditions import NOT_MEASURED, Conditions
from energyopt.core.curve import Checkpoint, checkpoint_from_dict
from energyopt.core.energy import total
from energyopt.core.gpu_trace import GpuTrace, TraceSample
from energyopt.core.journal_lines import content_of, line_numbers, line_of
from energyopt.core.trial_result import (
    BROKEN,
    End,
    PausePoint,
    TrialResult,
    TrialStart,
    Window,
    start_from_dict,
    window_from_dict,
)
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import DamagedFileError, JournalError, TrialError
from energyopt.utils.disk import as_disk_full
from energyopt.utils.files import write_atomically

NAME = "progress.jsonl"
"""The journal's file name in a job's folder."""


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """The end of a training that reports through `Run`, where no process returns its record.

    Attributes:
        end: How it ended.
        reason: Description of how it ended.
    """

    end: End
    reason: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialEnd:
        """Read one from plain data."""
        return cls(data["end"], str(data["reason"]))


Record = (
    TrialStart
    | Window
    | Checkpoint
    | Conditions
    | PausePoint
    | UpfrontCost
    | TrialEnd
    | TraceSample
)
"""The records of a journal."""

_FORMS: tuple[tuple[type[Record], str, Callable[[Any], Record]], ...] = (
    (TrialStart, "TrialStart", start_from_dict),
    (Window, "Window", window_from_dict),
    (Checkpoint, "Checkpoint", checkpoint_from_dict),
    (Conditions, "Conditions", Conditions.from_dict),
    (PausePoint, "Pause", PausePoint.from_dict),
    (UpfrontCost, "Upfront", UpfrontCost.from_dict),
    (TrialEnd, "End", TrialEnd.from_dict),
    (TraceSample, "Trace", TraceSample.from_dict),
)
"""Each class with the tag of its lines and their reader. Tags are stored in journals on disk: a
class may be renamed, a tag never."""

_TAGS = {kind: tag for kind, tag, _ in _FORMS}
_READERS = {tag: read for _, tag, read in _FORMS}
_BEGAN = "Began"  # tag of a line without a record: the current activity of the trial


class JournalWriter:
    """Appends records to a journal, each written out at once.

    Args:
        path: The file; None keeps nothing.
        is_rerun: Whether an existing journal is of the same trial, whose execution was cut: the
            energy of that is carried over into the new journal.
        pause: Number of the pause from which the trial resumes; None for a new trial.
        samples: Samples at that pause, if an older version left it without a number.

    Raises:
        TrialError: If it cannot be written.
        DiskFullError: If there is no space for it.
        DamagedFileError: If the trial resumes, and its journal is not as it was written.

    Attributes:
        resumed: The record up to that pause; None for a new trial.
        carried: The energy carried over from beyond it, as a window; empty without any.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_rerun: bool = False,
        pause: int | None = None,
        samples: int | None = None,
    ) -> None:
        self._path = path
        self._file = 0
        self.resumed: PausedRecord | None = None
        self.carried: tuple[Window, ...] = ()
        if path is None:
            return
        existing = JournalReader(path).read() if is_rerun else Journal()
        if pause is not None or samples is not None:
            _check_undamaged(existing, path)
            self.resumed = existing.paused(pause, samples)
        self.carried = existing.carried(self.resumed)
        kept: tuple[Record, ...] = ()
        if self.resumed is not None:
            kept = (*self.resumed.records(), *self.carried)
        elif existing.start is not None and self.carried:
            # With its start, so that a trial that is cut again early still has a record.
            kept = (existing.start, *self.carried)
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kept:
                write_atomically(path, _lines(*map(_tagged, kept)))
            else:
                path.write_text("")
            self._file = path.stat().st_ino

    def append(self, *records: Record) -> None:
        """Append records, all or none.

        Raises:
            TrialError: If they cannot be written.
            DiskFullError: If there is no space for them.
        """
        if self._path is not None:
            self._write(*map(_tagged, records))

    def began(self, activity: str) -> None:
        """Append the current activity of the trial, for the live display."""
        self._write({_BEGAN: activity})

    def _write(self, *lines: Mapping[str, object]) -> None:
        if self._path is None:
            return
        # Unbuffered, so in one write: the thread that traces the GPUs appends to it, too.
        with _writing(self._path), self._path.open("ab", buffering=0) as file:
            # This job outlived its run: another has resumed from the same pause.
            if self.resumed is not None and os.fstat(file.fileno()).st_ino != self._file:
                raise TrialError(f"another process goes on with this trial: {self._path}")
            text = _lines(*lines).encode()
            n_written = file.write(text)
            if n_written != len(text):
                # Without the torn line, which would spoil the next one, if there is space again.
                end = file.tell()
                if os.fstat(file.fileno()).st_size == end:
                    file.truncate(end - n_written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise as_disk_full(error, path) or TrialError(
            f"the record of the training cannot be written: {path}: {error.strerror}; free space "
            "there, or choose another folder"
        ) from None


def _tagged(record: Record) -> dict[str, object]:
    return {_TAGS[type(record)]: dataclasses.asdict(record)}


def _lines(*lines: Mapping[str, object]) -> str:
    return "".join(map(line_of, lines))


def _check_undamaged(journal: Journal, path: Path) -> None:
    if journal.damaged:
        raise DamagedFileError(
            f"the paused trial cannot resume: {path} was changed on the disk in {journal.damage}"
        )


@dataclass(frozen=True, slots=True)
class PausedRecord:
    """The record of a trial at a pause.

    Attributes:
        at: The pause.
        start: The record of the trial's start.
        windows: All windows up to the pause.
        checkpoints: All checkpoints up to the pause.
        conditions: The conditions measured up to the pause.
        upfront: Energy used before its first step.
        trace: Samples of its GPUs up to the pause.
    """

    at: PausePoint
    start: TrialStart
    windows: tuple[Window, ...]
    checkpoints: tuple[Checkpoint, ...]
    conditions: Conditions
    upfront: tuple[UpfrontCost, ...] = ()
    trace: tuple[TraceSample, ...] = ()

    def records(self) -> tuple[Record, ...]:
        """Return all records, for a journal that continues from the pause."""
        windows: tuple[Record, ...] = (self.start, *self.upfront, *self.windows)
        return (*windows, *self.checkpoints, *self.trace, self.conditions, self.at)


@dataclass(slots=True)
class Journal:
    """The content of a journal so far."""

    start: TrialStart | None = None
    windows: list[Window] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    conditions: Conditions = NOT_MEASURED
    now: str | None = None
    pauses: list[PausedRecord] = field(default_factory=list)
    upfront: list[UpfrontCost] = field(default_factory=list)
    end: TrialEnd | None = None
    trace: list[TraceSample] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)  # numbers of the lines that were changed
    n_lines: int = 0

    @property
    def damage(self) -> str:
        """The lines that were changed since they were written, in words."""
        return line_numbers(self.damaged)

    def result(self, end: End, reason: str) -> TrialResult | None:
        """Return the record of a trial from its journal; None if it never started."""
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
            trace=GpuTrace.of(self.trace),
        )

    def paused(self, index: int | None = None, samples: int | None = None) -> PausedRecord | None:
        """Return the record at a pause; None if the journal has no such pause.

        Args:
            index: Number of the pause; the last pause if None.
            samples: Samples at the pause, if it has no number.
        """
        for paused in reversed(self.pauses):
            if index is not None:
                matches = paused.at.index == index
            else:
                matches = samples is None or paused.at.samples == samples
            if matches:
                return paused
        return None

    def paused_result(self, reason: str) -> TrialResult | None:
        """Return the record of a trial at its last pause; None if it never paused."""
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
            trace=GpuTrace.of(paused.trace),
        )

    def carried(self, pause: PausedRecord | None = None) -> tuple[Window, ...]:
        """Return the energy of a cut execution as one window; empty without any.

        Args:
            pause: A pause from which the trial resumes: only the energy after it was lost.
        """
        windows = self.windows[len(pause.windows) if pause else 0 :]
        if not windows:
            return ()
        energy = total(window.energy for window in windows)
        # Without the parts of single boards: the next execution may hold other GPUs.
        return (Window("restarted", dataclasses.replace(energy, gpus_j=()), measured=False),)


class JournalReader:
    """Follows a journal while it grows; an incomplete last line waits for the next call.

    If the trial is executed again, it follows the new journal from its beginning.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._offset = 0
        self.journal = Journal()

    def read(self) -> Journal:
        """Read what was appended since the last call. Returns the whole journal.

        Raises:
            JournalError: If a newer energyopt wrote it; the records before that are read.
        """
        try:
            with self._path.open("rb") as file:
                self._reset_if_replaced(os.fstat(file.fileno()))
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return self.journal
        complete = data[: data.rfind(b"\n") + 1]
        for line in complete.splitlines(keepends=True):
            self._read_line(line)
            self._offset += len(line)
        return self.journal

    def _reset_if_replaced(self, status: os.stat_result) -> None:
        """Start again if the file was replaced or truncated."""
        if status.st_ino != self._file or status.st_size < self._offset:
            self._file, self._offset, self.journal = status.st_ino, 0, Journal()

    def _read_line(self, line: bytes) -> None:
        self.journal.n_lines += 1
        try:
            ((tag, data),) = content_of(line).items()
        except ValueError:  # by a crash, or changed on the disk
            self.journal.damaged.append(self.journal.n_lines)
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
            case TrialEnd():
                self.journal.end = record
            case TraceSample():
                self.journal.trace.append(record)

    def _add_pause(self, pause: PausePoint) -> None:
        journal = self.journal
        if pause.index is None:
            pause = dataclasses.replace(pause, index=len(journal.pauses))
        if journal.start is not None:
            windows, checkpoints = tuple(journal.windows), tuple(journal.checkpoints)
            content = (windows, checkpoints, journal.conditions, tuple(journal.upfront))
            trace = tuple(journal.trace)
            journal.pauses.append(PausedRecord(pause, journal.start, *content, trace))

    def _add_checkpoint(self, new: Checkpoint) -> None:
        """Add a checkpoint, or replace that of the same number: its energy was corrected."""
        existing = self.journal.checkpoints
        if new.index is None:  # from an older version: identified by its samples
            indices = (old.index for old in existing if old.samples == new.samples is not None)
            new = dataclasses.replace(new, index=next(indices, next_index(existing)))
        position = next((i for i, old in enumerate(existing) if old.index == new.index), None)
        if position is None:
            existing.append(new)
        else:
            existing[position] = new


def has_ended(folder: Path) -> bool:
    """Return True if the training whose journal is in a folder ran its course."""
    end = JournalReader(folder / NAME).read().end
    return end is not None and end.end not in (*BROKEN, "paused")


def read_result(folder: Path) -> TrialResult | None:
    """Return the record of the training whose journal is in a folder, as far as it came.

    Returns:
        The record; its end is "lost" where the process died before it could say how it ended.
        None if the folder has no journal, or nothing was measured.

    Raises:
        JournalError: If a newer energyopt wrote the journal.
        DamagedFileError: If the journal was changed on the disk.
    """
    journal = JournalReader(folder / NAME).read()
    if journal.damaged:
        raise DamagedFileError(
            f"{folder / NAME} was changed on the disk in {journal.damage}: what it says of the "
            "training cannot be relied upon"
        )
    end = journal.end or TrialEnd("lost", "its process died before the training ended")
    if end.end == "paused":
        return journal.paused_result(end.reason)
    return journal.result(end.end, end.reason)


def next_index(checkpoints: Sequence[Checkpoint]) -> int:
    """Return the number of the evaluation after these."""
    last = checkpoints[-1].index if checkpoints else -1
    return len(checkpoints) if last is None else last + 1
