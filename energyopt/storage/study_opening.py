"""Open a study for a run: create it or check that it asks the same, and enter the run.

While it enters, no other run decides anything in the study.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study

from energyopt.errors import StudyError
from energyopt.search.quiet import quiet_optuna
from energyopt.storage import run_leases as runs
from energyopt.storage.database import (
    lock_in_transaction,
    open_database,
    speaking,
    sqlite_file,
    storage_url,
)
from energyopt.storage.identity import IDENTITY, Identity, check_metrics, check_name, check_same
from energyopt.storage.run_leases import Run
from energyopt.storage.tables import prepare
from energyopt.utils.process import Process

GRACE_S = 600.0


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that a run has entered.

    Attributes:
        study: Optuna's.
        storage: Where it lives, with our own tables beside.
        url: The storage's.
        run: The one that entered.
        note: What opening it did, in a sentence; None where that is nothing.
    """

    study: Study
    storage: RDBStorage
    url: str
    run: Run
    note: str | None


@contextmanager
def open_study(
    where: str,
    name: str,
    identity: Identity,
    make_sampler: Callable[[int], BaseSampler],
    *,
    process: Process | None = None,
    grace_s: float = GRACE_S,
    sole: bool = False,
) -> Iterator[OpenStudy]:
    """Create a study, or take up one that asks the same, as a new run of it.

    A context manager for what is built upon the study: an error there, too, closes the storage and
    is said in a sentence.

    Args:
        where: A file or a SQLAlchemy URL.
        name: The study's name.
        identity: What it asks.
        make_sampler: Makes the sampler, given how many trials and runs there were before.
        process: Whose run it is; this one's if None.
        grace_s: How long the run may be silent before other hosts take it for dead, in s.
        sole: Whether a lock shows that no other run of the study lives.

    Raises:
        StorageError: If the database cannot be used.
        StudyError: If the study exists and asks something else, or another host runs it
            in a file.
    """
    check_name(name)
    storage = open_database(where, create=True)
    url = storage_url(where)
    with speaking(url), quiet_optuna(), _closed_on_error(storage):
        with lock_in_transaction(storage.engine) as lock:
            note = prepare(storage.engine, sqlite_file(url))
            study = _take_up(storage, name, identity)
            process = process or Process.this()
            run = _enter(storage, study, process, grace_s, alone=lock is None, sole=sole)
            before = len(study.get_trials(deepcopy=False)) + run.ordinal
            study.sampler = make_sampler(before)
        yield OpenStudy(study, storage, url, run, note)


@contextmanager
def _closed_on_error(storage: RDBStorage) -> Iterator[None]:
    try:
        yield
    except BaseException:
        storage.engine.dispose()
        raise


def _take_up(storage: RDBStorage, name: str, identity: Identity) -> Study:
    """The study of this name, new or one that asks the same."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[metric.direction for metric in identity.metrics],
        load_if_exists=True,
    )
    known = study.user_attrs.get(IDENTITY)
    if known is not None:
        check_same(name, known, json.loads(json.dumps(identity.to_dict())))
    check_metrics(study, identity.metrics)
    if known is None:
        study.set_metric_names([metric.name for metric in identity.metrics])
        study.set_user_attr(IDENTITY, identity.to_dict())
    return study


def _enter(
    storage: RDBStorage, study: Study, process: Process, grace_s: float, *, alone: bool, sole: bool
) -> Run:
    """Enter a run, and refuse a second one of another host where a file is the database."""
    study_id = storage.get_study_id_from_name(study.study_name)
    with storage.engine.begin() as connection:
        for run in runs.runs_of(connection, study_id):
            if sole or run.process == process:  # what it did before in this study is over
                runs.end(connection, run, asked=True)
            elif alone and not run.is_dead:
                raise StudyError(
                    f"study {study.study_name} is being run by {run}, heard {run.silent_s:.0f} s "
                    "ago; one host at a time runs a study in a file: wait for it, or share the "
                    "study in PostgreSQL (ENERGYOPT_STORAGE=postgresql+psycopg://...)"
                )
        return runs.begin(connection, study_id, process, grace_s)
