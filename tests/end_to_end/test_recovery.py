"""Whatever dies at whatever moment: no trial is lost, none counted twice, no joule forgotten."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from energyopt.core.outcome import outcome_of
from energyopt.core.study_record import Outcome
from energyopt.errors import LeaseLostError, StudyError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.reader import read_study
from energyopt.storage.run_leases import only_coordinator
from energyopt.storage.study_store import StudyStore
from tests import small_study
from tests.small_study import IDENTITY, NAME, UNTOUCHED, check, elsewhere, forked
from tests.toys import result

# Each step of a trial after which its process may be gone.
STEPS = (
    *("asked", "claimed", "suggested", "answered", "kept", "told"),  # of a trial that is trained
    *("lost", "failed", "retried"),  # of one that is settled
)


def opened(where: str, **more: object) -> StudyStore:
    return StudyStore.open(where, NAME, IDENTITY, RandomSampler, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.mark.mostly_slow(every=3)
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_killed_at_a_step_is_taken_up(where, folder, step):
    def run() -> None:
        small_study.run(where, folder, 3)

    if step in ("lost", "failed", "retried"):  # there must be something to settle
        assert forked(run, "suggested#2:kill") == -signal.SIGKILL
    nth = "" if step in ("lost", "failed", "retried") else "#2"
    assert forked(run, f"{step}{nth}:kill") == -signal.SIGKILL
    assert forked(run) == 0
    # A result stored before the crash is reported, not trained again; an unchosen trial is no loss.
    check(where, 3, retries=0 if step in ("kept", "told") else 1)
    assert forked(run) == 0  # and again: nothing changes
    check(where, 3)


@pytest.mark.slow
@pytest.mark.parametrize("nth", [5, 20, 35, 50, 65])
def test_a_fault_at_some_statements_costs_nothing(where, folder, nth):
    def run() -> None:
        small_study.run(where, folder, 3)

    for action in ("kill", "fail"):
        assert forked(run, f"sql#{nth}:{action}") in (0, 2, UNTOUCHED, -signal.SIGKILL)
    assert forked(run) == 0
    check(where, 3)


def at_once(count: int, work: Callable[[int], object]) -> list[int]:
    """Do something in several processes at the same time; their exit codes."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(forked(partial(work, number)) & 0xFF)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_eight_at_once_make_a_fresh_database(postgres, folder):
    codes = at_once(8, lambda _: opened(postgres).close())
    assert codes == [0] * 8


def test_eight_share_a_study_and_its_total_is_exact(postgres, folder):
    codes = at_once(8, lambda number: small_study.run(postgres, folder / str(number), 12))
    assert codes == [0] * 8
    check(postgres, 12, retries=0)


def test_eight_at_once_on_a_file_are_one(tmp_path, folder):
    where = str(tmp_path / "a.db")

    def slow(number: int) -> None:
        small_study.run(where, folder, 60)

    codes = at_once(8, slow)
    assert set(codes) <= {0, 2}
    assert 0 in codes
    check(where, 60, retries=0)


@pytest.mark.slow
def test_forty_queued_setups_are_trained_once_each(postgres, folder):
    store = opened(postgres)
    for number in range(40):
        store.plan({"lr": number / 40, "momentum": 0.25})
    store.close()
    assert at_once(8, lambda number: small_study.run(postgres, folder, 40)) == [0] * 8
    study = check(postgres, 40, retries=0)
    assert sorted(trial.params["lr"] for trial in study.trials) == [n / 40 for n in range(40)]


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.slow
def test_eight_who_settle_at_once_retry_once(postgres, round_):
    dead = opened(postgres, process=elsewhere("other"), grace_s=0.0)
    dead.plan({"lr": 0.5, "momentum": 0.5})
    dead.ask()
    time.sleep(0.05)

    def reap(_: int) -> None:
        store = opened(postgres)
        store.reap()
        store.close()

    assert at_once(8, reap) == [0] * 8
    dead._storage.engine.dispose()
    states = [trial.state for trial in read_study(postgres, NAME).trials]
    assert states == ["failed", "waiting"]


def test_a_run_of_another_host_lives_until_it_was_silent_for_long(postgres):
    other_store = opened(postgres, process=elsewhere("other"), grace_s=3600.0)
    other_store.ask()
    here = opened(postgres)
    assert [str(run) for run in here.others()] == ["process 1 on other"]
    assert here.reap() == 0
    other_store.beat({})
    assert here.reap() == 0
    for store in (here, other_store):
        store.close()


def test_a_run_that_was_taken_for_dead_notices_and_its_joules_are_kept(postgres):
    slept = opened(postgres, process=elsewhere("other"), grace_s=0.1)
    slept.plan({"lr": 0.5, "momentum": 0.5})
    trial = slept.ask()
    assert trial is not None
    time.sleep(0.2)
    here = opened(postgres)
    assert here.reap() == 1
    training = result([(100, 7, 0.95)])
    told = r"was silent for more than 0\.1 s and taken for dead"
    with pytest.raises(LeaseLostError, match=told):
        slept.beat({0: training})
    with pytest.raises(LeaseLostError, match=told):
        slept.tell(trial, outcome_of(training, EnergyVsAccuracy()), ["lr=0.5"])
    again = here.ask()
    assert again is not None
    here.tell(again, Outcome("complete", (1.0, 0.9)), [])
    study = here.read()
    assert [trial.state for trial in study.trials] == ["failed", "complete"]
    assert study.search_energy_j == 7
    assert study.results == ()  # what it found is not compared: it was run again
    for store in (here, slept):
        store.close()


def test_a_file_is_for_one_host(tmp_path):
    where = str(tmp_path / "a.db")
    other_store = opened(where, process=elsewhere("other"))
    with pytest.raises(
        StudyError, match=r"is being run by process 1 on other, heard \d+ s ago; one"
    ):
        opened(where)
    other_store.close()
    opened(where).close()


def test_a_lock_of_the_file_shows_that_nobody_else_lives(tmp_path):
    """After a reboot a process cannot be looked up, and its grace period is not waited for."""
    where = str(tmp_path / "a.db")
    before = opened(where, process=elsewhere("before-the-reboot"))
    before.plan({"lr": 0.5, "momentum": 0.5})
    before.ask()
    before._storage.engine.dispose()
    with only_coordinator(where, NAME) as sole:
        assert sole
        store = opened(where, sole=sole)
        assert store.reap() == 1
        store.close()


def test_two_runs_suggest_otherwise_and_one_alone_the_same(postgres, tmp_path):
    first, second = opened(postgres), opened(postgres, process=elsewhere("other"))
    values = []
    for store in (first, second, first, second):
        trial = store.ask()
        assert trial is not None
        values.append(trial.suggest_float("lr", 0, 1))
    assert len(set(values)) == 4
    alone = []
    for name in ("a", "b"):
        small_study.run(str(tmp_path / f"{name}.db"), tmp_path / name, 3)
        study = read_study(str(tmp_path / f"{name}.db"), NAME)
        alone.append([trial.params for trial in study.trials])
    assert alone[0] == alone[1]
    for store in (first, second):
        store.close()


def test_clocks_that_differ_harm_nobody(postgres, monkeypatch):
    other_store = opened(postgres, process=elsewhere("other"), grace_s=30.0)
    other_store.ask()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    here = opened(postgres)
    assert here.reap() == 0  # the server's clock counts
    for store in (here, other_store):
        store.close()
