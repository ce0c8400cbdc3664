"""Import an exported study into a database: all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection

from energyopt.core.study_record import StudyRecord
from energyopt.errors import StudyError
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.credentials import masked
from energyopt.storage.database import (
    lock_in_transaction,
    open_database,
    sqlite_file,
    storage_errors,
    storage_url,
)
from energyopt.storage.exchange.folder import TRIALS, at_line, read_folder
from energyopt.storage.exchange.plain import PLANNED, PlainStudy, within
from energyopt.storage.exchange.reader import distribution_from, record_from, times_of
from energyopt.storage.identity import IDENTITY, check_any_name, check_name
from energyopt.storage.optuna_tables import OPTUNA_STATES
from energyopt.storage.tables import COMMANDS, CONFIRMATIONS, RUNS, prepare
from energyopt.storage.tables import TRIALS as ROWS

_NO_PROCESS = {"host": "", "place": "imported", "pid": 0, "start": ""}


def import_study(folder: Path, location: str, name: str | None = None) -> StudyRecord:
    """Write an exported study into a database, in one transaction.

    Trials that ran when it was exported have no owner: the next run of the study ends them.

    Args:
        folder: The export.
        location: A file or a SQLAlchemy URL; a file is created if it does not exist.
        name: Its new name; the exported one if None.

    Raises:
        StorageError: If the folder cannot be read, or the database cannot be used.
        StudyError: If there is a study of that name, or the name is invalid.
    """
    plain = read_folder(folder)
    record = record_from(plain, folder)
    if name is None:  # that of another app's study is any text
        name = plain.study["name"]
        check_any_name(name)
    else:
        check_name(name)
    url = storage_url(location)
    storage = open_database(location, create=True)
    try:
        with storage_errors(url), quiet_optuna():
            with lock_in_transaction(storage.engine):
                prepare(storage.engine, sqlite_file(url))
            with storage.engine.begin() as connection:
                within(storage, connection)
                if name in optuna.get_all_study_names(storage):
                    raise StudyError(
                        f"there is a study {name} in {masked(url)}; it was left as it is, give "
                        "this one another name by --study"
                    )
                _write(storage, connection, plain, name, folder)
    finally:
        storage.scoped_session.remove()
        storage.engine.dispose()
    return record


def _write(
    storage: RDBStorage, connection: Connection, plain: PlainStudy, name: str, folder: Path
) -> None:
    metrics = plain.study["metrics"]
    directions = [metric["direction"] for metric in metrics]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.set_metric_names([metric["name"] for metric in metrics])
    if plain.study["question"] is not None:
        study.set_user_attr(IDENTITY, plain.study["question"])
    for key, value in plain.study["attributes"].items():
        study.set_user_attr(key, value)
    for number, trial in enumerate(plain.trials):
        with at_line(folder / TRIALS, number):
            study.add_trial(_frozen(trial))
    study_id = storage.get_study_id_from_name(name)
    _insert(connection, ROWS, [_row(study_id, trial) for trial in plain.trials if trial["row"]])
    _insert(connection, RUNS, [_run(study_id, run) for run in plain.study["runs"]])
    _insert(connection, COMMANDS, [_command(study_id, c) for c in plain.study.get("commands", ())])
    confirmations = [_confirmation(study_id, data) for data in plain.confirmations]
    _insert(connection, CONFIRMATIONS, confirmations)


def _insert(connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _frozen(trial: Mapping[str, Any]) -> FrozenTrial:
    began, ended = times_of(trial)
    frozen = optuna.trial.create_trial(
        state=OPTUNA_STATES[trial["state"]],
        values=trial["values"],
        params=trial["params"],
        distributions={
            key: distribution_from(data) for key, data in trial["distributions"].items()
        },
        user_attrs=trial["attributes"],
        system_attrs={PLANNED: trial["planned"]} if trial["planned"] else {},
        intermediate_values={int(step): v for step, v in trial["intermediate_values"].items()},
        constraints=trial["constraints"],
    )
    frozen.datetime_start, frozen.datetime_complete = began, ended
    return frozen


def _row(study_id: int, trial: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(trial["row"])
    row["overrides"] = json.dumps(row["overrides"])
    row["outcome"] = row["outcome"] and json.dumps(row["outcome"])
    result = trial["result"] and json.dumps(trial["result"])
    return {**row, "study_id": study_id, "number": trial["number"], "result": result}


def _run(study_id: int, run: Mapping[str, Any]) -> dict[str, Any]:
    times = {"began_s": run["began_s"], "beat_s": run["last_heard_s"], "grace_s": 0.0}
    return {"study_id": study_id, "ordinal": run["ordinal"], "ended": True, **times, **_NO_PROCESS}


def _command(study_id: int, command: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a command, without its process: it is over for us."""
    energy = None if command["energy"] is None else json.dumps(command["energy"])
    energies = {"energy": energy, "trainings": json.dumps(command["trainings"])}
    return {**command, **energies, **_NO_PROCESS, "study_id": study_id, "open": "{}"}


def _confirmation(study_id: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a confirmation, without the process that ran it elsewhere."""
    row = {**data, **_NO_PROCESS, "study_id": study_id, "overrides": json.dumps(data["overrides"])}
    row["result"] = data["result"] and json.dumps(data["result"])
    if data["state"] == "running":
        row |= {"state": "lost", "reason": "it ran when its study was exported"}
    return row
