"""The energy of commands, stored while they run, and what of it no training booked."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from energyopt.analysis.break_even import energy_by_outcome_j, energy_by_purpose_j
from energyopt.analysis.energy_breakdown import study_uses
from energyopt.analysis.summary import summarize
from energyopt.core.energy import Energy
from energyopt.core.outcome import outcome_of
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.errors import StorageError
from energyopt.hardware.command_meter import CommandMeter, CommandMeters
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.objectives import EnergyVsAccuracy
from energyopt.report.account_view import counted
from energyopt.report.export.study_folder import write_folder
from energyopt.storage.command_account import CommandAccount
from energyopt.storage.exchange.importer import import_study
from energyopt.storage.exchange.plain import plain_study
from energyopt.storage.reader import read_study
from energyopt.storage.study_store import StudyStore
from energyopt.testing._records import make_result
from tests.small_study import IDENTITY, NAME

HERE = CpuTimeMeter().provenance


class Counter:
    """A counter of the whole command, which the test turns."""

    basis = "a counter"

    def __init__(self) -> None:
        self.energy_j = 0.0

    def total(self, gpus: Collection[str]) -> Energy:
        del gpus
        return Energy(cpu_j=self.energy_j)


class Meters(CommandMeters):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def choose(self, provenance: Provenance) -> CommandMeter | None:
        return None if super().choose(provenance) is None else self._counter


def opened(where: Path) -> StudyStore:
    return StudyStore.open(str(where), NAME, IDENTITY, RandomSampler)


def ask(store: StudyStore) -> Trial:
    trial = store.ask()
    assert trial is not None
    with store.storage_errors():
        trial.suggest_float("lr", 0, 1)
    return trial


def trained(energy_j: float, provenance: Provenance = HERE) -> TrialResult:
    return make_result([(100, energy_j, 0.95)], provenance=provenance)


def train(store: StudyStore, account: CommandAccount, result: TrialResult) -> None:
    trial = ask(store)
    account.began(trial.number, None)
    account.ended(trial.number, result)
    store.tell(trial, outcome_of(result, EnergyVsAccuracy()), ["lr=0.5"])


def search(where: Path, counter: Counter, *energies_j: float, **more: Any) -> None:
    """Run a command that trains, and uses 10 J for itself."""
    store = opened(where)
    account = store.account(Meters(counter), sole=True)
    for energy_j in energies_j:
        result = trained(energy_j, **more)
        train(store, account, result)
        counter.energy_j += result.spent_j
    counter.energy_j += 10
    account.record({})
    store.close()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def test_the_lines_add_up_to_what_the_commands_used(where: Path):
    counters = [Counter(), Counter()]
    search(where, counters[0], 2, 4)
    search(where, counters[1], 8)
    study = read_study(str(where), NAME)
    used_j = sum(counter.energy_j for counter in counters)
    assert study.other_j == pytest.approx(20)
    assert study.search_energy_j == pytest.approx(used_j)
    assert study.is_other_known
    assert sum(energy_by_purpose_j(study).values()) == pytest.approx(used_j)
    outcomes = {trial.number: "reached" for trial in study.trials}
    assert sum(energy_by_outcome_j(study, outcomes).values()) == pytest.approx(used_j)
    assert sum(use.total_j for use in study_uses(study, 0.9).values()) == pytest.approx(used_j)
    assert "all energy" in counted(summarize(study))


def test_the_budget_counts_what_no_training_booked(where: Path):
    search(where, Counter(), 2)
    store = opened(where)
    assert store.spent_j() == pytest.approx(read_study(str(where), NAME).search_energy_j)
    store.close()


def test_a_simulated_study_has_no_other(where: Path):
    search(where, Counter(), 2, provenance=dataclasses.replace(HERE, kind="simulated"))
    study = read_study(str(where), NAME)
    assert study.other_j is None
    assert study.search_energy_j == trained(2).spent_j
    assert "not simulated" in counted(summarize(study))
    assert "simulated joules" in study.commands[0].basis


def killed(where: Path) -> None:
    """Run a command that is killed while its second trial runs."""
    store, counter = opened(where), Counter()
    account = store.account(Meters(counter), sole=True)
    train(store, account, trained(2))
    running = ask(store)
    account.began(running.number, None)
    partial = trained(3)
    counter.energy_j = 2 + 3 + 10
    account.record({running.number: partial})
    store.beat({running.number: trained(3.5)})  # it trained further


def run_apart(work: Any, *arguments: Any) -> None:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_killed_command_keeps_what_it_recorded_and_no_joule_counts_twice(where: Path):
    run_apart(killed, where)
    study = read_study(str(where), NAME)
    assert study.search_energy_j == pytest.approx(15)
    assert study.other_j == pytest.approx(9.5)  # half a joule is booked by the trial since
    store = opened(where)
    store.reap()
    store.account(Meters(Counter()), sole=True)
    store.close()
    assert read_study(str(where), NAME).search_energy_j == pytest.approx(15)


def test_trials_elsewhere_are_no_part_of_the_command(where: Path):
    store, counter = opened(where), Counter()
    account = store.account(Meters(counter), are_jobs_here=False, sole=True)
    train(store, account, trained(5))
    counter.energy_j = 10
    account.record({})
    store.close()
    assert read_study(str(where), NAME).other_j == 10


def test_a_study_of_an_older_version_says_that_the_rest_is_unknown(where: Path):
    store = opened(where)
    trial = ask(store)
    store.tell(trial, outcome_of(trained(2), EnergyVsAccuracy()), ["lr=0.5"])
    store.close()
    study = read_study(str(where), NAME)
    assert study.other_j is None
    assert "are not metered" in counted(summarize(study))
    search(where, Counter(), 4)
    study = read_study(str(where), NAME)
    assert study.other_j == pytest.approx(10)
    assert not study.is_other_known
    assert "leaves out" in counted(summarize(study))


def test_commands_are_exported_and_imported(where: Path, tmp_path: Path):
    search(where, Counter(), 2, 4)
    study = read_study(str(where), NAME)
    plain = plain_study(str(where), NAME)
    assert plain.study["search_energy_j"] == pytest.approx(study.search_energy_j)
    again = write_folder(plain, tmp_path / "export")
    assert again.commands == study.commands
    assert import_study(tmp_path / "export", str(tmp_path / "b.db")).other_j == study.other_j
    assert read_study(str(tmp_path / "b.db"), NAME).commands == study.commands


def test_an_export_whose_sum_is_not_that_of_its_parts_is_refused(where: Path, tmp_path: Path):
    search(where, Counter(), 2)
    write_folder(plain_study(str(where), NAME), tmp_path / "export")
    file = tmp_path / "export" / "study.json"
    file.write_text(file.read_text().replace('"search_energy_j": 1', '"search_energy_j": 9'))
    with pytest.raises(StorageError, match=r"search_energy_j: .* the parts add up to"):
        import_study(tmp_path / "export", str(tmp_path / "b.db"))
