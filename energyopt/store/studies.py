"""A study in its storage: asked and told by one coordinator, read by everyone."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection

from energyopt.errors import StorageError, StudyError
from energyopt.records import Metric, Outcome, Provenance, StudyRecord, TrialRecord, TrialResult
from energyopt.store.database import (
    make_folder,
    masked,
    open_database,
    quiet_optuna,
    speaking,
    sqlite_file,
    storage_url,
)
from energyopt.store.trials import KeptTrial, kept_trials

_IDENTITY = "energyopt"
_BINDING = "energyopt_provenance"
DEFAULT_SETUP = "default_setup"
"""Attribute of the trial that trains the default setup, for comparison."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_ROWS = 200  # read at a time
_OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

# Our own columns of a trial, beside Optuna's tables and never in them.
_TABLES = sa.MetaData()
_TRIALS = sa.Table(
    "energyopt_trials",
    _TABLES,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("overrides", sa.Text, nullable=False),  # JSON list of words
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("lost", sa.Boolean, nullable=False),  # its retry counts, it does not
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=True),  # JSON of the whole TrialResult
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a study asks. Continuing it with any difference is refused.

    Attributes:
        metrics: The objectives.
        overrides: The fixed command-line words.
        sweep: The words that span the space.
        config: The resolved config without what may change (budgets, storage); None for
            another app, whose config is its own affair.
        target: Accuracy to reach; None for another app.
    """

    metrics: tuple[Metric, ...]
    overrides: tuple[str, ...]
    sweep: tuple[str, ...]
    config: Mapping[str, Any] | None
    target: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "overrides": list(self.overrides),
            "sweep": list(self.sweep),
            "config": self.config,
            "target": self.target,
        }


def check_name(name: str) -> None:
    """Refuse study names that are no safe file names.

    Raises:
        StudyError: Saying what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"study={name!r} is not a name: up to 100 letters, digits, '.', '_', '+' and '-', "
            "beginning with a letter or digit"
        )


