"""Studies with stopping=halving, as people run, interrupt and kill them."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.energy import total
from energyopt.core.journal import JournalReader
from energyopt.core.trial_result import TrialResult
from energyopt.training.checkpointing import NAME as PAUSED
from tests.conftest import ON_GPU, SPACE, Program, Wait, children_of, journal, size, trials_of
from tests.fake_nvml import FakeNvml

WORDS = ("-m", "task=wine", "model=mlp", "hardware=simulated", "epochs=8", "target=0.97")
HALVING = (*WORDS, *SPACE, "stopping=halving", "n_trials=8", "study=h")


def folder(program: Program) -> Path:
    return program.folder / "studies/h"


def burnt_j(program: Program) -> float:
    """Return the contents of all journals."""
    paths = folder(program).glob("*/progress.jsonl")
    return sum(total(w.energy for w in JournalReader(p).read().windows).total_j for p in paths)


def spent_j(program: Program) -> float:
    rows = trials_of(program, "h")
    return sum(TrialResult.from_dict(row["result"]).spent_j for row in rows if row["result"])


def paused(program: Program) -> list[int]:
    with sqlite3.connect(folder(program).parent / "energyopt.db") as database:
        rows = database.execute("SELECT number FROM energyopt_trials WHERE paused ORDER BY number")
        return [number for (number,) in rows]


def check_over(program: Program, n_trials: int = 8) -> list[dict[str, Any]]:
    """Check that a study is complete: all reported, nothing waits, all energy counted once."""
    rows = trials_of(program, "h")
    kept = [row for row in rows if row["state"] != "FAIL"]
    assert len(kept) == n_trials
    assert {row["state"] for row in kept} == {"COMPLETE", "PRUNED"}
    assert paused(program) == []
    assert spent_j(program) == pytest.approx(burnt_j(program))
    assert not list(folder(program).glob(f"*/{PAUSED}"))
    return rows


@pytest.mark.slow
def test_a_study_by_halving_says_what_pauses_and_what_goes_on(energyopt: Program) -> None:
    ran = energyopt.ok(*HALVING)
    assert "trial 1: paused after" in ran.text
    assert "paused trials will not resume: others are better with the same joules" in ran.text
    rows = check_over(energyopt)
    assert {row["reason"] for row in rows if row["state"] == "PRUNED"} == {"schedule: not promoted"}
    shown = energyopt.ok("show", "h", "--all").text
    assert "stopped early" in shown
    assert "The search cost" in shown
    again = energyopt.ok(*HALVING)
    assert "8 of them done before" in again.text
    assert trials_of(energyopt, "h") == rows


@pytest.mark.slow
def test_a_trial_that_went_on_is_the_training_that_did_not_pause(energyopt: Program) -> None:
    energyopt.ok(*HALVING)
    went_on = [
        row
        for row in trials_of(energyopt, "h")
        if row["number"] and row["result"]["end"] not in ("stopped", "paused")
    ]
    assert went_on
    ran = energyopt.ok(*WORDS[1:], *went_on[0]["overrides"], "hydra.run.dir=once")
    assert "Traceback" not in ran.text
    once = JournalReader(energyopt.folder / "once/progress.jsonl").read().result("epochs", "")
    assert once is not None
    resumed = TrialResult.from_dict(went_on[0]["result"])
    for column in ("samples", "steps", "accuracy", "loss"):
        assert getattr(resumed.checkpoints, column) == getattr(once.checkpoints, column)
    assert resumed.training_j == pytest.approx(once.training_j)  # it paid for nothing twice
    assert resumed.booked("loading").total_j > once.booked("loading").total_j  # but for this


@pytest.mark.slow
def test_what_a_trial_goes_on_with_is_its_owners_alone(energyopt: Program) -> None:
    ran = energyopt(*HALVING, ENERGYOPT_FAILPOINT="paused#3:kill")
    assert ran.code == -signal.SIGKILL
    files = list(folder(energyopt).glob(f"*/{PAUSED}"))
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    ["resumed#1", "paused#2", "told#2"],  # each step: tests/sweep/test_trial_queue.py
)
def test_a_killed_study_goes_on_where_it_was(energyopt: Program, step: str) -> None:
    killed = energyopt(*HALVING, ENERGYOPT_FAILPOINT=f"{step}:kill")
    assert killed.code == -signal.SIGKILL
    ran = energyopt.ok(*HALVING)
    assert "Traceback" not in ran.text
    rows = check_over(energyopt)
    assert len(rows) == 8  # what had paused lost nothing


# Trials that take their time: each evaluation comes after 20 epochs.
SLOW = ("-m", "task=wine", "model=mlp", "hardware=simulated", "epochs=1e6", "target=1")
ENDLESSLY = (
    *("trusted_targets=[endless]", "stopping=none", "eval_every=1000", "patience=null"),
    *("stopping.schedule={_target_: endless.Endless}", "study=h", "n_trials=2"),
)


def resumed_forever(program: Program, wait: Wait) -> tuple[Any, tuple[str, ...]]:
    """A study whose resumed trial runs as long as the test needs."""
    words = (*SLOW, "lr=interval(1e-5,1e-4)", *ENDLESSLY)
    (program.folder / "endless.py").write_text(ENDLESS)
    process = program.start(*words)
    wait(lambda: 0 in resumed(program))
    wait(lambda: size(journal(program, "h", 0)) > 12_000)
    return process, words


# Begins two trials that pause soon, then lets the first train for ever.
ENDLESS = """
from energyopt.search.schedule import Step

