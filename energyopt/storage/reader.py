"""Read studies of a database as records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import Study
from sqlalchemy import Connection

from energyopt.core.default_setup import DefaultSetup
from energyopt.core.report_settings import ReportSettings
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.errors import StudyError
from energyopt.storage.axes import AXES, with_changed
from energyopt.storage.command_account import booked_by_number
from energyopt.storage.commands import commands_of
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.database import is_new, opened_to_read, storage_url
from energyopt.storage.exchange.folder import STUDY
from energyopt.storage.identity import BASELINE, IDENTITY, PLANS, app_of, metrics_of, no_such_study
from energyopt.storage.optuna_tables import StoredTrial, space_of, stored_trials
from energyopt.storage.tables import TRIALS, existing_columns, has_rows, result_from_json

_ROWS = 200  # read at a time
# Columns of all versions of the table: an older database is read without an upgrade.
_COLUMNS = (
    *(TRIALS.c.number, TRIALS.c.overrides, TRIALS.c.is_default),
    *(TRIALS.c.reason, TRIALS.c.result),
)


def read_study(location: str, name: str) -> StudyRecord:
    """Read one study.

    Raises:
        StorageError: If the database cannot be read.
        StudyError: If there is no such study; the message lists the existing ones.
    """
    with opened_to_read(location) as storage:
        names = optuna.get_all_study_names(storage)
        if name not in names:
            message = no_such_study(name, names, storage_url(location))
            if (Path(name) / STUDY).is_file():
                message += f"; {name} is an export: `energyopt import {name}` brings it there"
            raise StudyError(message)
        study = optuna.load_study(study_name=name, storage=storage)
        return record_of(study, storage, storage.get_study_id_from_name(name))


def read_studies(location: str) -> list[StudyRecord]:
    """Read all studies, by name.

    Raises:
        StorageError: If the database cannot be read.
    """
    return [read_study(location, name) for name in study_names(location)]


def study_names(location: str) -> list[str]:
    """Return the names of all studies, sorted.

    Raises:
        StorageError: If the database cannot be read.
    """
    with opened_to_read(location) as storage:
        return sorted(optuna.get_all_study_names(storage))


def read_identity(location: str, name: str) -> dict[str, Any] | None:
    """Return the stored identity of a study; None if there is no such study.

    Raises:
        StorageError: If the database cannot be read.
    """
    if is_new(location):
        return None
    with opened_to_read(location) as storage:
        if name not in optuna.get_all_study_names(storage):
            return None
        attributes = optuna.load_study(study_name=name, storage=storage).user_attrs
        identity: dict[str, Any] = attributes.get(IDENTITY, {})
        return identity


def record_of(study: Study, storage: RDBStorage, study_id: int) -> StudyRecord:
    """Read an open study."""
    identity = study.user_attrs.get(IDENTITY, {})
    with storage.engine.connect() as connection:
        default = DefaultSetup.from_dict(study.user_attrs.get(BASELINE))
        trials = _records(connection, study_id, nearest=default.is_nearest)
        confirmations = confirmations_of(connection, study_id)
        space = space_of(connection, study_id)
        commands = commands_of(
            connection, study_id, booked_by_number(trials), booked_by_number(confirmations)
        )
    return StudyRecord(
        name=study.study_name,
        metrics=metrics_of(study),
        overrides=tuple(identity.get("overrides", ())),
        sweep=tuple(identity.get("sweep", ())),
        target=identity.get("target"),
        trials=trials,
        confirmations=confirmations,
        space=with_changed(space, study.user_attrs.get(AXES), [trial.params for trial in trials]),
        plans=ReportSettings.from_dict(study.user_attrs.get(PLANS)),
        app=app_of(identity),
        commands=commands,
        default_setup=default,
    )


def _records(connection: Connection, study_id: int, *, nearest: bool) -> tuple[TrialRecord, ...]:
    records = {trial.number: _record(trial) for trial in stored_trials(connection, study_id)}
    if has_rows(connection):  # else another program's database
        query = sa.select(*_COLUMNS).where(TRIALS.c.study_id == study_id)
        paused = _paused(connection, study_id)
        # In parts: the texts of all results take more memory than the results.
        for row in connection.execution_options(yield_per=_ROWS).execute(query):
            if row.number in records:
                record = _with_row(records[row.number], row, nearest=nearest)
                is_paused = record.state == "running" and row.number in paused
                records[row.number] = replace(record, state="paused") if is_paused else record
    return tuple(records.values())


def _paused(connection: Connection, study_id: int) -> set[int]:
    """Return the numbers of the paused trials; a database of an older version has none."""
    if TRIALS.c.paused.name not in existing_columns(connection, TRIALS):
        return set()
    query = sa.select(TRIALS.c.number).where((TRIALS.c.study_id == study_id) & TRIALS.c.paused)
    return set(connection.execute(query).scalars())


def _record(trial: StoredTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        params=trial.params,
        overrides=(),
        values=trial.values if trial.state == "complete" else (),
        feasible=trial.feasible,
    )


def _with_row(record: TrialRecord, row: Any, *, nearest: bool) -> TrialRecord:
    return replace(
        record,
        overrides=tuple(json.loads(row.overrides)),
        reason=row.reason,
        default=bool(row.is_default),
        nearest=bool(row.is_default) and nearest,
        result=result_from_json(row.result),
    )
