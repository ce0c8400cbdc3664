"""Whatever a trial does, it costs itself alone: its reason is told, its joules are kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import TINY, Program, gone, trials_of

FAULTY = """
import ctypes, faulthandler, os, resource, signal, subprocess, sys, time

import torch
from energyopt import TrainStep

def segfault():
    faulthandler.disable()
    ctypes.string_at(0)

def out_of_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    torch.zeros(1 << 32)

def out_of_python_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    bytearray(1 << 32)

def hang():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "300"])
    with open("child", "w") as file:
        file.write(str(child.pid))
    ctypes.PyDLL(None).sleep(300)

def poison():
    def broken(*_, **__):
        raise RuntimeError("device-side assert triggered")
    torch.zeros = torch.tensor = torch.randn = torch.Tensor.backward = broken
    broken()

FAULTS = {
    "none": lambda: None,
    "segfault": segfault,
    "memory": out_of_memory,
    "python_memory": out_of_python_memory,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "os_exit": lambda: os._exit(0),
    "sys_exit": lambda: sys.exit(0),
    "hang": hang,
    "poison": poison,
    "rubbish": lambda: None,
}

class Faulty:
    epoch_samples = 8

    def __init__(self, fault):
        self.fault, self.calls = fault, 0
        torch.zeros(3)  # what a poisoned process could not do

    def train(self, samples):
        sum(i * i for i in range(200_000))
        self.calls += 1
        if self.calls == 3:
            FAULTS[self.fault]()
            if self.fault == "rubbish":
                return None
        return TrainStep(samples, 1, 1.0)

    def evaluate(self):
        return 0.5
"""
KILLED = "the trial's process was killed by"
REASONS = {
    "segfault": f"{KILLED} SIGSEGV",
    "memory": "RuntimeError: ",  # torch's words
    "python_memory": "MemoryError",
    "killed": f"{KILLED} SIGKILL (out of memory?)",
    "os_exit": "the trial's process ended with exit code 0 before it answered",
    "sys_exit": "the job called sys.exit(0), and returned nothing",
    "hang": "the trial's process took longer than trial_timeout_s=6 and was ended",
    "poison": "RuntimeError: device-side assert triggered",
    "rubbish": "AttributeError: 'NoneType' object has no attribute 'samples'",
}


def by_choice(program: Program, study: str, key: str) -> dict[str, dict[str, Any]]:
    """The trials of a study by what was chosen for a key."""
    rows = trials_of(program, study)
    chosen = [next(w for w in row["overrides"] if w.lstrip("+").startswith(key)) for row in rows]
    return {word.partition("=")[2]: row for word, row in zip(chosen, rows, strict=True)}


@pytest.mark.slow
def test_each_fault_fails_its_trial_and_no_other(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(FAULTY)
    overrides = ("paradigm=own", "paradigm._target_=mine.Faulty", "hardware=estimate", "epochs=2")
    faults = ",".join([*REASONS, "none"])
    ran = energyopt(
        "-m", *overrides, f"+paradigm.fault=choice({faults})", "sampler=grid", "max_failures=null",
        "trial_timeout_s=6", "study=f",
    )  # fmt: skip
    assert ran.code == 3, ran.text  # most trials failed
    trials = by_choice(energyopt, "f", "paradigm.fault")
    assert trials.pop("none")["state"] == "COMPLETE"  # the last, after all that
    assert set(trials) == set(REASONS)
    for fault, row in trials.items():
        assert row["state"] == "FAIL"
        assert row["reason"].startswith(REASONS[fault])
        assert row["result"]["end"] == "failed"
        assert row["result"]["books"]["training"]["cpu_j"] > 0
        assert len(row["result"]["checkpoints"]["samples"]) == 2  # as far as it came
    assert 'mine.py", line' in ran.text
    assert gone(int((energyopt.folder / "child").read_text()))


METER = """
import time
from energyopt.core.trial_result import Energy, Provenance

RUBBISH = {
    1: lambda time_s: Energy(time_s, cpu_j=float("nan")),
    2: lambda time_s: Energy(time_s, cpu_j=-float("inf")),
    3: lambda time_s: Energy(time_s, cpu_j=-1.0),
    4: lambda time_s: Energy(time_s, cpu_j="1"),
    5: lambda time_s: None,
    6: lambda time_s: 1.0,
}

