"""Signals and crashes: energies are stored, and the same command resumes the study."""

from __future__ import annotations

import os
import resource
import signal
from typing import Any

import pytest

from tests.conftest import (
    SPACE,
    TINY,
    Program,
    Wait,
    children_of,
    journal,
    size,
    trials_of,
)

LONG = (
    *("task=wine", "model=mlp", "hardware=simulated", "epochs=1e6", "patience=null"),
    "stopping=none",  # nothing but the interrupt ends or pauses a trial
)


def begin(program: Program, wait: Wait, *words: str) -> Any:
    """Start a study whose trials do not end, and wait until one trains."""
    process = program.start("-m", *LONG, "target=1", "lr=interval(1e-5,1e-4)", "study=i", *words)
    wait(
        lambda: journal(program, "i", 0).exists() and journal(program, "i", 0).stat().st_size > 4000
    )
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.slow
def test_an_interrupt_keeps_the_books_and_says_how_to_go_on(
    energyopt: Program, wait_for: Wait, number: int, code: int
) -> None:
    process = begin(energyopt, wait_for)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Stopped after 0 of 20 trials. Nothing is lost" in out
    assert "Traceback" not in out + err
    rows = trials_of(energyopt, "i")
    assert [row["state"] for row in rows] == ["FAIL", "WAITING"]
    assert rows[0]["result"]["end"] == "interrupted"
    assert rows[0]["result"]["books"]["training"]["cpu_j"] > 0


def test_a_killed_run_is_taken_up_and_its_trial_retried_once(
    energyopt: Program, wait_for: Wait
) -> None:
    process = begin(energyopt, wait_for)
    second = energyopt("-m", *LONG, "target=1", "lr=interval(1e-5,1e-4)", "study=i")
    assert second.code == 2
    assert f"study i is being run by process {process.pid}" in second.text
    process.kill()
    process.communicate()
    before = journal(energyopt, "i", 0).stat().st_size
    again = begin_again(energyopt, wait_for)
    rows = trials_of(energyopt, "i")
    assert [(row["state"], row["lost"]) for row in rows] == [("FAIL", 1), ("RUNNING", 0)]
    assert rows[0]["reason"] == "its run died"
    assert rows[0]["result"]["books"]["training"]["cpu_j"] > 0
    # The dead coordinator's trial died with it: its journal did not grow on.
    assert journal(energyopt, "i", 0).stat().st_size - before < 100_000
    again.kill()
    again.communicate()


@pytest.mark.slow
def test_two_interrupts_end_at_once_and_nothing_is_lost(energyopt: Program, wait_for: Wait) -> None:
    process = begin(energyopt, wait_for)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    again = begin_again(energyopt, wait_for)
    rows = trials_of(energyopt, "i")
    assert [row["state"] for row in rows] == ["FAIL", "RUNNING"]
    assert rows[0]["lost"] == 1
    again.kill()
    again.communicate()


@pytest.mark.slow
def test_trials_are_lost_not_failed_when_what_runs_them_dies(
    energyopt: Program, wait_for: Wait
) -> None:
    process = begin(energyopt, wait_for)
    (server,) = children_of(process.pid)
    os.kill(server, signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "the server that runs the trials died; the same command goes on" in err
    rows = trials_of(energyopt, "i")
    assert [(row["state"], row["lost"]) for row in rows] == [("FAIL", 1), ("WAITING", None)]


def begin_again(program: Program, wait: Wait) -> Any:
    process = program.start("-m", *LONG, "target=1", "lr=interval(1e-5,1e-4)", "study=i")
    wait(lambda: size(journal(program, "i", 1)) > 0)
    return process


@pytest.mark.slow
def test_a_database_that_cannot_grow_loses_nothing(energyopt: Program) -> None:
    """A limit of each file's size stands for a disk that is full."""
    words = ("-m", *TINY, *SPACE, "study=i", "storage_wait_s=0.5", "heartbeat_s=0.2")
    energyopt.ok(*words, "n_trials=2")
    process = energyopt.start(*words, "n_trials=60")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, out + err
    assert "Traceback" not in out + err
    (said,) = err.strip().splitlines()
    assert "cannot be used: disk I/O error" in said
    energyopt.ok(*words, "n_trials=60")
    rows = trials_of(energyopt, "i")
    assert sum(row["state"] == "COMPLETE" for row in rows) == 60
    setups = [tuple(row["overrides"]) for row in rows if row["state"] == "COMPLETE"]
    assert len(set(setups)) == 60
