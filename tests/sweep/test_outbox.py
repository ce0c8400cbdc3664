"""Results that cannot be stored are kept next to the journal, even on a full disk."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from energyopt.core.energy import Energy
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import JournalWriter
from energyopt.core.outcome import outcome_of
from energyopt.core.trial_result import TrialStart, Window
from energyopt.errors import JournalError, StorageError
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.outbox import NAME, Outbox
from tests.damage import flips
from tests.small_study import IDENTITY, SPACE, forked
from tests.small_study import NAME as STUDY
from tests.toys import ESTIMATED, result

START = TrialStart(0.9, 2, seed=1, provenance=ESTIMATED)
OUTCOME = outcome_of(result([(100, 2, 0.95)]), EnergyVsAccuracy())


@pytest.fixture
def spool(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "runs", SPACE.overrides, journals=False)


def asked(tmp_path: Path, name: str = "a.db"):
    store = StudyStore.open(str(tmp_path / name), STUDY, IDENTITY, RandomSampler)
    trial = store.ask()
    assert trial is not None
    frozen = store._study.get_trials()[trial.number]
    store._storage.engine.dispose()
    return trial, frozen


def test_what_is_kept_comes_back(tmp_path, spool):
    trial, frozen = asked(tmp_path)
    path = spool.keep(trial, ["lr=0.5"], OUTCOME)
    assert path.name == NAME
    left = spool.remains(frozen)
    assert left.outcome == OUTCOME
    assert left.overrides == ("lr=0.5",)
    spool.clear(trial.number)
    assert spool.remains(frozen).outcome is None


def test_what_another_study_of_that_name_left_is_not_told(tmp_path, spool):
    trial, _ = asked(tmp_path)
    spool.keep(trial, ["lr=0.5"], OUTCOME)
    _, other = asked(tmp_path, "b.db")
    assert spool.remains(other).outcome is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"began": 1}', "null", '"x"'])
def test_what_is_damaged_says_nothing(tmp_path, spool, text):
    trial, frozen = asked(tmp_path)
    path = spool.keep(trial, [], OUTCOME)
    path.write_text(text)
    assert spool.remains(frozen).outcome is None


def test_a_flipped_bit_is_never_told(tmp_path, spool):
    trial, frozen = asked(tmp_path)
    path = spool.keep(trial, ["lr=0.5"], OUTCOME)
    for _ in flips(path, 200):
        left = spool.remains(frozen)
        assert left.outcome in (None, OUTCOME)
        assert left.outcome is None or left.overrides == ("lr=0.5",)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    trial, _ = asked(tmp_path)
    (tmp_path / "file").write_text("")
    spool = Outbox(tmp_path / "file", SPACE.overrides, journals=False)
    with pytest.raises(StorageError, match=r"untold\.json cannot be written: Not a directory"):
        spool.keep(trial, [], OUTCOME)


def test_space_is_set_aside_and_given_back(tmp_path, spool):
    spool.begin()
    (spare,) = (tmp_path / "runs").iterdir()
    assert spare.stat().st_blocks * 512 >= 1 << 20
    spool.end()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_file_that_may_not_grow_is_no_traceback(tmp_path, spool):
    """The limit of a file's size stands for a disk on which nothing is left."""
    trial, _ = asked(tmp_path)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        spool.keep(trial, ["lr=0.5"], OUTCOME)

    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        assert forked(work) == 2
    finally:
        signal.signal(signal.SIGXFSZ, before)
    assert list((tmp_path / "runs" / "0").iterdir()) == []


NEWER = '{"Phase": {"joules": 7}}\n'
SOME: list[TrialStart | Window] = [START, Window("training", Energy(1.0, cpu_j=4.0))]


def journalled(folder: Path, number: int, more: str = "") -> None:
    """The journal of a trial that used 4 J."""
    path = folder / str(number) / JOURNAL
    JournalWriter(path).append(*SOME)
    with path.open("a") as file:
        file.write(more)


def opened(tmp_path: Path, spool: Outbox) -> StudyStore:
    where = str(tmp_path / "a.db")
    return StudyStore.open(where, STUDY, IDENTITY, RandomSampler, remains=spool.remains, sole=True)


def test_a_trial_of_a_newer_version_stays_as_it_is(tmp_path: Path) -> None:
    """A run that cannot read it says so when it begins, and leaves it alone while it runs."""
    runs = tmp_path / "runs"
    spool = Outbox(runs, SPACE.overrides, journals=True)
    died = opened(tmp_path, spool)
    for number in range(2):
        trial = died.ask()
        assert trial is not None
        for axis in SPACE.dimensions:
            trial.suggest_float(axis.key, 0, 1)
        journalled(runs, number, NEWER if number == 0 else "")
    died._storage.engine.dispose()

    store = opened(tmp_path, spool)
    with pytest.raises(JournalError, match=r"runs/0/progress\.jsonl .* newer energyopt.*'Phase'"):
        store.reap()
    assert spool.progress(0) is None
    asked_for = store.ask()  # others continue
    assert asked_for is not None
    states = [trial.state for trial in store.read().trials]
    assert states[:2] == ["running", "failed"]
    store.close()

    text = (runs / "0" / JOURNAL).read_text()
    assert NEWER in text
    (runs / "0" / JOURNAL).write_text(text.replace(NEWER, ""))  # as if this one knew it now
    updated = opened(tmp_path, spool)
    updated.reap()
    first = updated.read().trials[0]
    assert first.state == "failed"
    assert first.result is not None
    assert first.result.spent_j == 4
    updated.close()
