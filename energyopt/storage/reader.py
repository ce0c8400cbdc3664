"""Studies as records, for those who only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from sqlalchemy import Connection

from energyopt.core.report_settings import ReportSettings
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import StudyError
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.credentials import masked
from energyopt.storage.database import open_database, speaking, storage_url
from energyopt.storage.exchange.folder import STUDY
from energyopt.storage.identity import IDENTITY, PLANS
from energyopt.storage.optuna_tables import KeptTrial, kept_trials, space_of
from energyopt.storage.tables import TRIALS, has_rows

_ROWS = 200  # read at a time
# What all versions of our table have: a database of old is read as it is.
_COLUMNS = (
    *(TRIALS.c.number, TRIALS.c.overrides, TRIALS.c.is_default),
    *(TRIALS.c.reason, TRIALS.c.result),
)


def read_study(where: str, name: str) -> StudyRecord:
    """Read one study.

    Raises:
        StorageError: If the database cannot be read.
        StudyError: If there is no such study; the message lists those that are there.
    """
    url = storage_url(where)
    with _reading(where) as storage:
        names = optuna.get_all_study_names(storage)
        if name not in names:
            there = ", ".join(sorted(names)) or "none yet"
            missing = f"there is no study {name!r} in {masked(url)}; there are: {there}"
            if (Path(name) / STUDY).is_file():
                missing += f"; {name} is an export: `energyopt import {name}` brings it there"
            raise StudyError(missing)
        study = optuna.load_study(study_name=name, storage=storage)
        return record_of(study, storage, storage.get_study_id_from_name(name))


def read_studies(where: str) -> list[StudyRecord]:
    """Read all studies, by name.

    Raises:
        StorageError: If the database cannot be read.
    """
    return [read_study(where, name) for name in study_names(where)]


def study_names(where: str) -> list[str]:
    """The names of all studies, sorted.

    Raises:
        StorageError: If the database cannot be read.
    """
    with _reading(where) as storage:
        return sorted(optuna.get_all_study_names(storage))


def record_of(study: Study, storage: RDBStorage, study_id: int) -> StudyRecord:
    """A study that is open, as a record."""
    names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
    identity = study.user_attrs.get(IDENTITY, {})
    directions = [
        "minimize" if direction == StudyDirection.MINIMIZE else "maximize"
        for direction in study.directions
    ]
    with storage.engine.connect() as connection:
        trials = _records(connection, study_id)
        confirmations = confirmations_of(connection, study_id)
        space = space_of(connection, study_id)
    return StudyRecord(
        name=study.study_name,
        metrics=tuple(Metric(n, d) for n, d in zip(names, directions, strict=True)),  # type: ignore[arg-type]
        overrides=tuple(identity.get("overrides", ())),
        sweep=tuple(identity.get("sweep", ())),
        target=identity.get("target"),
        trials=trials,
        confirmations=confirmations,
        space=space,
        plans=ReportSettings.from_dict(study.user_attrs.get(PLANS)),
    )


@contextmanager
def _reading(where: str) -> Iterator[RDBStorage]:
    storage = open_database(where, create=False)
    try:
        with speaking(storage_url(where)), quiet_optuna():
            yield storage
    finally:
        storage.engine.dispose()


def _records(connection: Connection, study_id: int) -> tuple[TrialRecord, ...]:
    records = {trial.number: _record(trial) for trial in kept_trials(connection, study_id)}
    if has_rows(connection):  # else another program's database
        query = sa.select(*_COLUMNS).where(TRIALS.c.study_id == study_id)
        # In parts: the texts of all results take more memory than the results.
        paused = _paused(connection, study_id)
        for row in connection.execution_options(yield_per=_ROWS).execute(query):
            if row.number in records:
                record = _with_row(records[row.number], row)
                waits = record.state == "running" and row.number in paused
                records[row.number] = replace(record, state="paused") if waits else record
    return tuple(records.values())


def _paused(connection: Connection, study_id: int) -> set[int]:
    """Numbers of the paused trials; in a database of old there are none."""
    columns = {column["name"] for column in sa.inspect(connection).get_columns(TRIALS.name)}
    if TRIALS.c.paused.name not in columns:
        return set()
    query = sa.select(TRIALS.c.number).where((TRIALS.c.study_id == study_id) & TRIALS.c.paused)
    return set(connection.execute(query).scalars())


def _record(trial: KeptTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        params=trial.params,
        overrides=(),
        values=trial.values if trial.state == "complete" else (),
        feasible=trial.feasible,
    )


def _with_row(record: TrialRecord, row: Any) -> TrialRecord:
    return replace(
        record,
        overrides=tuple(json.loads(row.overrides)),
        reason=row.reason,
        default=bool(row.is_default),
        result=TrialResult.from_dict(json.loads(row.result)) if row.result else None,
    )
