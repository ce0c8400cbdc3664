"""A study of a database as plain data: all of it, as it was at one moment."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from energyopt import __version__
from energyopt.core.trial_result import TrialResult
from energyopt.errors import StudyError
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.credentials import masked
from energyopt.storage.database import open_database, speaking, storage_url
from energyopt.storage.exchange.anonymize import Anonymizer
from energyopt.storage.identity import IDENTITY
from energyopt.storage.optuna_tables import KeptTrial, kept_trials
from energyopt.storage.tables import RUNS, TRIALS, has_rows

FORMAT = "energyopt-study"
VERSION = 2
"""Of the format: a change of `schema.json` raises it, and what older ones wrote is still read."""

PLANNED = "fixed_params"
"""Optuna's system attribute of a trial that was queued: with what."""

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_COLUMNS = (
    *("is_default", "lost", "reason", "run", "ended", "retried", "deaths", "paused"),
    *("overrides", "outcome"),
)


@dataclass(frozen=True, slots=True)
class PlainStudy:
    """A study as plain data: see `schema.json`.

    Attributes:
        study: What it is.
        trials: Its trials, by number.
        confirmations: The trainings that confirm its setups, by number.
    """

    study: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    confirmations: tuple[Mapping[str, Any], ...]


def plain_study(where: str, name: str) -> PlainStudy:
    """Read all of a study, without what names people and machines.

    Args:
        where: A file or a SQLAlchemy URL.
        name: The study's name.

    Raises:
        StorageError: If the database cannot be read.
        StudyError: If there is no such study.
    """
    url = storage_url(where)
    storage = open_database(where, create=False)
    try:
        with speaking(url), quiet_optuna(), _at_one_moment(storage) as connection:
            if name not in optuna.get_all_study_names(storage):
                there = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none yet"
                raise StudyError(f"there is no study {name!r} in {masked(url)}; there are: {there}")
            return _plain(storage, connection, name)
    finally:
        storage.engine.dispose()


def within(storage: RDBStorage, connection: Connection) -> None:
    """Let Optuna do all that it does in a transaction of ours."""
    storage.scoped_session.remove()
    storage.scoped_session.configure(bind=connection, join_transaction_mode="create_savepoint")


@contextmanager
def _at_one_moment(storage: RDBStorage) -> Iterator[Connection]:
    """A transaction that sees nothing of what runs add meanwhile."""
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
    kept = {trial.number: trial for trial in kept_trials(connection, study_id)}
    unnamed = Anonymizer()
    attributes = dict(study.user_attrs)
    question = attributes.pop(IDENTITY, None)
    names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
    trials = tuple(
        unnamed.data(_trial(trial, kept[trial.number], rows.get(trial.number)))
        for trial in storage.get_all_trials(study_id, deepcopy=False)
    )
    confirmations = tuple(
        unnamed.data(
            {
                "number": each.number,
                "trial": each.trial,
                "seed": each.seed,
                "overrides": each.overrides,
                "state": each.state,
                "reason": each.reason,
                "result": None if each.result is None else each.result.to_dict(),
                "test_accuracy": each.test_accuracy,
            }
        )
        for each in confirmations_of(connection, study_id)
    )
    about = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"energyopt {__version__}",
        "name": name,
        "metrics": [
            {"name": each, "direction": direction.name.lower()}
            for each, direction in zip(names, study.directions, strict=True)
        ],
        "question": question and unnamed.data(question),
        "attributes": unnamed.data(attributes),
        "runs": _runs(connection, study_id),
        "trials": len(trials),
        "confirmations": len(confirmations),
    }
    return PlainStudy(about, trials, confirmations)


def _trial(trial: FrozenTrial, kept: KeptTrial, row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": _STATES[trial.state],
        "began": _time(trial.datetime_start),
        "ended": _time(trial.datetime_complete),
        "params": dict(kept.params),
        "distributions": {key: _distribution(trial.distributions[key]) for key in kept.params},
        "planned": dict(trial.system_attrs.get(PLANNED, {})),
        "values": None if trial.values is None else list(trial.values),
        "constraints": dict(trial.constraints),
        "intermediate_values": {str(step): at for step, at in trial.intermediate_values.items()},
        "attributes": dict(trial.user_attrs),
        "row": None if row is None else {key: row[key] for key in _COLUMNS},
        "result": None if row is None else row["result"],
    }


def _rows(connection: Connection, study_id: int) -> dict[int, dict[str, Any]]:
    """Our rows of a study, by number, in today's form; none in another program's database."""
    if not has_rows(connection):
        return {}
    there = {column["name"] for column in sa.inspect(connection).get_columns(TRIALS.name)}
    columns = [column for column in TRIALS.columns if column.name in there]
    rows = {}
    for row in connection.execute(sa.select(*columns).where(TRIALS.c.study_id == study_id)):
        # What a table of old has not is as it would be brought up to date.
        found: dict[str, Any] = {
            "run": None,
            "ended": True,
            "retried": True,
            "deaths": 0,
            "paused": False,
        }
        found |= {"outcome": None, **row._mapping}  # noqa: SLF001  # its public name
        found["overrides"] = json.loads(found["overrides"])
        found["outcome"] = found["outcome"] and json.loads(found["outcome"])
        if found["result"]:
            found["result"] = TrialResult.from_dict(json.loads(found["result"])).to_dict()
        rows[row.number] = found
    return rows


def _runs(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    """When runs were at work; not whose they were."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(RUNS.name):
        return []
    there = {column["name"] for column in inspector.get_columns(RUNS.name)}
    began = RUNS.c.began_s if RUNS.c.began_s.name in there else sa.null().label("began_s")
    query = sa.select(RUNS.c.ordinal, began, RUNS.c.beat_s).where(RUNS.c.study_id == study_id)
    return [
        {"ordinal": ordinal, "began_s": began_s, "last_heard_s": beat_s}
        for ordinal, began_s, beat_s in connection.execute(query.order_by(RUNS.c.ordinal))
    ]


def _distribution(distribution: BaseDistribution) -> Any:
    return json.loads(distribution_to_json(distribution))


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def to_line(data: Mapping[str, Any], indent: int | None = None) -> str:
    """Plain data as JSON, with a word for numbers that JSON has none for."""
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
