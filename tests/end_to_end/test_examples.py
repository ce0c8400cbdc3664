"""The programs in `examples/`, as their users start them."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.hardware.estimate import watts_per_core
from tests import snippets
from tests.conftest import ROOT, Program, need_package, pauses_in
from tests.training.runs import record


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
    assert "val_loss against training energy" in front.text
    with (program.folder / "front.csv").open() as file:
        assert list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_a_search_with_a_trainer_pauses_resumes_and_answers(
    trainer: str, energyopt: Program
) -> None:
    need_package(trainer)
    run_example(trainer, energyopt, "-m")
    assert max(pauses_in(energyopt.folder)) > 1  # one resumed, and paused
    check_front(energyopt, trainer, "--storage", "studies.db")


@pytest.mark.slow
def test_an_objective_of_optuna_is_searched_and_read_by_the_commands(energyopt: Program) -> None:
    run_example("optuna", energyopt)
    check_front(energyopt, "optuna")
    assert "Expected energy to 0.4" in energyopt.ok("recommend", "optuna").text
    energyopt.ok("report", "optuna")


def test_a_program_reports_with_at_most_six_lines() -> None:
    for name in ("pytorch", "ddp"):
        lines = (ROOT / "examples" / name / "train.py").read_text().splitlines()
        ours = [line for line in lines if "energyopt" in line or "run." in line]
        numbered = [line for line in ours if "#" in line]
        assert [int(line.split("# ")[1][0]) for line in numbered] == [1, 2, 3, 4, 5, 6]
        assert numbered == ours


def test_the_hydra_app_is_that_of_the_docs() -> None:  # where it runs: tests/docs/test_pages.py
    page = (ROOT / "docs/how-to/your-hydra-app.md").read_text()
    shown = {file.name: file.text.partition("\n")[2] for file in snippets.files(page)}
    for name in ("config.yaml", "train.py"):
        kept = (ROOT / "examples/hydra_app" / name).read_text()
        assert kept.endswith(shown[name].lstrip("\n"))


# Runs a program, and counts the CPU time of its process and children by itself.
COUNTED = """
import os, runpy, sys
import energyopt, hydra, torch.distributed, torch.nn.parallel, torch.utils.data.distributed

with energyopt.Run("warm-up", "min", 0, name="warm-up"):
    pass  # what it imports is not counted
before = os.times()
runpy.run_path("train.py", run_name="__main__")
used = [end - begin for begin, end in zip(before[:4], os.times()[:4])]
open(f"cpu-{os.environ.get('RANK', 0)}", "w").write(str(sum(used)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch", ()),
        ("ddp", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")),
    ],
)
def test_the_joules_are_those_that_the_training_counts_itself(
    name: str, words: tuple[str, ...], tmp_path: Path, energyopt: Program
) -> None:
    shutil.copy(ROOT / "examples" / name / "train.py", tmp_path)
    (tmp_path / "counted.py").write_text(COUNTED)
    ran = subprocess.run(
        [sys.executable, *words, "counted.py"],
        cwd=tmp_path,
        env=energyopt.environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    counted_s = sum(float(path.read_text()) for path in tmp_path.glob("cpu-*"))
    (folder,) = (tmp_path / "outputs/train").glob("*/*")
    result = record(folder)
    watts = watts_per_core(result.start.provenance)
    assert watts is not None
    assert result.hit is not None
    assert result.spent_j == pytest.approx(watts * counted_s, rel=0.05)
