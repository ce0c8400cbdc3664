"""Who runs a study: a lease a process, that tells others whether it still lives.

On the same host a dead process is known for dead at once, by its number and when it began. From
another host only silence tells: no beat for longer than its grace, by the server's clock.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from energyopt.errors import StorageError, StudyError
from energyopt.storage.database import NETWORK, file_system, make_folder, sqlite_file, storage_url
from energyopt.storage.identity import check_name
from energyopt.storage.tables import RUNS
from energyopt.utils.locks import locked_file
from energyopt.utils.process import Process

BEATS_OF_GRACE = 10
"""Beats that may be missed before a run is taken for dead on another host."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a study.

    Attributes:
        study_id: The study's.
        ordinal: Its number among the study's runs, from 0.
        process: Whose it is.
        silent_s: How long it has not been heard, in s.
        grace_s: How long that may be, in s.
        ended: Whether it said that it is over.
    """

    study_id: int
    ordinal: int
    process: Process
    silent_s: float
    grace_s: float
    ended: bool

    @property
    def is_dead(self) -> bool:
        """Whether its trials are nobody's."""
        if self.ended:
            return True
        lives = self.process.lives()
        return self.silent_s > self.grace_s if lives is None else not lives

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}"


def begin(connection: Connection, study_id: int, process: Process, grace_s: float) -> Run:
    """Enter a new run. Only one process may do so at a time."""
    mine = RUNS.c.study_id == study_id
    last = connection.execute(sa.select(sa.func.max(RUNS.c.ordinal)).where(mine)).scalar()
    ordinal = 0 if last is None else int(last) + 1
    now_s = _now_s(connection)
    connection.execute(
        sa.insert(RUNS).values(
            study_id=study_id,
            ordinal=ordinal,
            host=process.host,
            place=process.place,
            pid=process.pid,
            start=process.start,
            beat_s=now_s,
            grace_s=grace_s,
            ended=False,
            began_s=now_s,
        )
    )
    return Run(study_id, ordinal, process, 0.0, grace_s, ended=False)


def beat(connection: Connection, run: Run) -> None:
    """Say that a run lives."""
    connection.execute(sa.update(RUNS).where(_is(run)).values(beat_s=_now_s(connection)))


def end(connection: Connection, run: Run, *, asked: bool) -> None:
    """Say that a run is over; one that asked for nothing was none."""
    if asked:
        over = {"ended": True, "beat_s": _now_s(connection)}
        connection.execute(sa.update(RUNS).where(_is(run)).values(over))
    else:
        connection.execute(sa.delete(RUNS).where(_is(run)))


def runs_of(connection: Connection, study_id: int) -> list[Run]:
    """All runs of a study that did not say that they are over."""
    now_s = _now_s(connection)
    query = sa.select(RUNS).where(RUNS.c.study_id == study_id, ~RUNS.c.ended)
    return [
        Run(
            study_id,
            row.ordinal,
            Process(row.host, row.place, row.pid, row.start),
            now_s - row.beat_s,
            row.grace_s,
            ended=False,
        )
        for row in connection.execute(query)
    ]


def took_s(connection: Connection, run: Run) -> float:
    """The time in which any run was at work on a study, this one until now, in s.

    One that was killed was until its last sign of life.
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
def only_coordinator(where: str, name: str) -> Iterator[bool]:
    """Hold a study of an SQLite database for this process; the lock dies with it.

    Yields:
        Whether no other run of the study lives, whatever its lease says: after a reboot, or in a
        new container, its process cannot be asked for. On a database server, and on a network
        file system, whose locks may be each host's own, others may be at work.

    Raises:
        StorageError: If the folder of the database may not be written.
        StudyError: If another process holds it, or its name is none.
    """
    check_name(name)
    file = sqlite_file(storage_url(where))
    if file is None:
        yield False
        return
    make_folder(file.parent)
    path = file.with_name(f".{file.name}.{name}.lock")

    def refuse(descriptor: int) -> None:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        raise StudyError(
            f"study {name} is being run by process {owner}; wait for it, stop it, or give "
            "this run another study=name"
        )

    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked_file(path, refuse))
        except OSError as error:
            raise StorageError(f"the lock {path} cannot be made: {error.strerror}") from error
        with suppress(OSError):  # a full disk: the owner's number is only for the message
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield file_system(file.parent) not in NETWORK


def _is(run: Run) -> sa.ColumnElement[bool]:
    return (RUNS.c.study_id == run.study_id) & (RUNS.c.ordinal == run.ordinal)


def _now_s(connection: Connection) -> float:
    """The server's clock, so that those of its clients do not matter; an SQLite file has ours."""
    if connection.dialect.name != "postgresql":
        return time.time()
    clock = sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))
    return float(connection.execute(clock).scalar_one())