class Endless:
    def next_step(self, observed, *, can_begin):
        if can_begin:
            return Step(None, 10.0)
        waiting = [trial.number for trial in observed if trial.state == "paused"]
        return Step(waiting[0]) if 0 in waiting else None
"""


def resumed(program: Program) -> list[int]:
    """Return the trials whose journals say that they were resumed."""
    paths = folder(program).glob("*/progress.jsonl")
    return [int(path.parent.name) for path in paths if '"going on"' in path.read_text()]


@pytest.mark.slow
def test_an_interrupt_leaves_what_had_paused_paused(energyopt: Program, wait_for: Wait) -> None:
    process, words = resumed_forever(energyopt, wait_for)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    assert "Stopped after 0 of 2 trials. Nothing is lost: 2 are paused." in out
    assert "Traceback" not in out + err
    assert paused(energyopt) == [0, 1]
    assert spent_j(energyopt) == pytest.approx(burnt_j(energyopt))
    rows = trials_of(energyopt, "h")
    assert [row["state"] for row in rows] == ["RUNNING", "RUNNING"]
    assert rows[0]["result"]["end"] == "paused"
    assert rows[0]["result"]["books"]["restarted"]["cpu_j"] > 0
    shown = energyopt.ok("show", "h", "--all").text
    assert "2 trials (2 paused)" in shown
    again = energyopt.start(*words)
    wait_for(lambda: paused(energyopt) == [1])
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=20)
    assert "2 trials are paused, and may go on" in out
    assert spent_j(energyopt) == pytest.approx(burnt_j(energyopt))


@pytest.mark.slow
def test_a_killed_run_leaves_what_it_had_resumed_paused(energyopt: Program, wait_for: Wait) -> None:
    process, words = resumed_forever(energyopt, wait_for)
    process.kill()
    process.communicate()
    before_j = burnt_j(energyopt)
    again = energyopt.start(*words)
    wait_for(lambda: "restarted" in journal(energyopt, "h", 0).read_text())
    again.send_signal(signal.SIGINT)
    out, _ = again.communicate(timeout=20)
    assert "1 trial of a run that died: what they burnt counts" in out
    assert paused(energyopt) == [0, 1]
    assert spent_j(energyopt) == pytest.approx(burnt_j(energyopt))
    assert spent_j(energyopt) >= before_j
    assert len(trials_of(energyopt, "h")) == 2


@pytest.mark.slow
def test_a_resumed_trial_that_is_killed_has_failed_and_its_joules_count(
    energyopt: Program, wait_for: Wait
) -> None:
    process, _ = resumed_forever(energyopt, wait_for)
    (server,) = children_of(process.pid)
    (job,) = children_of(server)
    os.kill(job, signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert "failed: the trial's process was killed by SIGKILL" in out, out + err
    assert "Traceback" not in out + err
    rows = trials_of(energyopt, "h")
    assert [row["state"] for row in rows] == ["FAIL", "PRUNED"]  # nothing else was worth it
    assert spent_j(energyopt) == pytest.approx(burnt_j(energyopt))
    assert not list(folder(energyopt).glob(f"*/{PAUSED}"))


@pytest.mark.slow
def test_a_server_that_dies_leaves_what_it_had_resumed_paused(
    energyopt: Program, wait_for: Wait
) -> None:
    process, _ = resumed_forever(energyopt, wait_for)
    (server,) = children_of(process.pid)
    os.kill(server, signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "the server that runs the trials died" in err
    assert paused(energyopt) == [0, 1]
    assert spent_j(energyopt) == pytest.approx(burnt_j(energyopt))


@pytest.mark.slow
def test_a_pause_that_cannot_be_read_is_trained_again(energyopt: Program) -> None:
    killed = energyopt(*HALVING, ENERGYOPT_FAILPOINT="resumed#1:kill")
    assert killed.code == -signal.SIGKILL
    for path in folder(energyopt).glob(f"*/{PAUSED}"):
        path.write_bytes(b"nonsense")
    ran = energyopt.ok(*HALVING)
    assert "is trained again: the paused trial cannot go on:" in ran.text
    assert "Traceback" not in ran.text
    assert len([row for row in trials_of(energyopt, "h") if row["state"] != "FAIL"]) == 8


@pytest.mark.mostly_slow(every=3)
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("stopping.pause_at_j=3", "stopping.pause_at_j: there is no such key"),
        (
            "stopping.schedule=often",
            "stopping.schedule=often: auto, null or a node with a _target_",
        ),
        ("stopping.schedule.eta=1", "stopping.schedule.eta=1: a number above 1 is needed"),
        ("+stopping.schedule.zeta=1", "stopping.schedule.zeta: Halving has no such option"),
        (
            "stopping.schedule._target_=energyopt.storage.study_store.StudyStore",
            "is no option of energyopt",
        ),
        (
            "stopping.schedule={_target_: optuna.samplers.RandomSampler} stopping=none",
            "has no next_step; a schedule has next_step(observed, can_begin=...)",
        ),
    ],
)
def test_what_a_schedule_cannot_be_is_said_in_a_sentence(
    energyopt: Program, word: str, says: str
) -> None:
    key, *more = word.split(" stopping=")
    ran = energyopt(
        *HALVING[:-3], *(f"stopping={each}" for each in more or ["halving"]), key, "study=h"
    )
    assert ran.code == 2
    assert says in ran.text
    assert "Traceback" not in ran.text
    assert not (energyopt.folder / "studies/energyopt.db").exists()


@pytest.mark.slow
def test_a_sampler_that_is_a_schedule_is_used_as_one(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(
        "from optuna.samplers import RandomSampler\n"
        "from energyopt.search.schedule import Step\n"
        "class Mine(RandomSampler):\n"
        "    def next_step(self, observed, *, can_begin):\n"
        "        return Step(None, 0.0) if can_begin else None\n"
    )
    words = (*WORDS, *SPACE, "n_trials=2", "sampler={_target_: mine.Mine}")
    ran = energyopt(*words, "study=h")
    assert "trial 0: paused after" in ran.text
    plain = energyopt(*words, "study=n", "stopping=none")
    assert "paused" not in plain.text


@pytest.mark.slow
def test_trials_of_a_paradigm_that_cannot_pause_train_to_their_ends(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(
        "from energyopt.paradigms.scratch import Scratch\n"
        "class Mine:\n"
        "    def __init__(self, task, model, optimizer, batch_size, epochs, seed, device):\n"
        "        self.inner = Scratch(task=task, model=model, optimizer=optimizer, epochs=epochs,\n"
        "            batch_size=batch_size, seed=seed, device=device)\n"
        "        self.epoch_samples = self.inner.epoch_samples\n"
        "        self.train, self.evaluate = self.inner.train, self.inner.evaluate\n"
    )
    ran = energyopt.ok(*HALVING, "paradigm=own", "paradigm._target_=mine.Mine")
    assert "trial 1: paused" not in ran.text
    assert "warning: cannot_pause: its paradigm cannot be paused" in ran.text
    rows = trials_of(energyopt, "h")
    assert {row["state"] for row in rows} == {"COMPLETE"}


@pytest.mark.slow
def test_trials_that_go_on_keep_the_power_limit_that_was_found(
    energyopt: Program, gpu_box: FakeNvml
) -> None:
    profile = (
        *("hardware.power_limit_w=profile", "hardware.power_step_w=50"),
        *("hardware.profile_slice_s=0.25", "hardware.profile_settle_s=0.05"),
    )
    long = ("epochs=60", "patience=null", "target=1", "eval_every=500")
    sweep = ("lr=interval(0.001,0.002)", "stopping=halving", "study=h", "n_trials=4")
    energyopt.ok("-m", *ON_GPU, *profile, *long, *sweep)
    rows = check_over(energyopt, 4)
    first, *others = [row["result"]["conditions"] for row in rows]
    assert first["profile"]["chosen_w"] == first["limit_w"] == 200
    assert [other["limit_w"] for other in others] == [200] * 3
    assert resumed(energyopt)
    assert all(other["profile"] is None for other in others)
    assert [gpu_box.limit_w(0), gpu_box.limit_w(1)] == [300, 300]


@pytest.mark.slow
def test_a_study_that_pauses_after_the_profile_knows_what_an_epoch_costs(
    energyopt: Program, gpu_box: FakeNvml
) -> None:
    (energyopt.folder / "peek.py").write_text(
        "from energyopt.search.schedule import Step\n"
        "class Peek:\n"
        "    def next_step(self, observed, *, can_begin):\n"
        "        return Step(None, 0.0) if can_begin and not observed else None\n"
    )
    words = (
        *("hardware.power_limit_w=profile", "hardware.power_step_w=50"),
        *("hardware.profile_slice_s=0.25", "hardware.profile_settle_s=0.05", "eval_every=100000"),
        *("lr=interval(0.001,0.002)", "stopping=none", "stopping.schedule={_target_: peek.Peek}"),
    )
    ran = energyopt.ok("-m", *ON_GPU, *words, "epochs=6000", "target=1", "study=h", "n_trials=2")
    assert "trial 0: paused after" in ran.text
    assert paused(energyopt) == [0]
    (row,) = trials_of(energyopt, "h")
    result = TrialResult.from_dict(row["result"])
    assert len(result.checkpoints) == 0
    assert result.epoch_j is not None
    assert result.conditions.profile is not None
    step_j = min(point.step_j for point in result.conditions.profile.points)
    assert result.epoch_j == pytest.approx(14 * step_j, rel=0.05)  # of which the last is short
    assert gpu_box.limit_w(0) == 300
