"""A round: a study is started, hit by faults, and run to its end by the same command."""

from __future__ import annotations

import contextlib
import fcntl
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.study_record import StudyRecord
from energyopt.errors import EnergyoptError
from energyopt.report.export.study_folder import write_folder
from energyopt.storage.exchange.importer import import_study
from energyopt.storage.exchange.plain import plain_study
from energyopt.storage.reader import read_study
from energyopt.storage.reconciliation import RETRY_OF
from energyopt.training.checkpointing import NAME as PAUSED
from tests import warm_python
from tests.chaos.faults import Fault, Server, faults, left_in, strike
from tests.conftest import Program

N_TRIALS = 4
STUDY = "chaos"
_WORDS = (
    *("-m", "task=wine", "model=mlp", "hardware=estimate", "epochs=60", "target=1"),
    *("patience=null", "sampler=random", f"n_trials={N_TRIALS}", f"study={STUDY}", "n_jobs=2"),
    *("max_failures=null", "heartbeat_s=0.5", "storage_wait_s=60", "seed=1"),
    "lr=tag(log,interval(1e-5,1e-4))",
)
_STOPPING = ("stopping=none", "stopping=halving")
_LIMIT_S = 120.0
_MAX_STARTS = 12
_POLL_S = 0.02
_EXPECTED = {0, 2, -9, -15, -2, 130, 143}
"""Exit codes of a command that was hit: none is that of a traceback."""

_HIT = ("killed by SIG", "with this setup")
"""Of the reasons of failed trials: they were killed, or their runs were, twice."""


