"""Our own tables, beside Optuna's and never in them, and how older ones become these."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from energyopt.errors import StorageError

_VERSION = 4
_METADATA = sa.MetaData()

TRIALS = sa.Table(
    "energyopt_trials",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("overrides", sa.Text, nullable=False),  # JSON list of words
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("lost", sa.Boolean, nullable=False),  # its retry counts, it does not
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=True),  # JSON of the TrialResult, of what there is of it
    sa.Column("run", sa.Integer, nullable=True),  # whose it is; None in records of old
    sa.Column("ended", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("retried", sa.Boolean, nullable=False, server_default=sa.true()),  # what was lost
    sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),  # of runs, in a row
    sa.Column("outcome", sa.Text, nullable=True),  # JSON of what Optuna is told next
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),  # nobody's, open
)
"""A row for each trial that was asked for. It is decided here, by one statement, whose a trial is
and how it ended; Optuna's tables follow."""

# Asked for each trial: without an index that reads past the texts of all results.
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
    sa.Column("beat_s", sa.Float, nullable=False),  # when it was last heard, by the server's clock
    sa.Column("grace_s", sa.Float, nullable=False),  # silent for longer it is taken for dead
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("began_s", sa.Float, nullable=True),  # by the same clock; None in records of old
)
"""A row for each run of a study that asked for a trial, and for those that may yet."""

CONFIRMATIONS = sa.Table(
    "energyopt_confirmations",
    _METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("overrides", sa.Text, nullable=False),  # JSON list of words
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=True),  # JSON of the TrialResult, of what there is of it
    sa.Column("test_accuracy", sa.Float, nullable=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start", sa.Text, nullable=False),
)
"""A row for each training that confirms a setup, with the process that runs it."""

_SCHEMA = sa.Table("energyopt_schema", _METADATA, sa.Column("version", sa.Integer, nullable=False))


def prepare(engine: Engine, file: Path | None) -> str | None:
    """Make our tables, or bring those of an older energyopt up to date.

    An SQLite file is copied before it is changed; PostgreSQL changes tables in a transaction.

    Args:
        engine: Of a database that holds Optuna's tables, where nobody else does this now.
        file: An SQLite database's; None for a server's.

    Returns:
        What was done, in a sentence, if there was something.

    Raises:
        StorageError: If a newer energyopt made them.
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
    """Whether our tables are there: a database may be another program's of Optuna."""
    return sa.inspect(connection).has_table(TRIALS.name)


def _version(connection: Connection) -> int:
    """Of our tables: 0 for none, 1 for those that did not say."""
    if sa.inspect(connection).has_table(_SCHEMA.name):
        found = connection.execute(sa.select(_SCHEMA.c.version)).scalar()
        return 0 if found is None else int(found)
    return 1 if has_rows(connection) else 0


def _copy(engine: Engine, file: Path) -> Path:
    number = 1
    while (copy := file.with_name(f"{file.name}.before-{_VERSION}.{number}")).exists():
        number += 1
    raw = engine.raw_connection()  # VACUUM runs in no transaction
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(copy),))
    finally:
        raw.close()
    return copy


def _add_columns(connection: Connection, table: sa.Table) -> None:
    if not sa.inspect(connection).has_table(table.name):
        return  # it is made whole
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in there:
            written = sa.schema.CreateColumn(column).compile(connection)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {written}")
