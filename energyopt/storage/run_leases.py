"""The runs of a study: each has a lease, from which others see whether it still lives.

On the same host, a dead process is detected at once by its number and start time. From another
host, only silence shows it: no heartbeat within its grace period, by the server's clock.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from energyopt.errors import StorageError, StudyError
from energyopt.storage.database import (
    NETWORK,
    file_system,
    make_folder,
    sqlite_file,
    storage_url,
)
from energyopt.storage.database_files import locked_study
from energyopt.storage.identity import check_any_name, file_name
from energyopt.storage.tables import RUNS, next_number, process_of
from energyopt.utils.locks import locked_file
from energyopt.utils.process import Process

BEATS_OF_GRACE = 10
"""Heartbeats that a run on another host may miss before it counts as dead."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a study."""

    study_id: int
    ordinal: int  # among the study's runs, from 0
    process: Process
    silent_s: float  # since its last heartbeat
    grace_s: float  # silence after which it counts as dead
    ended: bool  # regularly

    @property
    def is_dead(self) -> bool:
        """True if no process owns its trials any more."""
        if self.ended:
            return True
        lives = self.process.lives()
        return self.silent_s > self.grace_s if lives is None else not lives

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}"


def begin(connection: Connection, study_id: int, process: Process, grace_s: float) -> Run:
    """Insert a new run. Only one process may do so at a time."""
    ordinal = next_number(connection, RUNS.c.ordinal, RUNS.c.study_id == study_id)
    now_s = _now_s(connection)
    connection.execute(
        sa.insert(RUNS).values(
            study_id=study_id,
            ordinal=ordinal,
            beat_s=now_s,
            grace_s=grace_s,
            ended=False,
            began_s=now_s,
            **asdict(process),
        )
    )
    return Run(study_id, ordinal, process, 0.0, grace_s, ended=False)


def beat(connection: Connection, run: Run) -> None:
    """Store a heartbeat of a run."""
    connection.execute(sa.update(RUNS).where(_is(run)).values(beat_s=_now_s(connection)))


def end(connection: Connection, run: Run, *, has_trials: bool) -> None:
    """Mark a run as finished; delete its row if it never took a trial."""
    if has_trials:
        values = {"ended": True, "beat_s": _now_s(connection)}
        connection.execute(sa.update(RUNS).where(_is(run)).values(values))
    else:
        connection.execute(sa.delete(RUNS).where(_is(run)))


def runs_of(connection: Connection, study_id: int) -> list[Run]:
    """Return all runs of a study that did not end regularly."""
    now_s = _now_s(connection)
    query = sa.select(RUNS).where(RUNS.c.study_id == study_id, ~RUNS.c.ended)
    return [
        Run(study_id, row.ordinal, process_of(row), now_s - row.beat_s, row.grace_s, ended=False)
        for row in connection.execute(query)
    ]


def wall_time_s(connection: Connection, run: Run) -> float:
    """Return the time in which at least one run worked on a study, in s.

    The given run counts until now, one that was killed until its last heartbeat.
    """
    query = sa.select(RUNS.c.ordinal, RUNS.c.began_s, RUNS.c.beat_s).where(
        RUNS.c.study_id == run.study_id, RUNS.c.began_s.is_not(None)
    )
    now_s = _now_s(connection)
    total_s, until_s = 0.0, -math.inf
    for ordinal, began_s, beat_s in connection.execute(query.order_by(RUNS.c.began_s)):
        end_s = now_s if ordinal == run.ordinal else beat_s
        total_s += max(end_s - max(began_s, until_s), 0.0)
        until_s = max(until_s, end_s)
    return total_s


@contextmanager
def only_coordinator(location: str, name: str) -> Iterator[bool]:
    """Lock a study of an SQLite database for this process; the lock ends with it.

    Yields:
        True if no other run of the study lives, whatever its lease says: after a reboot, or in a
        new container, its process cannot be looked up. False on a database server and on a network
        file system, whose locks may be local to each host: other runs may be active.

    Raises:
        StorageError: If the folder of the database is not writable.
        StudyError: If another process holds the lock, or the study's name is invalid.
    """
    check_any_name(name)
    file = sqlite_file(storage_url(location))
    if file is None:
        yield False
        return
    make_folder(file.parent)
    path = file.with_name(f".{file.name}.{file_name(name)}.lock")
    remedy = "wait for it, stop it, or give this run another study=name"

    def refuse(descriptor: int) -> None:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        raise StudyError(f"study {name} is being run by process {owner}; {remedy}")

    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked_file(path, refuse))
        except OSError as error:
            raise StorageError(f"the lock {path} cannot be made: {error.strerror}") from error
        with suppress(OSError):  # a full disk: the owner's number is only for the message
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        # A file that is not made yet has no other name; a refused study shall leave none.
        if file.exists() and not stack.enter_context(locked_study(file, name)):
            raise StudyError(
                f"study {name} is being run by a process that knows {file} by another name (a "
                f"hard link); {remedy}"
            )
        yield file_system(file.parent) not in NETWORK


def _is(run: Run) -> sa.ColumnElement[bool]:
    return (RUNS.c.study_id == run.study_id) & (RUNS.c.ordinal == run.ordinal)


def _now_s(connection: Connection) -> float:
    """Return the server's time, so that its clients' clocks do not matter; ours for SQLite."""
    if connection.dialect.name != "postgresql":
        return time.time()
    clock = sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))
    return float(connection.execute(clock).scalar_one())
