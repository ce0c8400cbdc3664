"""All energy of a study's commands is accounted for: compared with what the system counted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from energyopt.core.study_record import StudyRecord
from energyopt.errors import StorageError, StudyError
from energyopt.storage.reader import read_study
from tests.conftest import Program

pytestmark = pytest.mark.slow

SEARCH = (
    *("-m", "task=wine", "model=mlp", "epochs=4", "target=0.9", "sampler=random", "stopping=none"),
    *("study=s", "hardware=estimate", "lr=tag(log,interval(1e-3,1e-1))"),
)

# Runs the command as its child, and prints the CPU time of it and of all that it left behind.
OUTSIDE = """
import ctypes, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to this process
code = subprocess.run([sys.executable, "-m", "energyopt", *sys.argv[1:]]).returncode
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
sys.exit(code)
"""


def study_in(folder: Path) -> StudyRecord:
    return read_study(str(folder / "studies" / "energyopt.db"), "s")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_the_lines_add_up_to_what_the_system_counted(energyopt: Program, tmp_path: Path):
    (tmp_path / "outside.py").write_text(OUTSIDE)
    used_s = 0.0
    for n_trials in (2, 3):  # a second command continues the study
        command = [str(energyopt.python), "outside.py", *SEARCH, f"n_trials={n_trials}"]
        ran = subprocess.run(
            command,
            cwd=tmp_path,
            env=energyopt.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        used_s += float(ran.stdout.splitlines()[-1])
    study = study_in(tmp_path)
    assert study.search_energy_j == pytest.approx(4 * used_s, rel=0.03)
    assert study.is_other_known
    assert ", other " in energyopt.ok("show", "s", "--all").text


def test_a_killed_command_keeps_its_energy(
    energyopt: Program, tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
):
    def has_trials() -> bool:
        try:
            study = study_in(tmp_path)
        except (StorageError, StudyError):
            return False
        return sum(trial.result is not None for trial in study.trials) > 1 and bool(study.commands)

    process = energyopt.start(*SEARCH, "n_trials=500")
    try:
        wait_for(has_trials)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    study = study_in(tmp_path)
    assert study.other_j is not None
    assert study.other_j > 4  # a second of imports at the very least


def test_a_dry_run_stores_nothing_and_says_when_a_search_pays_back(
    energyopt: Program, tmp_path: Path
):
    ran = energyopt.ok(*SEARCH, "n_trials=20", "--dry-run")
    assert "One epoch of the default configuration" in ran.text
    assert "Trainings until the search pays back: " in ran.text
    assert not list(tmp_path.rglob("*.db"))
    assert not (tmp_path / "studies").exists()
    refused = energyopt("dry_run=true", "task=wine")
    assert refused.code == 2
    assert "add -m and what to search" in refused.text
