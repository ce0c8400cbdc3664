"""The programs in `examples/`, as their users start them."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Program
from tests.integrations.small_trainers import need_trainer


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_a_search_with_a_trainer_pauses_resumes_and_answers(
    trainer: str, tmp_path: Path, energyopt: Program
) -> None:
    need_trainer(trainer)
    for path in (ROOT / "examples" / trainer).iterdir():
        shutil.copy(path, tmp_path)
    ran = subprocess.run(
        [sys.executable, "train.py", "-m"],
        cwd=tmp_path,
        env=energyopt.environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    paused = [line for line in ran.stdout.splitlines() if ": paused after" in line]
    assert any("trial 0:" in line for line in paused)
    assert len({line.split(":")[0] for line in paused}) < len(paused)  # one resumed, and paused
    front = energyopt("pareto", trainer, "--storage", "studies.db", "--out", "front.csv")
    assert front.code == 0, front.text
    with (tmp_path / "front.csv").open() as file:
        assert list(csv.DictReader(file))
