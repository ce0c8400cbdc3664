"""Databases of an older energyopt are copied and brought up to date; those of a newer are left."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from energyopt.core.outcome import outcome_of, outcome_of_paused
from energyopt.errors import StorageError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.reader import read_study
from energyopt.storage.study_store import StudyStore
from tests.small_study import IDENTITY, NAME
from tests.toys import result

# Our only table in the first version, as it was made then.
_FIRST = """
    CREATE TABLE energyopt_trials (
        study_id INTEGER NOT NULL, number INTEGER NOT NULL, overrides TEXT NOT NULL,
        is_default BOOLEAN NOT NULL, lost BOOLEAN NOT NULL, reason TEXT NOT NULL, result TEXT,
        PRIMARY KEY (study_id, number))
"""


def opened(where: Path) -> StudyStore:
    return StudyStore.open(str(where), NAME, IDENTITY, RandomSampler)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database with a trial that is complete, and one that its run left running."""
    where = tmp_path / "a.db"
    store = opened(where)
    first = store.ask()
    assert first is not None
    first.suggest_float("lr", 0, 1)
    store.tell(first, outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy()), ["lr=0.5"])
    second = store.ask()
    assert second is not None
    second.suggest_float("lr", 0, 1)
    store._storage.engine.dispose()
    with sqlite3.connect(where) as database:
        rows = database.execute(
            "SELECT study_id, number, overrides, is_default, lost, reason, result "
            "FROM energyopt_trials WHERE ended"
        ).fetchall()
        for table in ("energyopt_trials", "energyopt_runs", "energyopt_schema"):
            database.execute(f"DROP TABLE {table}")
        database.execute(_FIRST)
        database.executemany("INSERT INTO energyopt_trials VALUES (?,?,?,?,?,?,?)", rows)
    database.close()
    return where


def test_an_old_database_is_copied_and_brought_up_to_date(old):
    before = read_study(str(old), NAME)  # reading changes nothing
    assert [trial.state for trial in before.trials] == ["complete", "running"]
    store = opened(old)
    assert store.note is not None
    assert "was made by an older energyopt and brought up to date; before: " in store.note
    (copy,) = old.parent.glob("a.db.before-*")
    assert read_study(str(copy), NAME) == before
    assert store.reap() == 1  # the trial of the run that died before the change
    again = store.ask()
    assert again is not None
    assert again.suggest_float("lr", 0, 1) == before.trials[1].params["lr"]
    store.tell(again, outcome_of(result([(100, 3, 0.95)]), EnergyVsAccuracy()), ["lr=0.5"])
    study = store.read()
    assert study.trials[0] == before.trials[0]
    assert [trial.state for trial in study.trials] == ["complete", "failed", "complete"]
    assert store.n_finished() == 2
    store.close()
    second = opened(old)
    assert second.note is None
    second.close()


def test_a_database_without_pauses_is_copied_and_brought_up_to_date(tmp_path):
    """Of the second version of our tables, whose trials could not pause."""
    where = tmp_path / "a.db"
    store = opened(where)
    trial = store.ask()
    assert trial is not None
    store.tell(trial, outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy()), ["lr=0.5"])
    store.close()
    with sqlite3.connect(where) as database:
        database.execute("DROP INDEX energyopt_trials_paused")
        database.execute("ALTER TABLE energyopt_trials DROP COLUMN paused")
        database.execute("UPDATE energyopt_schema SET version = 2")
    database.close()
    before = read_study(str(where), NAME)
    store = opened(where)
    assert store.note is not None
    (copy,) = where.parent.glob("a.db.before-*")
    assert read_study(str(copy), NAME) == before == store.read()
    assert store.paused() == 0
    again = store.ask()
    assert again is not None
    store.pause(again, outcome_of_paused(result([(100, 1, 0.5)], end="paused")), ["lr=0.1"])
    assert [trial.state for trial in store.read().trials] == ["complete", "paused"]
    store.close()


def test_a_newer_database_is_left_as_it_is(old):
    opened(old).close()
    with sqlite3.connect(old) as database:
        database.execute("UPDATE energyopt_schema SET version = 99")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    before = old.read_bytes()
    with pytest.raises(StorageError, match=r"was made by a newer energyopt \(tables of version 99"):
        opened(old)
    assert old.read_bytes() == before


def test_tables_of_another_optuna_are_left_as_they_are(old):
    opened(old).close()
    with sqlite3.connect(old) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    database.close()
    with pytest.raises(StorageError, match="has tables of another version of Optuna; it was left"):
        opened(old)


def test_a_server_is_brought_up_to_date_in_place(postgres):
    store = StudyStore.open(postgres, NAME, IDENTITY, RandomSampler)
    trial = store.ask()
    assert trial is not None
    store.tell(trial, outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy()), [])
    with store._storage.engine.begin() as connection:
        for column in ("run", "ended", "retried", "deaths", "outcome"):
            connection.exec_driver_sql(f"ALTER TABLE energyopt_trials DROP COLUMN {column}")
        for table in ("energyopt_runs", "energyopt_schema"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    store._storage.engine.dispose()
    again = StudyStore.open(postgres, NAME, IDENTITY, RandomSampler)
    assert again.note is None
    assert (again.reap(), again.n_finished()) == (0, 1)
    assert json.loads(json.dumps([t.state for t in again.read().trials])) == ["complete"]
    again.close()
