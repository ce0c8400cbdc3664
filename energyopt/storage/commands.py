"""The energy of the commands that worked on a study, a row for each.

A row is brought up to date every few seconds, so a killed command loses little. It also says how
much of the energy of each open training it includes: what that training has booked since is no
longer a part of the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from energyopt.core.command_energy import Command, CommandEnergy
from energyopt.core.energy import Energy
from energyopt.storage.tables import COMMANDS, next_number, process_of
from energyopt.utils.process import Process

Booked = Mapping[int, Energy]
"""Energy of trainings, by their number."""


class Commands:
    """The row of one command among those of its study.

    Args:
        engine: The database.
        study_id: The study.
        command: The kind of this command.
    """

    def __init__(self, engine: Engine, study_id: int, command: Command) -> None:
        self._engine = engine
        self._study_id = study_id
        self._command = command
        self._number: int | None = None

    def keep(
        self, energy: Energy | None, trainings: Energy, open_trainings: Booked, basis: str
    ) -> None:
        """Store the energy of this command so far.

        Args:
            energy: All of it; None if it is not metered.
            trainings: The part that its trainings booked.
            open_trainings: The part of that which each training booked that is not over.
            basis: How it is counted, in words.
        """
        included = {number: asdict(booked) for number, booked in open_trainings.items()}
        values = {
            "energy": None if energy is None else json.dumps(asdict(energy)),
            "trainings": json.dumps(asdict(trainings)),
            "open": json.dumps(included),
            "basis": basis,
        }
        with self._engine.begin() as connection:
            if self._number is None:
                self._number = self._insert(connection, values)
            else:
                row = self._in_study & (COMMANDS.c.number == self._number)
                connection.execute(sa.update(COMMANDS).where(row).values(values))

    def settle(self, trials: Booked, confirmations: Booked, *, sole: bool) -> None:
        """Close the rows of dead commands: what their open trainings booked is final.

        Otherwise a later command that resumes such a training would change them.

        Args:
            trials: What each trial has booked.
            confirmations: What each confirmation has booked.
            sole: No other command works on the study.
        """
        query = sa.select(COMMANDS).where(self._in_study & (COMMANDS.c.open != "{}"))
        with self._engine.begin() as connection:
            for row in list(connection.execute(query)):
                if row.number == self._number or not (sole or process_of(row).lives() is False):
                    continue
                record = _record(row, confirmations if row.command == "confirm" else trials)
                values = {"trainings": json.dumps(asdict(record.trainings)), "open": "{}"}
                is_row = self._in_study & (COMMANDS.c.number == row.number)
                connection.execute(sa.update(COMMANDS).where(is_row).values(values))

    def _insert(self, connection: Connection, values: Mapping[str, Any]) -> int:
        number = next_number(connection, COMMANDS.c.number, self._in_study)
        identity = {"study_id": self._study_id, "number": number, "command": self._command}
        row = {**identity, **asdict(Process.this()), **values}
        connection.execute(sa.insert(COMMANDS).values(row))
        return number

    @property
    def _in_study(self) -> sa.ColumnElement[bool]:
        return COMMANDS.c.study_id == self._study_id


def commands_of(
    connection: Connection, study_id: int, trials: Booked, confirmations: Booked
) -> tuple[CommandEnergy, ...]:
    """Return the commands of a study; databases of older versions and other programs have none.

    Args:
        connection: The database.
        study_id: The study.
        trials: What each trial has booked.
        confirmations: What each confirmation has booked.
    """
    if not sa.inspect(connection).has_table(COMMANDS.name):
        return ()
    query = sa.select(COMMANDS).where(COMMANDS.c.study_id == study_id).order_by(COMMANDS.c.number)
    return tuple(
        _record(row, confirmations if row.command == "confirm" else trials)
        for row in connection.execute(query)
    )


def _record(row: sa.Row[Any], booked: Booked) -> CommandEnergy:
    """Return a row as a record, with what its open trainings have booked by now."""
    record = CommandEnergy(
        number=row.number,
        command=row.command,
        energy=None if row.energy is None else Energy.from_dict(json.loads(row.energy)),
        trainings=Energy.from_dict(json.loads(row.trainings)),
        basis=row.basis,
    )
    for number, included in json.loads(row.open).items():
        if int(number) in booked:
            extra = booked[int(number)] - Energy.from_dict(included)
            record = record.with_trainings(extra)
    return record