@dataclass
class Round:
    """One round, and what it found.

    Attributes:
        seed: Of all rounds.
        number: Its number.
        with_server: Whether the study is on PostgreSQL.
        struck: The faults that hit a running process.
        starts: How often the command was started.
    """

    seed: int
    number: int
    with_server: bool = False
    struck: list[Fault] = field(default_factory=list)
    starts: int = 0
    _seen_j: dict[int, float] = field(default_factory=dict)
    _total_j: float = 0.0

    def play(self, folder: Path, server: Server | None = None, url: str | None = None) -> None:
        """Start a study in an empty folder, hit it, run it to its end, and check it.

        Raises:
            AssertionError: If something does not hold.
        """
        chance = random.Random(f"{self.seed}/{self.number}")
        program = Program(Path(sys.executable), folder)
        extra = {"ENERGYOPT_RUN_DIR": str(folder / "run")}
        env = program.environment(**extra, **({"ENERGYOPT_STORAGE": url} if url else {}))
        words = (*_WORDS, chance.choice(_STOPPING))
        storage = url or str(folder / "studies" / "energyopt.db")
        said = ""
        try:
            command = self._start(words, folder, env)
            for fault in faults(chance, N_TRIALS, with_server=self.with_server):
                while not command.ends_within(_POLL_S) and _n_begun(folder) < fault.n_begun:
                    pass
                if command.ends_within(fault.after_s):
                    said = self._finished(command)
                    command = self._start(words, folder, env)
                    continue
                self._look(storage)
                if strike(fault, command.pid, folder / "studies" / STUDY, server):
                    self.struck.append(fault)
            said = self._finished(command)
            while self._code != 0 and self.starts < _MAX_STARTS:
                self._look(storage)
                said = self._finished(self._start(words, folder, env))
            assert self._code == 0, "it does not come to its end"
            self._check(storage, folder)
        except AssertionError as error:
            raise AssertionError(f"{self}: {error}\n{said[-1500:]}") from error

    def __str__(self) -> str:
        hits = ", ".join(map(str, self.struck)) or "nothing"
        kind = " on PostgreSQL" if self.with_server else ""
        return f"seed {self.seed}, round {self.number}{kind}: hit by {hits}; {self.starts} starts"

    def _start(
        self, words: tuple[str, ...], folder: Path, env: Mapping[str, str]
    ) -> warm_python.Forked:
        self.starts += 1
        return warm_python.Forked(words, folder, env)

    def _finished(self, command: warm_python.Forked) -> str:
        self._code, out, err = command.finish(_LIMIT_S)
        assert self._code in _EXPECTED, f"exit code {self._code}\n{out}{err}"
        assert "Traceback" not in out + err, out + err
        return out + err

    def _look(self, storage: str) -> None:
        """Remember the energies that are stored: later ones may not be lower."""
        with contextlib.suppress(EnergyoptError):  # it is being made
            self._compare(read_study(storage, STUDY))

    def _compare(self, study: StudyRecord) -> None:
        for trial in study.trials:
            spent_j = trial.result.spent_j if trial.result else 0.0
            seen_j = self._seen_j.get(trial.number, 0.0)
            assert spent_j >= seen_j - 1e-9, f"trial {trial.number}: {spent_j} J after {seen_j} J"
            self._seen_j[trial.number] = spent_j
        trials_j = sum(self._seen_j.values())
        assert trials_j >= self._total_j - 1e-9
        self._total_j = trials_j

    def _check(self, storage: str, folder: Path) -> None:
        study = read_study(storage, STUDY)
        self._compare(study)
        _check_trials(study, storage)
        _check_accounts(study)
        assert not left_in(folder), "processes are left"
        assert not list(folder.glob(f"studies/{STUDY}/*/{PAUSED}*")), "states of pauses are left"
        assert not list(folder.glob(f"studies/{STUDY}/*/.*.*")), "partly written files are left"
        _check_leases(folder / "run")
        if not self.with_server:
            with contextlib.closing(sqlite3.connect(storage)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        _check_export(study, storage, folder)


def _n_begun(folder: Path) -> int:
    return len(list(folder.glob(f"studies/{STUDY}/*/{JOURNAL}")))


def _check_trials(study: StudyRecord, storage: str) -> None:
    """No trial is lost, none is trained twice."""
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    states = Counter(trial.state for trial in study.trials)
    assert set(states) <= {"complete", "pruned", "failed"}, states
    plain = plain_study(storage, STUDY)
    lost = {trial["number"] for trial in plain.trials if trial["row"]["lost"]}
    counted = [trial for trial in study.trials if trial.number not in lost]
    assert len(counted) == N_TRIALS, f"{len(counted)} trials count, {sorted(lost)} are lost"
    assert len({tuple(trial.params.items()) for trial in counted}) == N_TRIALS
    retried = Counter(trial["attributes"].get(RETRY_OF) for trial in plain.trials)
    for number in lost:
        n_retries = 1 if study.trials[number].params else 0
        assert retried[number] == n_retries, f"lost trial {number}: {retried[number]} retries"
    for trial in counted:
        is_hit = any(words in trial.reason for words in _HIT)
        assert is_hit if trial.state == "failed" else trial.result is not None, trial.reason


def _check_accounts(study: StudyRecord) -> None:
    """The energy of the commands is that which their trials booked, and the rest."""
    trials_j = sum(trial.result.spent_j for trial in study.trials if trial.result)
    assert study.search_energy_j == pytest.approx(trials_j + (study.other_j or 0.0))
    booked_j = sum(command.trainings.total_j for command in study.commands)
    assert booked_j <= trials_j + 1e-6, f"commands booked {booked_j} J, trials {trials_j} J"
    for command in study.commands:
        assert command.other is None or command.other.total_j >= -1e-6, command


def _check_leases(folder: Path) -> None:
    for path in folder.glob("*.lease"):
        with path.open() as lease:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _check_export(study: StudyRecord, storage: str, folder: Path) -> None:
    """An export can be imported, as the same study."""
    exported = folder / "exported"
    write_folder(plain_study(storage, STUDY), exported)
    again = import_study(exported, str(folder / "again.db"))
    assert [trial.state for trial in again.trials] == [trial.state for trial in study.trials]
    assert again.search_energy_j == pytest.approx(study.search_energy_j)
    shutil.rmtree(exported)