class StudyStore:
    """One study, asked and told by the one coordinator that holds it.

    Args:
        study: Optuna's.
        storage: Where it lives, with our own table beside.
    """

    def __init__(self, study: Study, storage: RDBStorage, url: str) -> None:
        self._study = study
        self._storage = storage
        self._url = url
        self._id = storage.get_study_id_from_name(study.study_name)

    @classmethod
    def open(
        cls,
        where: str,
        name: str,
        identity: Identity,
        make_sampler: Callable[[int], BaseSampler],
    ) -> StudyStore:
        """Create a study, or take up one that asks the same.

        Args:
            where: A file or a SQLAlchemy URL.
            name: The study's name.
            identity: What it asks.
            make_sampler: Makes the sampler, given the number of trials there are.

        Raises:
            StorageError: If the database cannot be used.
            StudyError: If the study exists and asks something else.
        """
        check_name(name)
        storage = open_database(where, create=True)
        url = storage_url(where)
        with speaking(url), quiet_optuna():
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=[metric.direction for metric in identity.metrics],
                load_if_exists=True,
            )
            _TABLES.create_all(storage.engine)
            known = study.user_attrs.get(_IDENTITY)
            if known is not None:
                _check_same(name, known, json.loads(json.dumps(identity.to_dict())))
            _check_metrics(study, identity.metrics)
            if known is None:
                study.set_metric_names([metric.name for metric in identity.metrics])
                study.set_user_attr(_IDENTITY, identity.to_dict())
            study.sampler = make_sampler(len(study.get_trials(deepcopy=False)))
        return cls(study, storage, url)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    def ask(self) -> Trial:
        """A new trial, or the next planned one."""
        with speaking(self._url), quiet_optuna():
            return self._study.ask()

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """For suggestions, which write to the database: say its errors in a sentence."""
        with speaking(self._url), quiet_optuna():
            yield

    def plan(self, params: Mapping[str, Any], *, default: bool = False) -> None:
        """Queue a setup, the default one or another: the next `ask` takes it."""
        marks = {DEFAULT_SETUP: True} if default else None
        with speaking(self._url), quiet_optuna():
            self._study.enqueue_trial(dict(params), user_attrs=marks)

    def retry(self, number: int) -> None:
        """Queue a lost trial's setup again, as far as it was planned or suggested."""
        with speaking(self._url), quiet_optuna():
            trials = self._study.get_trials(deepcopy=False)
            trial = next(trial for trial in trials if trial.number == number)
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if params:
            self.plan(params, default=bool(trial.user_attrs.get(DEFAULT_SETUP)))

    def tell(
        self,
        trial: Trial | FrozenTrial,
        outcome: Outcome,
        overrides: Sequence[str],
        *,
        lost: bool = False,
    ) -> None:
        """Store how a trial ended, whole: our record first, Optuna's state last."""
        with speaking(self._url), quiet_optuna():
            self._keep(trial, outcome, overrides, lost=lost)
            if isinstance(trial, Trial):
                for key, violation in outcome.constraints.items():
                    trial.set_constraint(key, violation)
                attributes = dict(outcome.attributes)
                if outcome.state != "complete" and outcome.reason:
                    attributes["reason"] = outcome.reason
                for key, value in attributes.items():
                    trial.set_user_attr(key, value)
            values = list(outcome.values) if outcome.state == "complete" else None
            self._study.tell(trial.number, values, state=_OPTUNA_STATES[outcome.state])

    def running(self) -> list[FrozenTrial]:
        """Trials that were asked for and not told."""
        with speaking(self._url):
            return list(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def counted(self) -> int:
        """Trials that count towards `n_trials`: all that ended, but for the lost."""
        with speaking(self._url):
            ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
            trials = self._study.get_trials(deepcopy=False, states=ended)
            with self._storage.engine.connect() as connection:
                lost = connection.execute(
                    sa.select(sa.func.count()).where(_TRIALS.c.study_id == self._id, _TRIALS.c.lost)
                ).scalar_one()
            return len(trials) - int(lost)

    def seen(self) -> list[Mapping[str, Any]]:
        """Parameters of all trials that were not lost, the planned ones included."""
        query = sa.select(_TRIALS.c.number).where(_TRIALS.c.study_id == self._id, _TRIALS.c.lost)
        with speaking(self._url):
            with self._storage.engine.connect() as connection:
                lost = set(connection.execute(query).scalars())
            return [
                trial.params or dict(trial.system_attrs.get("fixed_params", {}))
                for trial in self._study.get_trials(deepcopy=False)
                if trial.number not in lost
            ]

    def bind(self, provenance: Provenance) -> None:
        """Bind the study to one provenance and device model.

        Raises:
            StudyError: If it is bound to another.
        """
        with speaking(self._url):
            known = self._study.user_attrs.get(_BINDING)
            if known is None:
                self._study.set_user_attr(_BINDING, list(provenance.binding))
                return
        if tuple(known) != provenance.binding:
            raise StudyError(
                f"study {self.name} holds joules {' / '.join(known)}, this machine gives "
                f"{' / '.join(provenance.binding)}; joules of two kinds do not mix: give the new "
                "measurements their own study=name"
            )

    def read(self) -> StudyRecord:
        """The whole study as a record."""
        return _read(self._study, self._storage, self._id, self._url)

    def _keep(
        self,
        trial: Trial | FrozenTrial,
        outcome: Outcome,
        overrides: Sequence[str],
        *,
        lost: bool,
    ) -> None:
        row = {
            "study_id": self._id,
            "number": trial.number,
            "overrides": json.dumps(list(overrides)),
            "is_default": bool(trial.user_attrs.get(DEFAULT_SETUP)),
            "lost": lost,
            "reason": outcome.reason,
            "result": json.dumps(outcome.result.to_dict()) if outcome.result else None,
        }
        with self._storage.engine.begin() as connection:
            same = (_TRIALS.c.study_id == self._id) & (_TRIALS.c.number == trial.number)
            connection.execute(sa.delete(_TRIALS).where(same))
            connection.execute(sa.insert(_TRIALS).values(row))


@contextmanager
def only_coordinator(where: str, name: str) -> Iterator[bool]:
    """Hold a study of an SQLite database for this process; the lock dies with it.

    Yields:
        Whether it is held: on a database server other coordinators may be at work.

    Raises:
        StorageError: If the folder of the database may not be written.
        StudyError: If another process holds it, or its name is none.
    """
    check_name(name)
    file = sqlite_file(storage_url(where))
    if file is None:
        yield False
        return
    make_folder(file.parent)
    path = file.with_name(f".{file.name}.{name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"the lock {path} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise StudyError(
                f"study {name} is being run by process {owner}; wait for it, stop it, or give "
                "this run another study=name"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def read_study(where: str, name: str) -> StudyRecord:
    """Read one study.

    Raises:
        StorageError: If the database cannot be read.
        StudyError: If there is no such study; the message lists those that are there.
    """
    storage = open_database(where, create=False)
    url = storage_url(where)
    with speaking(url), quiet_optuna():
        names = optuna.get_all_study_names(storage)
        if name not in names:
            there = ", ".join(sorted(names)) or "none yet"
            raise StudyError(f"there is no study {name!r} in {masked(url)}; there are: {there}")
        study = optuna.load_study(study_name=name, storage=storage)
        study_id = storage.get_study_id_from_name(name)
    return _read(study, storage, study_id, url)


def read_studies(where: str) -> list[StudyRecord]:
    """Read all studies, by name.

    Raises:
        StorageError: If the database cannot be read.
    """
    storage = open_database(where, create=False)
    with speaking(storage_url(where)), quiet_optuna():
        names = sorted(optuna.get_all_study_names(storage))
    return [read_study(where, name) for name in names]


def _check_metrics(study: Study, metrics: Sequence[Metric]) -> None:
    asked = [metric.direction for metric in metrics]
    there = ["minimize" if d == StudyDirection.MINIMIZE else "maximize" for d in study.directions]
    if asked != there:
        raise StudyError(
            f"study {study.study_name} has the directions {', '.join(there)}, this run asks for "
            f"{', '.join(asked)}; give it another study=name"
        )


def _check_same(name: str, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    before, now = _flat(known), _flat(asked)
    differences = [
        f"{key}: {before.get(key, 'not set')} -> {now.get(key, 'not set')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise StudyError(
            f"study {name} asks another question than this run ({'; '.join(differences)}); "
            "repeat its words to continue it, or give another study=name"
        )


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared: the space and the config (which the fixed words only lead to)."""
    flat: dict[str, Any] = {
        f"search of {key}": axis
        for key, _, axis in (word.lstrip("+").partition("=") for word in data["sweep"])
    }

    def descend(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                descend(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    descend("", data["config"] or {})
    return flat


def _read(study: Study, storage: RDBStorage, study_id: int, url: str) -> StudyRecord:
    with speaking(url), quiet_optuna():
        names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
        identity = study.user_attrs.get(_IDENTITY, {})
        with storage.engine.connect() as connection:
            trials = _records(connection, study_id)
    directions = [
        "minimize" if direction == StudyDirection.MINIMIZE else "maximize"
        for direction in study.directions
    ]
    return StudyRecord(
        name=study.study_name,
        metrics=tuple(Metric(n, d) for n, d in zip(names, directions, strict=True)),  # type: ignore[arg-type]
        overrides=tuple(identity.get("overrides", ())),
        sweep=tuple(identity.get("sweep", ())),
        target=identity.get("target"),
        trials=trials,
    )


def _records(connection: Connection, study_id: int) -> tuple[TrialRecord, ...]:
    records = {trial.number: _record(trial) for trial in kept_trials(connection, study_id)}
    if sa.inspect(connection).has_table(_TRIALS.name):  # else another program's database
        query = sa.select(_TRIALS).where(_TRIALS.c.study_id == study_id)
        # In parts: the texts of all results take more memory than the results.
        for row in connection.execution_options(yield_per=_ROWS).execute(query):
            if row.number in records:
                records[row.number] = _with_row(records[row.number], row)
    return tuple(records.values())


def _record(trial: KeptTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        params=trial.params,
        overrides=(),
        values=trial.values if trial.state == "complete" else (),
        feasible=trial.feasible,
    )


def _with_row(record: TrialRecord, row: sa.Row[Any]) -> TrialRecord:
    return replace(
        record,
        overrides=tuple(json.loads(row.overrides)),
        reason=row.reason,
        default=bool(row.is_default),
        result=TrialResult.from_dict(json.loads(row.result)) if row.result else None,
    )
