"""The programs in `examples/`, as their users start them."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Program, pauses_in
from tests.integrations.small_trainers import need_trainer


def run_example(name: str, program: Program, *words: str) -> str:
    """Run a program of `examples/` in its folder. Returns what it prints."""
    for path in (ROOT / "examples" / name).iterdir():
        shutil.copy(path, program.folder)
    ran = subprocess.run(
        [sys.executable, "train.py", *words],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def check_front(program: Program, study: str, *words: str) -> None:
    """Check that the commands read a study."""
    front = program.ok("pareto", study, *words, "--out", "front.csv")
    assert "Front: val_loss against training energy" in front.text
    with (program.folder / "front.csv").open() as file:
        assert list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_a_search_with_a_trainer_pauses_resumes_and_answers(
    trainer: str, energyopt: Program
) -> None:
    need_trainer(trainer)
    run_example(trainer, energyopt, "-m")
    assert max(pauses_in(energyopt.folder)) > 1  # one resumed, and paused
    check_front(energyopt, trainer, "--storage", "studies.db")


@pytest.mark.slow
def test_an_objective_of_optunas_is_searched(energyopt: Program) -> None:
    run_example("optuna", energyopt)
    check_front(energyopt, "optuna")
    assert "Expected energy to 0.4" in energyopt.ok("recommend", "optuna").text
    energyopt.ok("report", "optuna")
