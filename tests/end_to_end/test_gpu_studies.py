"""Studies on pretend GPUs through the real command line: profiles, leases, and each way to die."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ON_GPU, TINY, Program, Wait, children_of, journal, size, trials_of
from tests.fake_nvml import UNPRIVILEGED, FakeNvml

PROFILE = (
    *("hardware.power_limit_w=profile", "hardware.power_step_w=50"),
    *("hardware.profile_slice_s=0.25", "hardware.profile_settle_s=0.05"),
)
# A trial of some seconds: 13 steps an epoch, 4 ms each and more.
LONG = ("epochs=60", "patience=null", "target=1", "eval_every=500")
ENDLESS = ("epochs=1e6", "patience=null", "target=1")
SWEEP = "lr=interval(0.001,0.002)"


def limits(box: FakeNvml) -> list[float]:
    return [box.limit_w(0), box.limit_w(1)]


def stale(program: Program) -> list[Path]:
    return list((program.folder / "run").glob("*.limit.json"))


# Profiles ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_profiling_finds_the_limit_that_the_physics_hide_and_restores_the_old_one(
    energyopt: Program, gpu_box: FakeNvml
):
    for gpu in gpu_box.state.gpu[:2]:
        gpu.limit_mw = 250_000  # neither the default nor the highest
    study = ("-m", *ON_GPU, *PROFILE, *LONG, SWEEP, "study=p")
    energyopt.ok(*study, "n_trials=2")
    first, second = (row["result"] for row in trials_of(energyopt, "p"))
    profile = first["conditions"]["profile"]
    # Energy a step is P / cbrt(P - 130): least at 195 W.
    assert profile["chosen_w"] == 200
    assert [at["limit_w"] for at in profile["points"]] == [300, 250, 200, 150, 100]
    assert profile["points"][2]["step_j"] < 0.98 * profile["points"][0]["step_j"]
    assert profile["points"][2]["step_s"] > 1.1 * profile["points"][0]["step_s"]
    assert profile["finished"]
    # The second trial has the same shape: it holds that limit from the start.
    assert second["conditions"]["profile"] is None
    assert second["conditions"]["limit_w"] == 200
    assert "profiling" not in second["books"]
    training_j = [each["books"]["training"]["gpu_j"] for each in (first, second)]
    assert training_j[0] == pytest.approx(training_j[1], rel=0.1)
    assert limits(gpu_box) == [250, 250]
    assert stale(energyopt) == []
    assert "profiling" in energyopt.ok("show", "p", "--all").out
    # A point is repeated at the limit that was found, without a search for it.
    front = energyopt.ok("pareto", "p", "--out", "front.csv")
    assert "points" in front.out
    text = (energyopt.folder / "front.csv").read_text()
    assert "hardware.power_limit_w=200" in text
    assert "power_limit_w=profile" not in text
    # Its report shows what was tried.
    energyopt.ok("report", "p")
    folder = energyopt.folder / "studies/p/report"
    tried = (folder / "tables/power.csv").read_text().splitlines()
    assert [float(line.split(",")[2]) for line in tried[1:]] == [300, 250, 200, 150, 100]
    assert {path.name for path in folder.glob("figures/power*")} == {
        "power_0_energy.svg", "power_0_time.svg",
    }  # fmt: skip
    # When the study is resumed, nothing is profiled either.
    energyopt.ok(*study, "n_trials=3")
    assert trials_of(energyopt, "p")[2]["result"]["conditions"]["limit_w"] == 200


@pytest.mark.slow
def test_without_permission_the_present_limit_stays_unless_strict(
    energyopt: Program, gpu_box: FakeNvml
):
    words = ("-m", *ON_GPU, *PROFILE, "epochs=1", SWEEP, "n_trials=1")
    ran = energyopt.ok(*words, "study=a", **{UNPRIVILEGED: "1"})
    assert "warning: no_power_limit: power limits may not be set" in ran.text
    (row,) = trials_of(energyopt, "a")
    assert "no_power_limit" in row["result"]["start"]["flags"]
    strict = energyopt(*words, "study=b", "hardware.strict=true", **{UNPRIVILEGED: "1"})
    assert strict.code == 2
    for remedy in ("root", "CAP_SYS_ADMIN", "zeusd"):
        assert remedy in strict.err
    assert gpu_box.changes() == []


@pytest.mark.slow
def test_limits_can_be_searched(energyopt: Program, gpu_box: FakeNvml):
    sweep = "hardware.power_limit_w=range(150,351,50)"
    words = ("-m", *ON_GPU, "epochs=1", "study=s", "n_trials=3")
    refused = energyopt(*words, sweep)
    assert refused.code == 2
    assert "350 is outside 100 to 300 W of Fake H200" in refused.text
    energyopt.ok(*words, "hardware.power_limit_w=range(150,301,50)", "sampler=random")
    rows = trials_of(energyopt, "s")
    held = [row["result"]["conditions"]["limit_w"] for row in rows]
    assert held[0] == 300  # the default setup leaves the limit
    assert set(held) <= {150, 200, 250, 300}
    assert [f"hardware.power_limit_w={limit_w:g}" for limit_w in held] == [
        row["overrides"][0] for row in rows
    ]
    assert limits(gpu_box) == [300, 300]


@pytest.mark.slow
def test_no_limit_above_the_users_cap_is_ever_set(energyopt: Program, gpu_box: FakeNvml):
    words = ("-m", *ON_GPU, "hardware.max_power_limit_w=200", "n_trials=2")
    swept = energyopt(*words, "epochs=1", "hardware.power_limit_w=range(150,251,50)", "study=s")
    assert swept.code == 2
    assert "250 is outside 100 to 200 W of Fake H200" in swept.text
    asked = energyopt(*words, "epochs=1", SWEEP, "hardware.power_limit_w=201", "study=a")
    assert asked.code == 2
    assert "at most hardware.max_power_limit_w=200 is needed" in asked.text
    energyopt.ok(*words, *PROFILE, *LONG, SWEEP, "study=p")
    profile = trials_of(energyopt, "p")[0]["result"]["conditions"]["profile"]
    assert [at["limit_w"] for at in profile["points"]] == [200, 150, 100]
    # But for the permission that is asked for, and the putting back, both of what is in force.
    assert {c.value for c in gpu_box.changes() if c.what == "limit"} == {100, 150, 200, 300}
    assert limits(gpu_box) == [300, 300]


@pytest.mark.slow
def test_an_estimate_refuses_limits_before_there_is_a_study(energyopt: Program):
    ran = energyopt("-m", "hardware=estimate", "hardware.power_limit_w=profile", SWEEP)
    assert ran.code == 2
    assert "sees no effect of a power limit" in ran.text
    assert not (energyopt.folder / "studies" / "energyopt.db").exists()


# One trial a GPU ---------------------------------------------------------------------------


@pytest.mark.slow
def test_each_trial_has_a_gpu_of_its_own(energyopt: Program, gpu_box: FakeNvml):
    ran = energyopt.ok("-m", *ON_GPU, "epochs=4", SWEEP, "n_trials=4", "n_jobs=3", "study=two")
    assert "n_jobs=3, but there are GPUs for 2 trials at a time" in ran.text
    used = [row["result"]["start"]["machine"]["gpus"] for row in trials_of(energyopt, "two")]
    assert all(len(gpus) == 1 for gpus in used)
    assert {gpus[0]["index"] for gpus in used} == {0, 1}


@pytest.mark.slow
def test_a_gpu_that_another_holds_is_said(energyopt: Program, gpu_box: FakeNvml, wait_for: Wait):
    first = begin(energyopt, wait_for, "hardware.gpus=[0]")
    held = ("epochs=1", "hardware.gpus=[0]", "hardware.lease_wait_s=0.2")
    for words in ((*ON_GPU, *held), ("-m", *ON_GPU, *held, SWEEP)):
        second = energyopt(*words)
        assert second.code == 2
        assert "GPU 0 (Fake H200) is held by process" in second.text
        assert "waiting" in second.text
        assert "hardware.lease_wait_s" in second.err
    other = energyopt.ok(*ON_GPU, "epochs=1", "hardware.lease_wait_s=0.2")
    assert "MEASURED" in other.out
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=10)
    energyopt.ok(*ON_GPU, *held)


@pytest.mark.slow
def test_a_study_that_has_begun_waits_for_its_gpu(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    words = ("-m", *ON_GPU, "epochs=8", "hardware.gpus=[0]", SWEEP, "n_trials=3")
    first = energyopt.start(*words, "study=one")
    wait_for(lambda: size(journal(energyopt, "one", 0)) > 0)
    # Its trials come between those of the other one; none is failed by that.
    energyopt.ok(*words, "study=two", "hardware.lease_wait_s=60")
    first.communicate(timeout=120)
    assert first.returncode == 0
    for study in ("one", "two"):
        assert [row["state"] for row in trials_of(energyopt, study)] == ["COMPLETE"] * 3


@pytest.mark.slow
def test_company_ends_the_study_before_it_begins(energyopt: Program, gpu_box: FakeNvml):
    gpu_box.processes(0, 4711)
    words = ("-m", *ON_GPU, "epochs=1", SWEEP, "n_trials=1", "hardware.gpus=[0]")
    ran = energyopt(*words)
    assert ran.code == 2
    assert "4711" in ran.text
    assert "hardware.shared=flag" in ran.text
    flagged = energyopt.ok(*words, "hardware.shared=flag", "study=f")
    assert "warning: shared_gpu" in flagged.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("hardware=nvidia", "hardware.gpus=[5]"), "5 is not one of the visible GPUs"),
        (("hardware=nvidia", "hardware.cpu=true"), "no RAPL energy counters"),
        (("hardware=rapl",), "no RAPL energy counters"),
    ],
)
def test_a_domain_that_yields_nothing_ends_the_study_before_its_first_trial(
    energyopt: Program, gpu_box: FakeNvml, words: tuple[str, ...], says: str
):
    if Path("/sys/class/powercap/intel-rapl:0").exists():
        pytest.skip("this machine has RAPL")
    ran = energyopt("-m", *words, SWEEP, "n_trials=1")
    assert ran.code == 2
    assert says in ran.text
    assert not (energyopt.folder / "studies" / "energyopt.db").exists()


# Each way to die ---------------------------------------------------------------------------


def begin(program: Program, wait: Wait, *words: str) -> subprocess.Popen[str]:
    """Start a study at 150 W whose trial does not end, and wait until it trains."""
    process = program.start(
        "-m", *ON_GPU, *ENDLESS, "hardware.power_limit_w=150", SWEEP, "study=d", *words
    )
    path = journal(program, "d", 0)
    wait(lambda: size(path) > 0 and '"training"' in path.read_text())
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_puts_the_limit_back(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait, number: int, code: int
):
    process = begin(energyopt, wait_for)
    assert 150 in limits(gpu_box)
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == code
    assert limits(gpu_box) == [300, 300]
    assert stale(energyopt) == []
    assert trials_of(energyopt, "d")[0]["result"]["books"]["training"]["gpu_j"] > 0


@pytest.mark.slow
def test_a_second_interrupt_puts_the_limit_back_too(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    process = begin(energyopt, wait_for)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    wait_for(lambda: limits(gpu_box) == [300, 300])


def trial_of(process: subprocess.Popen[str]) -> int:
    (server,) = children_of(process.pid)
    return max(children_of(server))


@pytest.mark.slow
def test_a_killed_trial_leaves_no_limit_behind(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    process = begin(energyopt, wait_for, "n_trials=2", "max_failures=1")
    os.kill(trial_of(process), signal.SIGKILL)
    process.communicate(timeout=20)
    assert limits(gpu_box) == [300, 300]
    assert "SIGKILL" in trials_of(energyopt, "d")[0]["reason"]


@pytest.mark.slow
def test_a_killed_coordinator_leaves_no_limit_behind(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    process = begin(energyopt, wait_for)
    process.kill()
    process.communicate()
    wait_for(lambda: limits(gpu_box) == [300, 300])
    assert stale(energyopt) == []


WORKERS = """
import os, signal, time
from slowed import Slowed

