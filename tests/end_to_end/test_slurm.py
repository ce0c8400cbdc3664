"""Trials as SLURM jobs, and coordinators in them, on a pretend cluster of one node."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.energy import total
from energyopt.core.journal import JournalReader
from energyopt.storage.reader import read_study
from tests import fake_slurm
from tests.conftest import SPACE, TINY, Program, Wait, journal, trials_of
from tests.fake_slurm import FakeSlurm, Job

pytestmark = pytest.mark.slow

AS_JOBS = ("hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1")

# Trains at leisure until there is a file "go".
WAITING = """
import time
from pathlib import Path
from energyopt import TrainStep

class Waiting:
    epoch_samples = 8

    def train(self, samples):
        sum(i * i for i in range(200_000))
        time.sleep(0 if Path("go").exists() else 0.2)
        return TrainStep(samples, 1, 1.0)

    def evaluate(self):
        return 0.5 if Path("go").exists() else 0.0
"""
OWN = (
    *("paradigm=own", "paradigm._target_=mine.Waiting", "hardware=estimate", "target=0.4"),
    *("sampler=tpe", "stopping=none"),
    *("epochs=1000", "patience=1", "objective=energy_to_target", "lr=choice(0.01,0.02)"),
)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    cluster = fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv("FAKE_SLURM", str(cluster.folder))
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield cluster
    cluster.end()


@pytest.fixture
def waiting(energyopt: Program) -> Program:
    """A program whose trials end when they are told to."""
    (energyopt.folder / "mine.py").write_text(WAITING)
    return energyopt


def go(program: Program) -> None:
    (program.folder / "go").touch()


def booked_j(program: Program, study: str, number: int) -> float:
    windows = JournalReader(journal(program, study, number)).read().windows
    return total(window.energy for window in windows).total_j


def has_burnt(program: Program, energy_j: float) -> bool:
    return booked_j(program, "s", 0) > energy_j


def has_restarted(job: Job, times: int) -> bool:
    return job.restarts == times and job.state == "RUNNING"


def spent_j(row: dict[str, Any], *purposes: str) -> float:
    books = row["result"]["books"]
    return float(sum(books[each]["cpu_j"] for each in purposes or books if each in books))


# One coordinator, each trial a job ----------------------------------------------------------


def test_each_trial_is_a_job_with_a_gpu(
    energyopt: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    ran = energyopt.ok("-m", *TINY, *SPACE, *AS_JOBS, "n_trials=4", "n_jobs=2", "study=s")
    assert "[4/4]" in ran.text
    assert [row["state"] for row in trials_of(energyopt, "s")] == ["COMPLETE"] * 4
    assert len(slurm.jobs) == 4
    wait_for(lambda: [job.state for job in slurm.jobs] == ["COMPLETED"] * 4)
    for job in slurm.jobs:
        assert job.options["gpus-per-node"] == "1"
        assert "array" not in job.options
    times = sorted(job.times for job in slurm.jobs)
    assert times[1][0] < times[0][1]  # two at a time


def test_a_preempted_trial_counts_once_and_keeps_the_joules_of_all_executions(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    process = waiting.start("-m", *OWN, *AS_JOBS, "n_trials=1", "study=s")
    burnt_j = 0.0
    for cut in range(2):
        wait_for(partial(has_burnt, waiting, burnt_j + 2))
        (job,) = slurm.jobs
        assert job.restarts == cut
        burnt_j = booked_j(waiting, "s", 0)
        slurm.preempt(job, [signal.SIGTERM, signal.SIGUSR2])
        wait_for(partial(has_restarted, job, cut + 1))
        assert booked_j(waiting, "s", 0) >= burnt_j
    wait_for(partial(has_burnt, waiting, burnt_j + 1))
    go(waiting)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert len(slurm.jobs) == 1
    (row,) = trials_of(waiting, "s")
    assert row["state"] == "COMPLETE"
    assert spent_j(row, "restarted") >= burnt_j
    assert spent_j(row) > spent_j(row, "restarted")
    curve = row["result"]["checkpoints"]
    assert sum(curve["training"]["cpu_j"]) <= spent_j(row, "training") * 1.001
    assert "restarted" in waiting.ok("show", "s", "--all").out


def test_a_job_that_dies_without_an_answer_fails_its_trial_alone(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    process = waiting.start("-m", *OWN, *AS_JOBS, "n_trials=2", "study=s")
    wait_for(lambda: booked_j(waiting, "s", 0) > 2)
    slurm.jobs[0].signal(signal.SIGKILL)
    go(waiting)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    dead, fine = trials_of(waiting, "s")
    assert (dead["state"], fine["state"]) == ("FAIL", "COMPLETE")
    assert "OUT_OF_MEMORY" in dead["reason"]
    assert spent_j(dead) > 2
    assert "Traceback" not in out + err


def test_ctrl_c_ends_the_coordinator_and_says_how_to_end_its_jobs(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    process = waiting.start("-m", *OWN, *AS_JOBS, "n_trials=2", "n_jobs=2", "study=s")
    wait_for(lambda: all(booked_j(waiting, "s", number) > 1 for number in (0, 1)))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    numbers = sorted(job.number for job in slurm.jobs)
    assert f"to end them: scancel {' '.join(numbers)}" in " ".join(out.split())
    assert [job.state for job in slurm.jobs] == ["RUNNING"] * 2
    for job in slurm.jobs:
        fake_slurm.cancel(job)
    wait_for(lambda: all(job.state == "CANCELLED" for job in slurm.jobs))
    assert all(spent_j(row) > 1 for row in trials_of(waiting, "s") if row["state"] == "FAIL")


# Coordinators in jobs -----------------------------------------------------------------------

SCRIPT = """#!/bin/bash
#SBATCH --gpus=1
#SBATCH --requeue
#SBATCH --signal=TERM@60
{more}
srun {python} -m energyopt {words}
"""


def script(*words: str, more: str = "") -> str:
    quoted = " ".join(f"'{word}'" for word in words)
    return SCRIPT.format(python=sys.executable, words=quoted, more=more)


def test_a_coordinator_that_is_preempted_goes_on_where_it_was(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    words = ("-m", *OWN, "n_trials=2", "study=s")
    (job,) = slurm.submit(script(*words), waiting.folder, waiting.environment())
    wait_for(lambda: booked_j(waiting, "s", 0) > 2)
    job.write("requeue", "")  # and so SIGTERM
    wait_for(lambda: job.restarts == 1)
    go(waiting)
    wait_for(lambda: job.state == "COMPLETED")
    assert "Stopped after 0 of 2 trials. Nothing is lost" in " ".join(job.output.split())
    rows = trials_of(waiting, "s")
    assert [row["state"] for row in rows] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert rows[0]["lost"] == 1
    assert spent_j(rows[0]) > 2


def test_an_array_on_sqlite_is_one_coordinator_and_a_sentence(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait
) -> None:
    words = ("-m", *OWN, "n_trials=1", "study=s")
    text = script(*words, more="#SBATCH --array=0-1")
    jobs = slurm.submit(text, waiting.folder, waiting.environment())
    wait_for(lambda: any(job.state == "FAILED" for job in jobs))
    go(waiting)
    wait_for(lambda: any(job.state == "COMPLETED" for job in jobs))
    (refused,) = (job for job in jobs if job.state == "FAILED")
    said = refused.output.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("energyopt: study s is being run by process")
    assert [row["state"] for row in trials_of(waiting, "s")] == ["COMPLETE"]


def test_an_array_on_postgresql_shares_a_study(
    waiting: Program, slurm: FakeSlurm, wait_for: Wait, postgres: str
) -> None:
    words = ("-m", *OWN, "n_trials=4", "study=s")
    text = script(*words, more="#SBATCH --array=0-1")
    environment = waiting.environment(ENERGYOPT_STORAGE=postgres)
    jobs = slurm.submit(text, waiting.folder, environment)
    wait_for(lambda: all(booked_j(waiting, "s", number) > 0 for number in (0, 1)))
    go(waiting)
    wait_for(lambda: all(job.state == "COMPLETED" for job in jobs))
    trials = read_study(postgres, "s").trials
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert [trial.default for trial in trials] == [True, False, False, False]
