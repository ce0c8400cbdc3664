"""Define the tables of energyopt, separate from Optuna's, and upgrade older versions of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from energyopt.core.energy import UnreadEnergies
from energyopt.core.trial_result import TrialResult
from energyopt.errors import StorageError
from energyopt.utils.process import Process

_VERSION = 5
_EVALUATION = '"evaluation": {"time_s": ['  # columns, as no other part of a record has
_METADATA = sa.MetaData()

TRIALS = sa.Table(
    "energyopt_trials",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("overrides", sa.Text, nullable=False),  # JSON list
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("lost", sa.Boolean, nullable=False),  # not counted: its retry is
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=True),  # JSON of a TrialResult, maybe partial
    sa.Column("run", sa.Integer, nullable=True),  # the owner; None in records of older versions
    sa.Column("ended", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("retried", sa.Boolean, nullable=False, server_default=sa.true()),  # False: queue it
    sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),  # of its runs, in a row
    sa.Column("outcome", sa.Text, nullable=True),  # JSON of what to report to Optuna
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),  # open, no owner
)
"""A row for each trial. One statement on it decides which run owns a trial and how the trial ended;
Optuna's tables are updated from it."""

# These columns are queried once a trial; without an index, that reads the texts of all results.
_INDICES = (
    sa.Index("energyopt_trials_lost", TRIALS.c.study_id, TRIALS.c.lost, TRIALS.c.number),
    sa.Index("energyopt_trials_paused", TRIALS.c.study_id, TRIALS.c.paused, TRIALS.c.number),
)

RUNS = sa.Table(
    "energyopt_runs",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start", sa.Text, nullable=False),
    sa.Column("beat_s", sa.Float, nullable=False),  # last heartbeat, by the server's clock
    sa.Column("grace_s", sa.Float, nullable=False),  # silent for longer, it counts as dead
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("began_s", sa.Float, nullable=True),  # by the same clock; None in older versions
)
"""A row for each run of a study, unless it ended without taking a trial."""

CONFIRMATIONS = sa.Table(
    "energyopt_confirmations",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("overrides", sa.Text, nullable=False),  # JSON list
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=True),  # JSON of a TrialResult, maybe partial
    sa.Column("test_accuracy", sa.Float, nullable=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start", sa.Text, nullable=False),
)
"""A row for each training that confirms a setup, with the process that runs it."""

COMMANDS = sa.Table(
    "energyopt_commands",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("energy", sa.Text, nullable=True),  # JSON of an Energy; None: not metered
    sa.Column("trainings", sa.Text, nullable=False),  # JSON of an Energy: its trainings' part
    sa.Column("open", sa.Text, nullable=False),  # JSON: by number what of it is of open trainings
    sa.Column("basis", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start", sa.Text, nullable=False),
)
"""A row for each command that worked on a study and knows what meters it, with its process."""

_SCHEMA = sa.Table("energyopt_schema", _METADATA, sa.Column("version", sa.Integer, nullable=False))


def prepare(engine: Engine, file: Path | None) -> str | None:
    """Create the tables, or upgrade those of an older energyopt.

    An SQLite file is copied before it is changed; PostgreSQL changes tables in a transaction. Only
    one process at a time may call this.

    Returns:
        A sentence about the upgrade, or None if there was none.

    Raises:
        StorageError: If a newer energyopt created the tables.
    """
    note = None
    with engine.connect() as connection:
        version = _version(connection)
    if version > _VERSION:
        raise StorageError(
            f"this database was made by a newer energyopt (tables of version {version}, this one "
            f"knows {_VERSION}); it was left as it is: update energyopt"
        )
    if version == _VERSION:
        return None
    if version and file is not None:
        copy = _copy(engine, file)
        note = f"{file.name} was made by an older energyopt and brought up to date; before: {copy}"
    with engine.begin() as connection:
        if version:
            for table in (TRIALS, RUNS):
                _add_columns(connection, table)
            for index in _INDICES:
                index.create(connection, checkfirst=True)
        _METADATA.create_all(connection)
        connection.execute(sa.delete(_SCHEMA))
        connection.execute(sa.insert(_SCHEMA).values(version=_VERSION))
    return note


def has_rows(connection: Connection) -> bool:
    """Return True if the tables exist; another Optuna program's database has none."""
    return sa.inspect(connection).has_table(TRIALS.name)


def existing_columns(connection: Connection, table: sa.Table) -> set[str]:
    """Return the names of a table's columns in this database, which may be of an older version."""
    return {column["name"] for column in sa.inspect(connection).get_columns(table.name)}


def next_number(
    connection: Connection, column: sa.Column[int], rows: sa.ColumnElement[bool]
) -> int:
    """Return the number after the largest in a column of some rows, or 0 without any."""
    last = connection.execute(sa.select(sa.func.max(column)).where(rows)).scalar()
    return 0 if last is None else int(last) + 1


def process_of(row: sa.Row[Any]) -> Process:
    """Return the process that a row names."""
    return Process(row.host, row.place, row.pid, row.start)


def result_to_json(result: TrialResult | None) -> str | None:
    """Return the content of a `result` column."""
    return None if result is None else json.dumps(result.to_dict())


def result_from_json(text: str | None) -> TrialResult | None:
    """Return the record in a `result` column, or None if there is none.

    The energies of its evaluations, a third of it, are read when they are first used.
    """
    if not text:
        return None
    # A quotation mark in a text is escaped, so this is a key; of its lists none holds an object.
    begin = text.find(_EVALUATION)
    end = text.find("}", begin)
    if min(begin, end) < 0:
        return TrialResult.from_dict(json.loads(text))
    begin, end = text.index("{", begin), end + 1
    data = json.loads(f"{text[:begin]}null{text[end:]}")
    data["checkpoints"]["evaluation"] = UnreadEnergies(text[begin:end])
    return TrialResult.from_dict(data)


def _version(connection: Connection) -> int:
    """Return the version of the tables: 0 without any, 1 for those that do not hold it."""
    if sa.inspect(connection).has_table(_SCHEMA.name):
        version = connection.execute(sa.select(_SCHEMA.c.version)).scalar()
        return 0 if version is None else int(version)
    return 1 if has_rows(connection) else 0


def _copy(engine: Engine, file: Path) -> Path:
    number = 1
    while (copy := file.with_name(f"{file.name}.before-{_VERSION}.{number}")).exists():
        number += 1
    raw = engine.raw_connection()  # VACUUM is not allowed in a transaction
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(copy),))
    finally:
        raw.close()
    return copy


def _add_columns(connection: Connection, table: sa.Table) -> None:
    if not sa.inspect(connection).has_table(table.name):
        return  # it is created with all columns
    existing = existing_columns(connection, table)
    for column in table.columns:
        if column.name not in existing:
            definition = sa.schema.CreateColumn(column).compile(connection)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
