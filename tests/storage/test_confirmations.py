"""Confirmations are stored separately from trials, in both kinds of databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from optuna.samplers import RandomSampler

from energyopt.core.outcome import outcome_of
from energyopt.core.trial_result import TrialResult
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.confirmations import Confirmations
from energyopt.storage.reader import read_study
from energyopt.storage.study_store import StudyStore
from energyopt.storage.tables import CONFIRMATIONS, RUNS
from tests.small_study import IDENTITY, NAME
from tests.toys import result

HOUR_S = 3600.0
OTHER_RUN = {"host": "h", "place": "p", "pid": 1, "start": "", "grace_s": 1.0, "ended": True}
HIT = result([(100, 2, 0.95)])


def opened(where: str) -> StudyStore:
    return StudyStore.open(where, NAME, IDENTITY, RandomSampler)


def told(store: StudyStore, of: TrialResult) -> None:
    trial = store.ask()
    assert trial is not None
    trial.suggest_float("lr", 0, 1)
    store.tell(trial, outcome_of(of, EnergyVsAccuracy()), ["lr=0.5"])


@pytest.fixture
def study(where: str) -> str:
    """A storage with a study of one trial that used 2 J."""
    store = opened(where)
    told(store, HIT)
    store.close()
    return where


def test_trainings_are_kept_and_are_no_trials(study: str) -> None:
    with Confirmations.open(study, NAME) as books:
        first = books.begin(0, 1000, ("lr=0.5", "seed=1000"))
        books.end(first, "complete", HIT, test_accuracy=0.9)
        second = books.begin(0, 1001, ("lr=0.5", "seed=1001"))
        books.end(second, "failed", None, reason="out of memory")
        assert (first, second) == (0, 1)
        kept = books.all()
    record = read_study(study, NAME)
    assert record.confirmations == kept
    assert [(c.state, c.seed, c.reason) for c in kept] == [
        ("complete", 1000, ""),
        ("failed", 1001, "out of memory"),
    ]
    assert kept[0].result == HIT
    assert kept[0].test_accuracy == 0.9
    assert (record.search_energy_j, record.confirmation_j) == (4, 2)
    assert len(record.trials) == 1


def test_what_a_dead_process_left_is_closed_with_its_joules(study: str) -> None:
    with Confirmations.open(study, NAME) as books:
        dead = books.begin(0, 1000, ("seed=1000",))
        books.begin(0, 1001, ("seed=1001",))
        with books._storage.engine.begin() as connection:
            its_row = CONFIRMATIONS.c.number == dead
            connection.execute(sa.update(CONFIRMATIONS).where(its_row).values(start="0"))
        assert books.reap(lambda _: HIT, sole=False) == 1
        assert [c.state for c in books.all()] == ["lost", "running"]
        assert books.reap(lambda _: None, sole=True) == 1
        left, other = books.all()
    assert (left.result, left.reason) == (HIT, "what ran it died")
    assert other.result is None


def test_a_budget_counts_all_that_was_burnt_by_trials_of_all_runs(study: str) -> None:
    store = opened(study)
    assert store.spent_j() == 2
    told(store, result([(100, 3, 0.95)], end="failed"))
    assert store.spent_j() == 5
    running = store.ask()
    assert running is not None
    assert store.spent_j({running.number: result([(100, 4, 0.5)])}) == 9
    store.beat({running.number: result([(100, 3, 0.5)])})
    assert store.spent_j() == 8
    other = opened(study)
    assert other.spent_j() == 8
    other.close()
    store.lose(running, [], "interrupted", "interrupted", result([(100, 5, 0.5)], end="lost"))
    assert store.spent_j() == 10
    store.close()


def test_time_is_that_in_which_any_run_was_at_work(study: str) -> None:
    store = opened(study)
    rows = [
        dict(
            OTHER_RUN,
            study_id=store._run.study_id,
            ordinal=10 + n,
            began_s=began_h * HOUR_S,
            beat_s=beat_h * HOUR_S,
        )
        for n, (began_h, beat_h) in enumerate([(10, 11), (10.5, 12), (10.7, 10.8), (13, 14)])
    ]
    before_s = store.wall_time_s()
    with store._storage.engine.begin() as connection:
        connection.execute(sa.insert(RUNS), rows)
    assert (store.wall_time_s() - before_s) / HOUR_S == pytest.approx(3, abs=0.2)
    store.close()


def test_a_database_of_before_there_were_confirmations_is_brought_up_to_date(study: str) -> None:
    store = opened(study)
    with store._storage.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE energyopt_runs DROP COLUMN began_s")
        connection.exec_driver_sql("DROP TABLE energyopt_confirmations")
        connection.exec_driver_sql("UPDATE energyopt_schema SET version = 3")
    store._storage.engine.dispose()
    assert read_study(study, NAME).confirmations == ()  # reading changes nothing
    with Confirmations.open(study, NAME) as books:
        books.end(books.begin(0, 1000, ()), "complete", HIT)
    again = opened(study)
    assert again.spent_j() == 4
    assert again.wall_time_s() >= 0
    assert again.read().search_energy_j == 4
    again.close()
