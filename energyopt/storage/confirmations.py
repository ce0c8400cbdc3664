"""Training runs that confirm hyperparameters, in a table of their own that no sampler reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Literal, Self

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy import Connection

from energyopt.core.study_record import Confirmation, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.hardware.command_meter import CommandMeters
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.command_account import CommandAccount, booked_by_number
from energyopt.storage.commands import Commands
from energyopt.storage.database import (
    lock_in_transaction,
    open_database,
    sqlite_file,
    storage_errors,
    storage_url,
)
from energyopt.storage.tables import (
    CONFIRMATIONS,
    next_number,
    prepare,
    process_of,
    result_from_json,
    result_to_json,
)
from energyopt.utils.process import Process


class Confirmations:
    """The confirmations of a study, which one process adds to."""

    def __init__(self, storage: RDBStorage, url: str, study: str) -> None:
        self._storage = storage
        self._url = url
        self._study_id = storage.get_study_id_from_name(study)

    @classmethod
    @contextmanager
    def open(cls, location: str, study: str) -> Iterator[Self]:
        """Open the confirmations of an existing study.

        Raises:
            StorageError: If the database cannot be used.
        """
        storage = open_database(location, create=True)
        url = storage_url(location)
        try:
            with storage_errors(url), quiet_optuna():
                with lock_in_transaction(storage.engine):
                    prepare(storage.engine, sqlite_file(url))
                confirmations = cls(storage, url, study)
            yield confirmations
        finally:
            storage.engine.dispose()

    def all(self) -> tuple[Confirmation, ...]:
        """Return all confirmations, by number."""
        with storage_errors(self._url), self._storage.engine.connect() as connection:
            return confirmations_of(connection, self._study_id)

    def account(self, meters: CommandMeters, study: StudyRecord, *, sole: bool) -> CommandAccount:
        """Return the account of this command, and close those of dead commands.

        Args:
            meters: Counts the energy of the command.
            study: The study.
            sole: No other process works on the study.
        """
        commands = Commands(self._storage.engine, self._study_id, "confirm")
        with storage_errors(self._url):
            trials, confirmations = booked_by_number(study.trials), booked_by_number(self.all())
            commands.settle(trials, confirmations, sole=sole)
        account = CommandAccount(meters, commands)
        account.choose(study.provenance)
        return account

    def begin(self, trial: int, seed: int, overrides: Sequence[str]) -> int:
        """Insert a confirmation that is about to run; return its number."""
        with (
            storage_errors(self._url),
            lock_in_transaction(self._storage.engine, self._study_id),
            self._storage.engine.begin() as connection,
        ):
            number = next_number(connection, CONFIRMATIONS.c.number, self._in_study)
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
        """Store how a confirmation ended, and the record of its energy."""
        values = {
            "state": state,
            "reason": reason,
            "result": result_to_json(result),
            "test_accuracy": test_accuracy,
        }
        row = self._in_study & (CONFIRMATIONS.c.number == number)
        with storage_errors(self._url), self._storage.engine.begin() as connection:
            connection.execute(sa.update(CONFIRMATIONS).where(row).values(values))

    def reap(self, result_of: Callable[[int], TrialResult | None], *, sole: bool) -> int:
        """Close the confirmations that dead processes left running; return their count.

        Args:
            result_of: Returns what was recorded of a confirmation, by number.
            sole: No other process can be running one.
        """
        running = self._in_study & (CONFIRMATIONS.c.state == "running")
        with storage_errors(self._url), self._storage.engine.connect() as connection:
            rows = list(connection.execute(sa.select(CONFIRMATIONS).where(running)))
        orphaned = [row.number for row in rows if sole or process_of(row).lives() is False]
        for number in orphaned:
            self.end(number, "lost", result_of(number), reason="what ran it died")
        return len(orphaned)

    @property
    def _in_study(self) -> sa.ColumnElement[bool]:
        return CONFIRMATIONS.c.study_id == self._study_id


def confirmations_of(connection: Connection, study_id: int) -> tuple[Confirmation, ...]:
    """Return a study's confirmations; databases of other programs and older versions have none."""
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
            result=result_from_json(row.result),
            test_accuracy=row.test_accuracy,
        )
        for row in connection.execute(query.order_by(CONFIRMATIONS.c.number))
    )
