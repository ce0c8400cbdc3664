"""Trainings that confirm a study's setups: in a table of their own, which no sampler sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Literal, Self

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy import Connection

from energyopt.core.study_record import Confirmation
from energyopt.core.trial_result import TrialResult
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import (
    lock_in_transaction,
    open_database,
    speaking,
    sqlite_file,
    storage_url,
)
from energyopt.storage.tables import CONFIRMATIONS, prepare
from energyopt.utils.process import Process


class Confirmations:
    """The trainings that confirm a study's setups, as one process adds to them.

    Args:
        storage: Where the study is.
        url: The storage's.
        study: Its name.
    """

    def __init__(self, storage: RDBStorage, url: str, study: str) -> None:
        self._storage = storage
        self._url = url
        self._study_id = storage.get_study_id_from_name(study)

    @classmethod
    @contextmanager
    def open(cls, where: str, study: str) -> Iterator[Self]:
        """Open those of a study that exists.

        Raises:
            StorageError: If the database cannot be used.
        """
        storage = open_database(where, create=True)
        url = storage_url(where)
        try:
            with speaking(url), quiet_optuna():
                with lock_in_transaction(storage.engine):
                    prepare(storage.engine, sqlite_file(url))
                opened = cls(storage, url, study)
            yield opened
        finally:
            storage.engine.dispose()

    def all(self) -> tuple[Confirmation, ...]:
        """All of them, by number."""
        with speaking(self._url), self._storage.engine.connect() as connection:
            return confirmations_of(connection, self._study_id)

    def begin(self, trial: int, seed: int, overrides: Sequence[str]) -> int:
        """Enter a training that is about to run; its number."""
        with (
            speaking(self._url),
            lock_in_transaction(self._storage.engine, self._study_id),
            self._storage.engine.begin() as connection,
        ):
            last = sa.select(sa.func.max(CONFIRMATIONS.c.number)).where(self._mine)
            number = connection.execute(last).scalar()
            number = 0 if number is None else int(number) + 1
            row = {
                "study_id": self._study_id,
                "number": number,
                "trial": trial,
                "seed": seed,
                "overrides": json.dumps(list(overrides)),
                "state": "running",
                "reason": "",
                **asdict(Process.this()),
            }
            connection.execute(sa.insert(CONFIRMATIONS).values(row))
        return number

    def end(
        self,
        number: int,
        state: Literal["complete", "failed", "lost"],
        result: TrialResult | None,
        *,
        reason: str = "",
        test_accuracy: float | None = None,
    ) -> None:
        """Say how a training ended, and what it burnt."""
        values = {
            "state": state,
            "reason": reason,
            "result": None if result is None else json.dumps(result.to_dict()),
            "test_accuracy": test_accuracy,
        }
        which = self._mine & (CONFIRMATIONS.c.number == number)
        with speaking(self._url), self._storage.engine.begin() as connection:
            connection.execute(sa.update(CONFIRMATIONS).where(which).values(values))

    def reap(self, burnt: Callable[[int], TrialResult | None], *, sole: bool) -> int:
        """Close what dead processes left running; how many did.

        Args:
            burnt: What there is of a training, by number.
            sole: Whether no other process can be at it.
        """
        running = self._mine & (CONFIRMATIONS.c.state == "running")
        with speaking(self._url), self._storage.engine.connect() as connection:
            rows = list(connection.execute(sa.select(CONFIRMATIONS).where(running)))
        left = [row.number for row in rows if sole or _of(row).lives() is False]
        for number in left:
            self.end(number, "lost", burnt(number), reason="what ran it died")
        return len(left)

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return CONFIRMATIONS.c.study_id == self._study_id


def confirmations_of(connection: Connection, study_id: int) -> tuple[Confirmation, ...]:
    """Those of a study, by number; in another program's database, or one of old, there are none."""
    if not sa.inspect(connection).has_table(CONFIRMATIONS.name):
        return ()
    query = sa.select(CONFIRMATIONS).where(CONFIRMATIONS.c.study_id == study_id)
    return tuple(
        Confirmation(
            number=row.number,
            trial=row.trial,
            seed=row.seed,
            overrides=tuple(json.loads(row.overrides)),
            state=row.state,
            reason=row.reason,
            result=TrialResult.from_dict(json.loads(row.result)) if row.result else None,
            test_accuracy=row.test_accuracy,
        )
        for row in connection.execute(query.order_by(CONFIRMATIONS.c.number))
    )


def _of(row: sa.Row[tuple[object, ...]]) -> Process:
    return Process(row.host, row.place, row.pid, row.start)
