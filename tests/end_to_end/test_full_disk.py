"""A disk that is full ends a run with a sentence, fails no trial, and costs no joules."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from energyopt.core.journal import JournalReader
from tests.conftest import SPACE, TINY, Program, trials_of

pytestmark = pytest.mark.slow

_ROOM = 48 << 10  # for the first trial alone


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The run folder of the study "full", on a file system of its own with little space."""
    folder = tmp_path / "studies" / "full"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_run_ends_on_a_full_disk_and_resumes_with_space(
    energyopt: Program, small_disk: Path
) -> None:
    words = ("-m", *TINY, *SPACE, "n_trials=4", "study=full", "max_failures=1")
    filler = small_disk / "filler"
    spare = 1 << 20  # which a run reserves
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - spare - _ROOM)
    ran = energyopt(*words)
    assert ran.code == 2
    assert "is trained again: the disk is full: " in ran.text
    assert "Traceback" not in ran.err
    before_j = _journalled_j(small_disk)
    filler.unlink()
    ran = energyopt.ok(*words)
    rows = [row for row in trials_of(energyopt, "full") if not row["lost"]]
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4
    assert _journalled_j(small_disk) >= before_j


def _journalled_j(folder: Path) -> float:
    journals = (JournalReader(path).read() for path in folder.glob("*/progress.jsonl"))
    return sum(window.energy.total_j for journal in journals for window in journal.windows)
