"""Read a study of a database as plain data, consistent at one moment."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection

from energyopt import __version__
from energyopt.core.energy import Energy, total
from energyopt.core.study_record import Confirmation
from energyopt.errors import StudyError
from energyopt.storage.command_account import booked_by_number
from energyopt.storage.commands import commands_of
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.database import opened_to_read, storage_url
from energyopt.storage.exchange.anonymize import Anonymizer
from energyopt.storage.identity import IDENTITY, metrics_of, no_such_study
from energyopt.storage.optuna_tables import STATES, StoredTrial, stored_trials
from energyopt.storage.tables import RUNS, TRIALS, existing_columns, has_rows, result_from_json

FORMAT = "energyopt-study"
VERSION = 2
"""Version of the format: it rises with `schema.json`; older versions are still read."""

PLANNED = "fixed_params"
"""Optuna's system attribute of a queued trial: its parameters."""

_COLUMNS = (
    *("is_default", "lost", "reason", "run", "ended", "retried", "deaths", "paused"),
    *("overrides", "outcome"),
)


@dataclass(frozen=True, slots=True)
class PlainStudy:
    """A study as plain data, trials and confirmations by number: see `schema.json`."""

    study: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    confirmations: tuple[Mapping[str, Any], ...]


def plain_study(location: str, name: str) -> PlainStudy:
    """Read a study, without names of people and machines.

    Raises:
        StorageError: If the database cannot be read.
        StudyError: If there is no such study.
    """
    with opened_to_read(location) as storage, _snapshot(storage) as connection:
        names = optuna.get_all_study_names(storage)
        if name not in names:
            raise StudyError(no_such_study(name, names, storage_url(location)))
        return _plain(storage, connection, name)


def within(storage: RDBStorage, connection: Connection) -> None:
    """Make Optuna use the transaction of this connection."""
    storage.scoped_session.remove()
    storage.scoped_session.configure(bind=connection, join_transaction_mode="create_savepoint")


@contextmanager
def _snapshot(storage: RDBStorage) -> Iterator[Connection]:
    """Open a transaction that does not see what runs add in the meantime."""
    on_server = storage.engine.dialect.name == "postgresql"
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if on_server else {}
    with storage.engine.connect().execution_options(**options) as connection:
        if not on_server:
            connection.exec_driver_sql("BEGIN")
        within(storage, connection)
        yield connection
        storage.scoped_session.remove()


def _plain(storage: RDBStorage, connection: Connection, name: str) -> PlainStudy:
    study_id = storage.get_study_id_from_name(name)
    study = optuna.load_study(study_name=name, storage=storage)
    rows = _rows(connection, study_id)
    stored = {trial.number: trial for trial in stored_trials(connection, study_id)}
    anonymizer = Anonymizer()
    attributes = dict(study.user_attrs)
    identity = attributes.pop(IDENTITY, None)
    trials = tuple(
        anonymizer.data(_trial(trial, stored[trial.number], rows.get(trial.number)))
        for trial in storage.get_all_trials(study_id, deepcopy=False)
    )
    confirmations = tuple(
        anonymizer.data(_confirmation(confirmation))
        for confirmation in confirmations_of(connection, study_id)
    )
    data = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"energyopt {__version__}",
        "name": name,
        "metrics": [asdict(metric) for metric in metrics_of(study)],
        "question": identity and anonymizer.data(identity),
        "attributes": anonymizer.data(attributes),
        "runs": _runs(connection, study_id),
        **_energy(connection, study_id, rows),
        "trials": len(trials),
        "confirmations": len(confirmations),
    }
    return PlainStudy(data, trials, confirmations)


def _energy(
    connection: Connection, study_id: int, rows: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the commands of a study, and the sum of all its energy."""
    trials = {number: row["spent"] for number, row in rows.items()}
    confirmations = booked_by_number(confirmations_of(connection, study_id))
    commands = commands_of(connection, study_id, trials, confirmations)
    parts = [command.other for command in commands if command.other is not None]
    energy = total((*trials.values(), *confirmations.values(), *parts))
    return {
        "commands": [asdict(command) for command in commands],
        "search_energy_j": energy.total_j,
    }


def _confirmation(confirmation: Confirmation) -> dict[str, Any]:
    result = confirmation.result
    data = asdict(replace(confirmation, result=None))
    return data | {"result": None if result is None else result.to_dict()}


def _trial(
    trial: FrozenTrial, stored: StoredTrial, row: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": STATES[trial.state.name],
        "began": _time(trial.datetime_start),
        "ended": _time(trial.datetime_complete),
        "params": dict(stored.params),
        "distributions": {key: _distribution(trial.distributions[key]) for key in stored.params},
        "planned": dict(trial.system_attrs.get(PLANNED, {})),
        "values": None if trial.values is None else list(trial.values),
        "constraints": dict(trial.constraints),
        "intermediate_values": {str(step): v for step, v in trial.intermediate_values.items()},
        "attributes": dict(trial.user_attrs),
        "row": None if row is None else {key: row[key] for key in _COLUMNS},
        "result": None if row is None else row["result"],
    }


def _rows(connection: Connection, study_id: int) -> dict[int, dict[str, Any]]:
    """Return the rows of a study by number, upgraded; none in another program's database."""
    if not has_rows(connection):
        return {}
    existing = existing_columns(connection, TRIALS)
    columns = [column for column in TRIALS.columns if column.name in existing]
    rows = {}
    for row in connection.execute(sa.select(*columns).where(TRIALS.c.study_id == study_id)):
        # Columns that an older table does not have get the defaults of an upgrade.
        data: dict[str, Any] = {
            "run": None,
            "ended": True,
            "retried": True,
            "deaths": 0,
            "paused": False,
            "outcome": None,
            **row._mapping,  # noqa: SLF001  # its public name
        }
        data["overrides"] = json.loads(data["overrides"])
        data["outcome"] = data["outcome"] and json.loads(data["outcome"])
        result = result_from_json(data["result"])
        data["spent"] = Energy() if result is None else result.spent
        if result is not None:  # written again in the form of this version
            data["result"] = result.to_dict()
        rows[row.number] = data
    return rows


def _runs(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    """Return the times of the runs, without their processes."""
    if not sa.inspect(connection).has_table(RUNS.name):
        return []
    has_began = RUNS.c.began_s.name in existing_columns(connection, RUNS)
    began = RUNS.c.began_s if has_began else sa.null().label("began_s")
    query = sa.select(RUNS.c.ordinal, began, RUNS.c.beat_s).where(RUNS.c.study_id == study_id)
    return [
        {"ordinal": ordinal, "began_s": began_s, "last_heard_s": beat_s}
        for ordinal, began_s, beat_s in connection.execute(query.order_by(RUNS.c.ordinal))
    ]


def _distribution(distribution: BaseDistribution) -> Any:
    return json.loads(distribution_to_json(distribution))


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def to_line(data: Mapping[str, Any], indent: int | None = None) -> str:
    """Return plain data as JSON, with objects in place of NaN and infinities."""
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