class Working(Slowed):
    def warm_up(self):
        for _ in range(3):
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                time.sleep(120)
                os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        lambda process: process.kill(),
        lambda process: os.killpg(process.pid, signal.SIGTERM),
    ],
    ids=["SIGKILL", "SIGTERM to all"],
)
def test_workers_of_a_trial_keep_no_limit_back(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait, end: Any
):
    (energyopt.folder / "working.py").write_text(WORKERS)
    words = (*ON_GPU, "paradigm._target_=working.Working", *ENDLESS)
    process = subprocess.Popen(
        [energyopt.python, "-m", "energyopt", "-m", *words, "hardware.power_limit_w=150", SWEEP,
         "study=d"],
        cwd=energyopt.folder, env=energyopt.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip
    path = journal(energyopt, "d", 0)
    wait_for(lambda: size(path) > 0 and '"training"' in path.read_text())
    assert 150 in limits(gpu_box)
    end(process)
    process.wait(timeout=20)
    wait_for(lambda: limits(gpu_box) == [300, 300])
    wait_for(lambda: not stale(energyopt))


@pytest.mark.slow
def test_a_training_by_itself_puts_back_what_was_left(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    kill_all(begin(energyopt, wait_for, "hardware.gpus=[1]"))
    assert limits(gpu_box) == [300, 150]
    ran = energyopt.ok(*TINY)
    assert "300 W, the power limit of GPU-" in ran.text
    assert limits(gpu_box) == [300, 300]


def kill_all(process: subprocess.Popen[str]) -> None:
    (server,) = children_of(process.pid)
    trial = trial_of(process)
    for pid in (server, process.pid, trial):
        os.kill(pid, signal.SIGSTOP)
    for pid in (server, process.pid, trial):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_after_all_were_killed_the_next_start_puts_it_back(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait
):
    kill_all(begin(energyopt, wait_for))
    wait_for(lambda: stale(energyopt) != [])
    assert 150 in limits(gpu_box)
    ran = energyopt.ok("-m", *TINY, SWEEP, "n_trials=1")  # whatever it is about
    assert "300 W, the power limit of GPU-" in ran.text
    assert limits(gpu_box) == [300, 300]
    assert stale(energyopt) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGTERM,
    ],
)
def test_a_training_by_itself_puts_it_back(
    energyopt: Program, gpu_box: FakeNvml, wait_for: Wait, number: signal.Signals
):
    process: Any = energyopt.start(*ON_GPU, *ENDLESS, "hardware.power_limit_w=150")
    runs = energyopt.folder / "studies" / "runs"
    wait_for(lambda: any('"training"' in p.read_text() for p in runs.glob("*/progress.jsonl")))
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert limits(gpu_box) == [300, 300]