class Rubbish:
    def __init__(self, device, batch_size):
        self.provenance = Provenance("measured", "a plug", "1", "node", device, "here", "none")
        self.reads, self.windows = RUBBISH.get(batch_size), 0

    def start(self):
        self.began = time.perf_counter()

    def stop(self):
        time_s = time.perf_counter() - self.began
        self.windows += 1
        if self.reads and self.windows == 5:
            return self.reads(time_s)
        return Energy(time_s, cpu_j=100 * time_s)
"""
OWN_METER = ("hardware=own", "hardware.meter._target_=mine.Rubbish")


@pytest.mark.slow
def test_a_meter_that_reads_rubbish_fails_its_trial(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(METER)
    says = {
        "1": "the meter read cpu_j=nan, which cannot be",
        "2": "the meter read cpu_j=-inf, which cannot be",
        "3": "the meter read cpu_j=-1.0, which cannot be",
        "4": "the meter read cpu_j='1', which cannot be",
        "5": "the meter returned None; an Energy is expected",
        "6": "the meter returned 1.0; an Energy is expected",
    }
    ran = energyopt(
        "-m", *TINY, *OWN_METER, f"batch_size=choice({','.join(says)},64)", "sampler=grid",
        "max_failures=null", "study=m",
    )  # fmt: skip
    assert ran.code == 3, ran.text  # most trials failed
    trials = by_choice(energyopt, "m", "batch_size")
    assert trials.pop("64")["state"] == "COMPLETE"
    assert set(trials) == set(says)
    for choice, row in trials.items():
        assert row["state"] == "FAIL"
        assert row["reason"].startswith(says[choice])
        assert row["result"]["books"]["training"]["cpu_j"] > 0
    assert "Traceback" not in ran.text


@pytest.mark.slow
def test_a_meter_that_reads_nothing_is_refused_before_the_study(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(METER.replace("cpu_j=100 * time_s", "cpu_j=0.0"))
    ran = energyopt("-m", *TINY, *OWN_METER, "lr=choice(0.01,0.02)", "study=z")
    assert ran.code == 2
    assert "a plug read 0 J" in ran.text
    assert "Traceback" not in ran.text


OBJECTIVE = """
RUBBISH = {1: None, 2: float("nan"), 3: float("inf"), 4: (1.0, 2.0), 5: 0, 6: -2.5}

def told(result):
    return RUBBISH.get(result.start.seed, 1.0)
"""


@pytest.mark.slow
def test_an_objective_that_returns_rubbish_is_not_told(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OBJECTIVE)
    says = {
        "1": "FunctionObjective returned (None,); one finite number for each of energy_to_target_j",
        "2": "FunctionObjective returned (nan,); one finite number",
        "3": "FunctionObjective returned (inf,); one finite number",
        "4": "FunctionObjective returned (1.0, 2.0); one finite number",
        "5": "energy_to_target_j=0 cannot be: a training takes energy and time",
        "6": "energy_to_target_j=-2.5 cannot be: a training takes energy and time",
    }
    ran = energyopt(
        "-m", *TINY, f"seed=choice({','.join(says)},7)", "sampler=grid", "objective=own",
        "objective._target_=mine.told", "+objective.metrics={energy_to_target_j: minimize}",
        "max_failures=null", "study=o",
    )  # fmt: skip
    assert ran.code == 3, ran.text  # most trials failed
    trials = by_choice(energyopt, "o", "seed")
    assert trials.pop("7")["state"] == "COMPLETE"
    assert set(trials) == set(says)
    for seed, row in trials.items():
        assert row["state"] == "FAIL"
        assert row["reason"].startswith(says[seed])
        assert row["result"]["books"]["training"]["cpu_j"] > 0
    assert "Traceback" not in ran.text


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_other_launchers_refuse_a_time_that_they_would_not_keep(
    energyopt: Program, launcher: str
) -> None:
    words = ("lr=choice(0.01,0.02)", "trial_timeout_s=60", f"hydra/launcher={launcher}")
    ran = energyopt("-m", *TINY, *words)
    assert ran.code == 2
    assert f"trial_timeout_s=60: hydra/launcher={launcher} does not end trials" in ran.text
    assert len(ran.err.strip().splitlines()) == 1
