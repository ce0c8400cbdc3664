"""Any sequence of asks, tells, deaths and settlings, against a plain model of what a study is."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from energyopt.core.outcome import outcome_of, outcome_of_paused
from energyopt.core.study_record import Outcome
from energyopt.errors import LeaseLostError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.reader import read_study
from energyopt.storage.reconciliation import RETRY_OF
from energyopt.storage.study_store import StudyStore
from energyopt.utils.process import Process
from tests.postgres import Postgres
from tests.small_study import IDENTITY, NAME
from tests.toys import result

_GRACE_S = 1000.0


class _Coordinator:
    """A run in the model: its trials, and the energy of each."""

    def __init__(self, store: StudyStore) -> None:
        self.store = store
        self.trials: dict[int, Trial] = {}
        self.taken_for_dead = False


class StudyMachine(RuleBasedStateMachine):
    """Several runs of one study on a server; each on a host of its own."""

    new_database: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.where = type(self).new_database()
        self.hosts = itertools.count()
        self.runs: list[_Coordinator] = []
        self.burnt_j: dict[int, float] = {}
        self.complete: dict[int, tuple[float, ...]] = {}
        self.waiting: set[int] = set()

    def teardown(self) -> None:
        for run in self.runs:
            run.store._storage.engine.dispose()

    @precondition(lambda self: len(self.runs) < 3)
    @rule()
    def start(self) -> None:
        host = f"host{next(self.hosts)}"
        process = Process(host, f"{host}/pid:[1]", 1, "1")
        store = StudyStore.open(
            self.where, NAME, IDENTITY, RandomSampler, process=process, grace_s=_GRACE_S
        )
        self.runs.append(_Coordinator(store))

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 2), value=st.floats(0, 1))
    def plan(self, which: int, value: float) -> None:
        self._run(which).store.plan({"lr": value, "momentum": 0.5})

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 2))
    def ask(self, which: int) -> None:
        run = self._run(which)
        trial = run.store.ask()
        assert trial is not None
        with run.store.storage_errors():
            trial.suggest_float("lr", 0, 1)
        run.trials[trial.number] = trial

    @precondition(lambda self: any(run.trials for run in self.runs))
    @rule(which=st.integers(0, 2), joules=st.integers(1, 9), data=st.data())
    def use_energy(self, which: int, joules: int, data: st.DataObject) -> None:
        """A trial uses energy, and its run stores it."""
        run, number = self._trial(which, data)
        spent = max(self.burnt_j.get(number, 0.0), joules)
        try:
            run.store.beat({number: result([(100, spent, 0.5)], end="lost")})
        except LeaseLostError:
            assert run.taken_for_dead
        else:
            self.burnt_j[number] = spent

    @precondition(lambda self: any(run.trials for run in self.runs))
    @rule(
        which=st.integers(0, 2),
        ending=st.sampled_from(["reached", "missed", "failed", "interrupted", "paused", "paused"]),
        data=st.data(),
    )
    def end(self, which: int, ending: str, data: st.DataObject) -> None:
        run, number = self._trial(which, data)
        trial = run.trials.pop(number)
        spent = max(self.burnt_j.get(number, 0.0), 1.0)
        training = result([(100, spent, 0.95 if ending == "reached" else 0.5)])
        try:
            if ending == "interrupted":
                run.store.lose(trial, [], "interrupted", "interrupted", training)
            elif ending == "failed":
                run.store.tell(trial, Outcome("failed", reason="broke", result=training), [])
            elif ending == "paused":
                run.store.pause(trial, outcome_of_paused(replace(training, end="paused")), [])
                self.waiting.add(number)
            else:
                outcome = outcome_of(training, EnergyVsAccuracy())
                run.store.tell(trial, outcome, [])
                self.complete[number] = outcome.values
        except LeaseLostError:
            assert run.taken_for_dead
        self.burnt_j[number] = spent  # kept, whatever became of the trial

    @precondition(lambda self: self.runs and self.waiting)
    @rule(which=st.integers(0, 2), data=st.data())
    def resume(self, which: int, data: st.DataObject) -> None:
        """Any run may resume a paused trial, and then owns it."""
        run = self._run(which)
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        waiting = run.store.resume(number)
        assert waiting is not None
        assert all(other.store.resume(number) is None for other in self.runs)
        self.waiting.remove(number)
        run.trials[number] = waiting.trial

    @precondition(lambda self: self.runs and self.waiting)
    @rule(which=st.integers(0, 2))
    def conclude(self, which: int) -> None:
        run = self._run(which)
        number = min(self.waiting)
        assert run.store.conclude_paused([number]) == [number]
        self.waiting.remove(number)

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 2))
    def fall_silent(self, which: int) -> None:
        """For others it is dead from now on; it may live on and tell."""
        run = self._run(which)
        with run.store._storage.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE energyopt_runs SET beat_s = beat_s - 5000 "
                f"WHERE ordinal = {run.store._run.ordinal}"
            )
        run.taken_for_dead = True

    @precondition(lambda self: len(self.runs) > 1)
    @rule(which=st.integers(0, 2))
    def die(self, which: int) -> None:
        self.fall_silent(which)
        run = self._run(which)
        self.runs.remove(run)
        run.store._storage.engine.dispose()

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 2))
    def settle(self, which: int) -> None:
        self._run(which).store.reap()

    @invariant()
    def the_study_is_whole(self) -> None:
        if not self.runs:
            return
        study = read_study(self.where, NAME)
        assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
        for number, values in self.complete.items():
            assert study.trials[number].state == "complete"
            assert study.trials[number].values == pytest.approx(values)
        frozen = self.runs[0].store._study.get_trials(deepcopy=False)
        retried = [t.user_attrs[RETRY_OF] for t in frozen if RETRY_OF in t.user_attrs]
        assert len(set(retried)) == len(retried), "a trial was retried twice"
        assert not set(retried) & (set(self.complete) | self.waiting)
        open_ = {trial.number for trial in study.trials if trial.state == "paused"}
        assert open_ == self.waiting
        seen = {each.number for each in self.runs[0].store.observed() if each.state == "paused"}
        assert seen == self.waiting
        assert study.search_energy_j == pytest.approx(sum(self.burnt_j.values()))

    def _run(self, which: int) -> _Coordinator:
        return self.runs[which % len(self.runs)]

    def _trial(self, which: int, data: st.DataObject) -> tuple[_Coordinator, int]:
        busy = [run for run in self.runs if run.trials]
        run = busy[which % len(busy)]
        return run, data.draw(st.sampled_from(sorted(run.trials)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_sequence_keeps_a_study_whole(postgres_server: Postgres) -> None:
    class OnServer(StudyMachine):
        new_database = staticmethod(postgres_server.database)

    _check(OnServer, 12)


@pytest.mark.slow
def test_some_sequences_keep_a_study_whole() -> None:
    """In a file: the runs take turns, as they must there."""

    class InFile(StudyMachine):
        new_database = staticmethod(lambda: str(Path(tempfile.mkdtemp()) / "a.db"))

        @precondition(lambda self: not self.runs)
        @rule()
        def start(self) -> None:
            super().start()

        @precondition(lambda self: self.runs)
        @rule(which=st.just(0))
        def die(self, which: int) -> None:
            super().fall_silent(which)
            run = self.runs.pop()
            run.store._storage.engine.dispose()

        @precondition(lambda self: False)
        @rule(which=st.just(0))
        def fall_silent(self, which: int) -> None:
            """A run that is silent and lives keeps its lock of the file."""

    _check(InFile, 10)


def _check(machine: Any, examples: int) -> None:
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()
