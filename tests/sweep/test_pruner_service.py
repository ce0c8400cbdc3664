"""Reports of running trials are told to Optuna, and its pruner's verdict gets back to the job."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalWriter
from energyopt.core.study_record import Metric, Outcome
from energyopt.core.verdict import Verdict, await_verdict
from energyopt.errors import TrialError
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.pruner_service import PrunerService
from tests.toys import result

IDENTITY = Identity((Metric("loss", "minimize"),), (), ("x=interval(0,1)",), None, None)
WAIT_S = 60.0


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[BasePruner], StudyStore]]:
    stores: list[StudyStore] = []

    def open_it(pruner: BasePruner) -> StudyStore:
        location = str(tmp_path / "study.db")
        stores.append(StudyStore.open(location, "toy", IDENTITY, lambda _: RandomSampler()))
        stores[-1].reports.use(pruner)
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


class Job:
    """A job that reports into its journal, as a `Run` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = JournalWriter(folder / JOURNAL)
        self.journal.append(result([(1, 1, 0.5)]).start)
        self.steps = itertools.count()

    def report(self, value: float) -> Verdict | None:
        step = next(self.steps)
        energy = Energy(1.0, cpu_j=1.0)
        point = Checkpoint(None, None, step + 1, value, None, energy, Energy(), index=step)
        self.journal.append(point)
        return await_verdict(self.folder, step, WAIT_S)


def asked(store: StudyStore) -> Trial:
    trial = store.ask()
    assert trial is not None
    return trial


def test_a_trial_that_a_pruner_ends_is_told_so(
    open_store: Callable[[BasePruner], StudyStore], tmp_path: Path
) -> None:
    store = open_store(optuna.pruners.ThresholdPruner(upper=0.6))
    service = PrunerService(store.reports, "threshold", "loss")
    first, second = asked(store), asked(store)
    one, other = Job(tmp_path / "0"), Job(tmp_path / "1")
    with service.following(0, one.folder), service.following(1, other.folder):
        assert one.report(0.5) == Verdict(0)
        assert other.report(0.4) == Verdict(0)
        ended = one.report(0.7)
        assert ended == Verdict(1, "threshold: at report 2 loss is 0.7")
    store.tell(first, Outcome("pruned", reason=str(ended and ended.reason)), ())
    store.tell(second, Outcome("complete", (0.4,), reports=(0.4, 0.3)), ())
    trials = store._study.trials
    assert [trial.state.name for trial in trials] == ["PRUNED", "COMPLETE"]
    # What no verdict was asked for is stored with the outcome.
    assert [t.intermediate_values for t in trials] == [{0: 0.5, 1: 0.7}, {0: 0.4, 1: 0.3}]
    assert store.read().trials[0].values == ()


def test_a_trial_is_compared_with_those_of_earlier_runs(
    open_store: Callable[[BasePruner], StudyStore], tmp_path: Path
) -> None:
    earlier = open_store(optuna.pruners.NopPruner())
    for value in (0.2, 0.4):
        earlier.tell(asked(earlier), Outcome("complete", (value,), reports=(value,)), ())
    store = open_store(optuna.pruners.MedianPruner(n_startup_trials=2))
    service = PrunerService(store.reports, "median", "loss")
    worse, better = asked(store), asked(store)
    for trial, value, is_pruned in ((worse, 0.5, True), (better, 0.1, False)):
        job = Job(tmp_path / str(trial.number))
        with service.following(trial.number, job.folder):
            verdict = job.report(value)
        assert verdict is not None
        assert (verdict.reason is not None) == is_pruned


def test_a_job_that_begins_again_is_answered_again(
    open_store: Callable[[BasePruner], StudyStore], tmp_path: Path
) -> None:
    store = open_store(optuna.pruners.NopPruner())
    service = PrunerService(store.reports, "nop", "loss")
    asked(store)
    job = Job(tmp_path / "0")
    with service.following(0, job.folder):
        assert [job.report(0.5), job.report(0.4)] == [Verdict(0), Verdict(1)]
        again = Job(tmp_path / "0")
        assert again.report(0.6) is not None
        assert again.report(0.3) is not None
    assert set(store._study.trials[0].intermediate_values) == {0, 1}


class Broken(BasePruner):
    """A pruner with a mistake."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Divide by zero."""
        return bool(1 / (study._study_id - study._study_id + len(trial.params)))


def test_a_pruner_that_raises_fails_the_trial_and_says_why(
    open_store: Callable[[BasePruner], StudyStore], tmp_path: Path
) -> None:
    store = open_store(Broken())
    service = PrunerService(store.reports, "Broken", "loss")
    asked(store)
    job = Job(tmp_path / "0")

    def report() -> None:
        with service.following(0, job.folder):
            verdict = job.report(0.5)
        assert verdict is not None
        assert verdict.reason is not None

    with pytest.raises(TrialError, match="pruner Broken: ZeroDivisionError: division by zero"):
        report()
