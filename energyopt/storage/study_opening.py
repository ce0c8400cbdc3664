"""Open a study for a run: create it or check its identity, and insert the run.

Meanwhile, no other run changes the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study

from energyopt.errors import StudyError
from energyopt.search.guarded_sampler import GuardedSampler
from energyopt.search.quiet import quiet_optuna
from energyopt.storage import run_leases as runs
from energyopt.storage.continuation import check_continues, keep_question
from energyopt.storage.database import (
    lock_in_transaction,
    open_database,
    sqlite_file,
    storage_errors,
    storage_url,
)
from energyopt.storage.identity import IDENTITY, Identity, check_any_name, check_metrics
from energyopt.storage.run_leases import Run
from energyopt.storage.tables import prepare
from energyopt.utils.process import Process

GRACE_S = 600.0


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that a run has opened."""

    study: Study
    sampler: GuardedSampler
    storage: RDBStorage
    url: str
    run: Run
    note: str | None  # about an upgrade of the tables


@contextmanager
def open_study(
    location: str,
    name: str,
    identity: Identity,
    make_sampler: Callable[[int], BaseSampler],
    *,
    process: Process | None = None,
    grace_s: float = GRACE_S,
    sole: bool = False,
) -> Iterator[OpenStudy]:
    """Create a study, or continue one of the same identity, as a new run of it.

    A context manager for what is built upon the study: an error there also closes the storage and
    becomes a `StorageError`.

    Args:
        location: A file or a SQLAlchemy URL.
        name: The study's name.
        identity: The study's identity.
        make_sampler: Returns the sampler, given the number of earlier trials and runs.
        process: The process of the run; this one if None.
        grace_s: Silence after which other hosts treat the run as dead, in s.
        sole: A lock shows that no other run of the study lives.

    Raises:
        StorageError: If the database cannot be used.
        StudyError: If the study exists with another identity, or another host runs it in a file.
    """
    check_any_name(name)
    storage = open_database(location, create=True)
    url = storage_url(location)
    with storage_errors(url), quiet_optuna(), _closed_on_error(storage):
        with lock_in_transaction(storage.engine) as lock:
            note = prepare(storage.engine, sqlite_file(url))
            study = _create_or_load(storage, name, identity)
            process = process or Process.this()
            run = _insert_run(storage, study, process, grace_s, is_file=lock is None, sole=sole)
            n_earlier = len(study.get_trials(deepcopy=False)) + run.ordinal
            study.sampler = sampler = GuardedSampler(make_sampler(n_earlier))
        yield OpenStudy(study, sampler, storage, url, run, note)


@contextmanager
def _closed_on_error(storage: RDBStorage) -> Iterator[None]:
    try:
        yield
    except BaseException:
        storage.engine.dispose()
        raise


def _create_or_load(storage: RDBStorage, name: str, identity: Identity) -> Study:
    """Return the study of this name, which is new or has the same identity."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[metric.direction for metric in identity.metrics],
        load_if_exists=True,
    )
    stored = study.user_attrs.get(IDENTITY)
    if stored is not None:
        check_continues(study, stored, identity)
    check_metrics(study, identity.metrics)
    if stored is None:
        study.set_metric_names([metric.name for metric in identity.metrics])
        study.set_user_attr(IDENTITY, identity.to_dict())
    keep_question(study, stored, identity)
    return study


def _insert_run(
    storage: RDBStorage,
    study: Study,
    process: Process,
    grace_s: float,
    *,
    is_file: bool,
    sole: bool,
) -> Run:
    """Insert a run; refuse a second host if the database is a file."""
    study_id = storage.get_study_id_from_name(study.study_name)
    with storage.engine.begin() as connection:
        for run in runs.runs_of(connection, study_id):
            if sole or run.process == process:  # an earlier run of this process is over
                runs.end(connection, run, has_trials=True)
            elif is_file and not run.is_dead:
                raise StudyError(
                    f"study {study.study_name} is being run by {run}, heard {run.silent_s:.0f} s "
                    "ago; one host at a time runs a study in a file: wait for it, or share the "
                    "study in PostgreSQL (ENERGYOPT_STORAGE=postgresql+psycopg://...)"
                )
        return runs.begin(connection, study_id, process, grace_s)
