"""A study belongs to runs that live: dead ones are known for dead, and on one host at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.errors import StudyError
from energyopt.storage.run_leases import only_coordinator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "studies.db")


# --- one coordinator

HOLD = """
import sys, time
from energyopt.storage.run_leases import only_coordinator
with only_coordinator(sys.argv[1], "toy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_study_is_run_by_one_process_and_free_when_that_dies(tmp_path, database):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, database], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyError) as caught, only_coordinator(database, "toy"):
            pass
        assert str(caught.value) == (
            f"study toy is being run by process {holder.pid}; wait for it, stop it, or give this "
            "run another study=name"
        )
        with only_coordinator(database, "other"), only_coordinator(f"{database}2", "toy"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    for _ in range(2):
        with only_coordinator(database, "toy"):
            lock = tmp_path / ".studies.db.toy.lock"
            assert lock.read_text() == str(os.getpid())


def test_other_databases_are_not_locked_by_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = "postgresql+psycopg://user@host/name"
    with only_coordinator(where, "toy") as alone, only_coordinator(where, "toy"):
        assert not alone
    assert list(tmp_path.iterdir()) == []
