"""The main job through the real command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Program, children_of

SPACE = ("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(8,32)")
Wait = Callable[[Callable[[], bool]], None]


def trials_of(program: Program, study: str) -> list[dict[str, Any]]:
    """Our rows of a study, beside Optuna's state, by number."""
    query = """
        select t.number, t.state, e.overrides, e.lost, e.reason, e.result, e.is_default
        from trials t join studies s on s.study_id = t.study_id
        left join energyopt_trials e on e.study_id = s.study_id and e.number = t.number
        where s.study_name = ? order by t.number
    """
    with sqlite3.connect(program.folder / "studies/energyopt.db") as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute(query, [study])]
    for row in rows:
        row["overrides"] = json.loads(row["overrides"] or "[]")
        row["result"] = json.loads(row["result"] or "null")
    return rows


def journal(program: Program, study: str, number: int) -> Path:
    return program.folder / "studies" / study / str(number) / "progress.jsonl"


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# One training ------------------------------------------------------------------------------


def test_without_m_it_trains_once_and_prints_its_curve_and_joules(energyopt: Program) -> None:
    ran = energyopt.ok("task=wine", "model=mlp", "hardware=estimate", "epochs=2")
    assert "ESTIMATED by cpu-time x 4 W/core" in ran.text
    assert "estimated by cpu-time" in ran.text
    assert re.search(r"epoch samples training energy time accuracy", ran.text)
    assert re.search(r"Beside it: loading .*J, warmup .*J, evaluation .*J\.", ran.text)
    assert list(energyopt.folder.glob("studies/runs/*/progress.jsonl"))


def test_a_training_is_the_same_for_the_same_seed(energyopt: Program) -> None:
    words = ("task=har", "task.n_train=256", "model=cnn1d", "hardware=simulated", "epochs=2")

    def curve(*more: str) -> str:
        folder = f"run{len(list(energyopt.folder.iterdir()))}"
        energyopt.ok(*words, *more, f"hydra.run.dir={folder}")
        return (energyopt.folder / folder / "progress.jsonl").read_text()

    assert curve() == curve()
    assert curve() != curve("seed=1")


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_schedules_train(energyopt: Program, scheduler: str) -> None:
    energyopt.ok(*TINY, f"scheduler={scheduler}", "optimizer=sgd", "lr=0.1")


# A study -----------------------------------------------------------------------------------


def test_a_study_says_what_it_measures_finds_and_costs(energyopt: Program) -> None:
    ran = energyopt.ok("-m", *TINY, *SPACE, "n_trials=6", "study=toy")
    assert "SIMULATED by optimizer steps x made-up joules" in ran.text
    assert "trial 0 is the default setup: lr=0.001 batch_size=32" in ran.text
    assert "(moved into the space from batch_size=64)" in ran.text
    assert "[6/6] trial 5:" in ran.text
    assert "Front: accuracy against training energy, over all checkpoints of" in ran.text
    assert "Cheapest setup reaching 0.9:" in ran.text
    assert re.search(r"The worst setup that reached 0\.9 cost [\d.]+x the best", ran.text)
    assert "The search cost" in ran.text
    assert "Break-even:" in ran.text
    for command in ("pareto toy --out front.csv", "retrain toy --out", "study=toy n_trials=12"):
        assert f"python -m energyopt {command}" in ran.text or command in ran.text
    assert "Traceback" not in ran.text


def test_the_same_study_gives_the_same_numbers(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=3", "study=a")
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=3", "study=b")
    first, second = trials_of(energyopt, "a"), trials_of(energyopt, "b")
    assert [t["result"] for t in first] == [t["result"] for t in second]


def test_a_study_goes_on_where_it_was_and_repeats_nothing(energyopt: Program) -> None:
    study = ("-m", *TINY, *SPACE, "study=toy")
    energyopt.ok(*study, "n_trials=2")
    again = energyopt.ok(*study, "n_trials=2")
    assert "2 of them done before" in again.text
    assert "[3/" not in again.text
    more = energyopt.ok(*study, "n_trials=4", "n_jobs=2")
    assert "[4/4]" in more.text
    rows = trials_of(energyopt, "toy")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4
    assert len({tuple(row["overrides"]) for row in rows}) == 4
    assert [row["is_default"] for row in rows] == [1, 0, 0, 0]


def test_a_study_refuses_another_question_and_says_the_difference(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "study=toy")
    ran = energyopt("-m", *TINY, *SPACE, "n_trials=2", "study=toy", "model.width=8")
    assert ran.code == 2
    assert "study toy asks another question than this run (model.width: " in ran.text
    ran = energyopt("-m", *TINY, SPACE[0], "n_trials=2", "study=toy")
    assert "search of batch_size: choice(8,32) -> not set" in ran.text
    ran = energyopt("-m", *TINY, *SPACE, "n_trials=2", "study=toy", "objective=energy_to_target")
    assert ran.code == 2
    assert "objective._target_: energyopt.objectives.EnergyVsAccuracy -> " in ran.text


def test_a_study_without_a_name_gets_one_from_what_it_asks(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1")
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=2")  # the same question: the same study
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "seed=1")
    listed = energyopt.ok("studies").out
    assert len(re.findall(r"^wine-mlp-[0-9a-f]{8}", listed, re.MULTILINE)) == 2


def test_a_grid_trains_every_point_once(energyopt: Program) -> None:
    grid = ("-m", *TINY, "sampler=grid", "lr=choice(0.01,0.1)", "seed=range(0,2)", "study=g")
    capped = energyopt.ok(*grid, "n_trials=3")
    assert "the grid has 4 points, n_trials=3 trains the first of them" in capped.text
    energyopt.ok(*grid)
    rows = trials_of(energyopt, "g")
    assert [row["overrides"] for row in rows] == [
        [f"lr={lr}", f"seed={seed}"] for lr in (0.01, 0.1) for seed in (0, 1)
    ]


def test_a_conditional_space_suggests_only_what_exists(energyopt: Program) -> None:
    words = ("model=choice(mlp,gru)", "model.patch=choice(2,4)")
    fixed = ("task=har", "task.n_train=128", "hardware=simulated", "epochs=1", "study=c")
    energyopt.ok("-m", *fixed, *words, "sampler=random", "n_trials=6")
    overrides = [row["overrides"] for row in trials_of(energyopt, "c")]
    assert {len(words) for words in overrides if "model=mlp" in words} == {1}
    assert {len(words) for words in overrides if "model=gru" in words} == {2}
    refused = energyopt("-m", *fixed, *words, "sampler=grid")
    assert refused.code == 2
    assert "model.patch does not exist with model=mlp" in refused.text


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "gp", "random", "qmc"])
@pytest.mark.slow
def test_samplers(energyopt: Program, sampler: str) -> None:
    energyopt.ok("-m", *TINY, *SPACE, f"sampler={sampler}", "n_trials=12", "study=s")
    assert len(trials_of(energyopt, "s")) == 12


def test_a_sampler_of_ones_own(energyopt: Program) -> None:
    node = "sampler={_target_: optuna.samplers.TPESampler, n_startup_trials: 2}"
    ran = energyopt.ok("-m", *TINY, *SPACE, node, "n_trials=3", "study=s")
    assert "optuna.samplers.TPESampler over" in ran.text


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
@pytest.mark.slow
def test_other_launchers_carry_the_jobs(energyopt: Program, launcher: str) -> None:
    words = ("n_trials=3", "n_jobs=2", "study=l", f"hydra/launcher={launcher}")
    ran = energyopt.ok("-m", *TINY, *SPACE, *words)
    assert "SIMULATED by" in ran.text
    assert [row["state"] for row in trials_of(energyopt, "l")] == ["COMPLETE"] * 3


def test_fresh_processes_carry_the_jobs(energyopt: Program) -> None:
    words = ("n_trials=1", "study=l", "hydra.launcher.start_method=spawn")
    energyopt.ok("-m", *TINY, *SPACE, *words)
    assert [row["state"] for row in trials_of(energyopt, "l")] == ["COMPLETE"]


def test_objectives_that_stop_at_the_target(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, "lr=choice(0.03,0.1)", "objective=time_vs_energy", "n_trials=2",
                 "study=o")  # fmt: skip
    assert {row["result"]["end"] for row in trials_of(energyopt, "o")} == {"target"}


# Own code ----------------------------------------------------------------------------------

OWN_MODEL = """
from torch import nn

def build(input_shape, num_classes, hidden=8):
    if hidden == 13:
        raise RuntimeError("thirteen is unlucky")
    return nn.Sequential(
        nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )
"""

OWN_PARADIGM = """
from energyopt.protocols import Trained

class Pretend:
    epoch_samples = 100

    def __init__(self, lr):
        self.lr, self.seen = lr, 0

    def train(self, samples):
        self.seen += samples
        sum(i * i for i in range(20_000))
        return Trained(samples, 1, 1 / self.seen)

    def evaluate(self):
        return min(1.0, self.seen * self.lr / 100)
"""


def test_a_model_of_ones_own_in_a_file_of_this_folder(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL)
    own = ("model=own", "model._target_=my_net.build")
    energyopt.ok(*TINY, *own)
    sweep = ("-m", *TINY, *own, "+model.hidden=choice(8,13)", "sampler=grid", "study=own")
    ran = energyopt.ok(*sweep)
    assert "trial 1: failed: model (my_net.build) cannot be built" in ran.text
    assert "thirteen is unlucky" in ran.text
    assert [row["state"] for row in trials_of(energyopt, "own")] == ["COMPLETE", "FAIL"]


def test_a_training_loop_of_ones_own(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_PARADIGM)
    own = ("paradigm=own", "paradigm._target_=mine.Pretend", "+paradigm.lr=${lr}")
    ran = energyopt.ok("-m", *own, "lr=interval(0.05,0.5)", "hardware=estimate", "n_trials=3",
                       "target=0.3", "study=p")  # fmt: skip
    assert "Cheapest setup reaching 0.3" in ran.text


def test_configs_of_ones_own_in_a_folder(energyopt: Program) -> None:
    conf = energyopt.folder / "conf"
    (conf / "model").mkdir(parents=True)
    (conf / "far_net.py").write_text(OWN_MODEL)
    (conf / "model" / "mine.yaml").write_text("_target_: far_net.build\nhidden: 4\n")
    (conf / "night.yaml").write_text(
        "defaults:\n  - config\n  - override task: wine\n  - override model: mine\n"
        "  - override hardware: simulated\n  - _self_\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      lr: tag(log,interval(1e-3,1e-1))\n"
        "epochs: 3\nn_trials: 2\nstudy: night\n"
    )
    energyopt.ok("--config-dir", "conf", *TINY, "model=mine")
    ran = energyopt.ok("--config-dir", "conf", "--config-name", "night")
    assert "[2/2]" in ran.text
    assert "--config-name=night" in ran.text


def test_code_that_nobody_vouches_for_is_not_run(energyopt: Program) -> None:
    for target in ("os.system", "pathlib.Path.write_text", "joblib.load"):
        ran = energyopt(*TINY, "model=own", f"model._target_={target}")
        assert ran.code == 2
        assert "if you trust it, add 'trusted_targets=[" in ran.text


OWN_METER = """
import time
from energyopt.records import Energy, Provenance

class Plug:
    def __init__(self, device):
        self.provenance = Provenance("measured", "a plug", "1", "node", device, "here", "none")

    def start(self):
        self.began = time.perf_counter()

    def stop(self):
        time_s = time.perf_counter() - self.began
        return Energy(time_s, cpu_j=100 * time_s)
"""


# What goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lrr=3"], "lrr: there is no such key; did you mean lr?"),
        (["model=foo"], "model=foo: there is no such option; choose one of cnn, cnn1d"),
        (["nothing"], "there is no command 'nothing'; the commands are studies, show"),
        (["lr=choice(1,2"], "cannot be read"),
        (["lr=abc"], "lr=abc is not allowed: a number above 0 is needed"),
        (["batch_size=0"], "batch_size=0 is not allowed: a whole number of at least 1"),
        (["batch_size=1.5"], "batch_size=1.5 is not allowed"),
        (["target=95"], "target=95 is not allowed: a number above 0 and at most 1"),
        (["epochs=-1"], "epochs=-1 is not allowed"),
        (["device=tpu"], "device=tpu is not known; choose auto, cpu, cuda"),
        (["task=har"], "model=cnn needs images of shape (channels, height, width)"),
        (["+model.wdith=3"], "got an unexpected keyword argument 'wdith'"),
        (["hardware=replay"], "hardware.meter"),
        (["hardware=replay", "hardware.meter.path=no"], "hardware.meter.path=no: there is no such"),
        (["hardware.meter.watts_per_core=0"], "watts_per_core=0: a positive number"),
        (["--config-name", "gone"], "there is no config 'gone'"),
        (["-m", "lr=0.1"], "nothing to search: sweep at least one key"),
        (["-m", "lr=interval(1,0)"], "lr=interval(1,0): the lower end comes first"),
        (["-m", "lr=tag(log,interval(0,1))"], "a log interval begins above 0"),
        (["-m", "lrr=interval(0,1)"], "lrr is swept, but no such key exists"),
        (["-m", "target=choice(0.8,0.9)"], "target cannot be swept: one curve answers"),
        (["-m", "seed=choice(1,2)"], "seed cannot be swept except with sampler=grid"),
        (["-m", "hardware=choice(auto,estimate)"], "hardware cannot be swept"),
        (["-m", "lr=interval(0,1)", "n_trials=0"], "n_trials=0"),
        (["-m", "model=choice(cnn,gru)"], "model=gru cannot be trained here (model=gru needs"),
        (["lr=tag(log,interval(1e-4,1e-1))"], "is a search: add -m"),
        (["max_samples=0"], "max_samples=0 is not allowed"),
        (["-m", "lr=interval(0,1)", "sampler=magic"], "sampler=magic is not known; choose tpe"),
        (["-m", "lr=interval(0,1)", "sampler=grid"], "sampler=grid cannot count lr"),
        (["-m", "lr=interval(0.1,1)", "study=../x"], "study='../x' is not a name"),
        (["-m", "lr=interval(0.1,1)", "model=mlp", "task=har", "model.width=0"], "width"),
        (["-m", *SPACE, "storage='postgresql://me:secret@host/db'"], "ENERGYOPT_STORAGE instead"),
        (["show", "gone"], "there is no study database studies/energyopt.db"),
        (["show"], "the following arguments are required: study"),
        (["pareto", "x", "--target", "95"], "95 is no accuracy above 0 and at most 1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    energyopt: Program, words: list[str], says: str
) -> None:
    ran = energyopt(*words)
    assert ran.code == 2, ran.text
    assert says in " ".join(ran.err.split())
    assert ran.err.startswith("energyopt: ")
    assert len(ran.err.strip().splitlines()) == 1
    assert "Traceback" not in ran.text


def test_the_traceback_is_there_for_those_who_ask(energyopt: Program) -> None:
    assert "Traceback" in energyopt("batch_size=0", HYDRA_FULL_ERROR="1").err


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look at", b"dir"])
def test_a_storage_that_is_none_is_left_alone(energyopt: Program, content: bytes) -> None:
    file = energyopt.folder / "studies.db"
    if content == b"dir":
        file.mkdir()
    else:
        file.write_bytes(content)
    for words in (["-m", *TINY, *SPACE, f"storage={file}"], ["show", "x", "--storage", str(file)]):
        ran = energyopt(*words)
        assert ran.code == 2
        assert f"storage={file}" in ran.text
    assert content == b"dir" or file.read_bytes() == content


def test_a_meter_of_ones_own(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(OWN_METER)
    ran = energyopt.ok(*TINY, "hardware=own", "hardware.meter._target_=mine.Plug")
    assert "MEASURED by a plug" in ran.text


def test_a_study_that_cannot_be_built_is_not_begun(energyopt: Program) -> None:
    ran = energyopt("-m", *TINY, *SPACE, "+model.nonsense=1", "study=toy")
    assert ran.code == 2
    assert "model (energyopt.models.mlp.MLP) cannot be built" in ran.text
    assert not (energyopt.folder / "studies/energyopt.db").exists()


def test_failed_trials_are_counted_and_end_a_hopeless_run(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL.replace("== 13", ">= 9"))
    own = ("model=own", "model._target_=my_net.build", "+model.hidden=int(interval(8,99))")
    ran = energyopt("-m", *TINY, *own, "max_failures=2", "sampler=random", "study=f")
    assert ran.code == 2
    assert "study f was ended: max_failures=2 is reached; the last trial failed" in ran.text
    rows = trials_of(energyopt, "f")
    assert [row["state"] for row in rows].count("FAIL") == 2
    assert "thirteen is unlucky" in next(r["reason"] for r in rows if r["state"] == "FAIL")


DYING = """
import os
from energyopt.protocols import Trained

class Dying:
    epoch_samples = 8

    def __init__(self, lr):
        self.lr, self.calls = lr, 0

    def train(self, samples):
        sum(i * i for i in range(200_000))
        self.calls += 1
        if self.lr > 0.5 and self.calls == 3:
            os._exit(9)
        return Trained(samples, 1, 1.0)

    def evaluate(self):
        return 0.5
"""


def test_a_trial_that_dies_costs_itself_and_its_joules_are_kept(energyopt: Program) -> None:
    (energyopt.folder / "mine.py").write_text(DYING)
    own = ("paradigm=own", "paradigm._target_=mine.Dying", "+paradigm.lr=${lr}")
    words = ("sampler=grid", "hardware=estimate", "epochs=2", "study=d")
    ran = energyopt.ok("-m", *own, "lr=choice(0.9,0.1)", *words)
    assert "the trial's process ended with exit code 9 before it answered" in ran.text
    dead, fine = trials_of(energyopt, "d")
    assert (dead["state"], fine["state"]) == ("FAIL", "COMPLETE")
    assert dead["result"]["end"] == "failed"
    assert dead["result"]["books"]["training"]["cpu_j"] > 0


# Interruptions -----------------------------------------------------------------------------

LONG = ("task=wine", "model=mlp", "hardware=simulated", "epochs=1e6", "patience=null")


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
def test_an_interrupt_keeps_the_books_and_says_how_to_go_on(
    energyopt: Program, wait_for: Wait, number: int, code: int
) -> None:
    process = begin(energyopt, wait_for)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "interrupted: 0 of 20 trials are kept in study i; the same command goes on" in out
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
    assert [(row["state"], row["lost"]) for row in rows] == [("FAIL", 1), ("RUNNING", None)]
    assert rows[0]["reason"] == "its run died"
    assert rows[0]["result"]["books"]["training"]["cpu_j"] > 0
    # The dead coordinator's trial died with it: its journal did not grow on.
    assert journal(energyopt, "i", 0).stat().st_size - before < 100_000
    again.kill()
    again.communicate()


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


# Commands ----------------------------------------------------------------------------------


def test_studies_lists_what_there_is(studied: Program) -> None:
    ran = studied.ok("studies")
    assert re.search(r"toy +6 ", ran.out)
    assert "simulated by" in ran.text


def test_show_repeats_the_summary_for_any_target(studied: Program) -> None:
    assert "Cheapest setup reaching 0.9:" in studied.ok("show", "toy").text
    assert "Cheapest setup reaching 0.5:" in studied.ok("show", "toy", "--target", "0.5").text
    missing = studied("show", "tyo")
    assert missing.code == 2
    assert "there is no study 'tyo' in" in missing.text
    assert "there are: toy" in missing.text


def test_a_point_of_the_front_is_reproduced_by_its_overrides(studied: Program) -> None:
    studied.ok("pareto", "toy", "--out", "front.json", "--force")
    front = json.loads((studied.folder / "front.json").read_text())
    assert front["front_of"].startswith("accuracy against training energy, over all checkpoints")
    point = front["points"][-1]
    assert point["provenance"] == "simulated"
    studied.ok(*shlex.split(point["overrides"]), "hydra.run.dir=again")
    lines = (studied.folder / "again/progress.jsonl").read_text().splitlines()
    at = [json.loads(line)["Checkpoint"] for line in lines if "Checkpoint" in line]
    assert at[-1]["samples"] == point["samples"]
    assert at[-1]["accuracy"] == point["accuracy"]
    assert sum(c["training"]["cpu_j"] for c in at) == pytest.approx(point["energy_j"])


def test_pareto_writes_each_format_and_overwrites_only_by_force(studied: Program) -> None:
    for name in ("f.csv", "f.json", "f.md"):
        studied.ok("pareto", "toy", "--points", "final", "--out", name)
        refused = studied("pareto", "toy", "--out", name)
        assert refused.code == 2
        assert "--force" in refused.text
    assert studied("pareto", "toy", "--out", "f.xls").code == 2
    assert "accuracy against training energy" in studied.ok("pareto", "toy").text


def test_retrain_reports_test_accuracy_and_keeps_the_model(studied: Program) -> None:
    ran = studied.ok("retrain", "toy", "--out", "model.safetensors", "--seed", "3")
    assert re.search(r"Test accuracy 0\.\d{4}, of the model as it ended", ran.text)
    from safetensors.numpy import load_file

    weights = load_file(studied.folder / "model.safetensors")
    assert any(name.endswith("weight") for name in weights)
    refused = studied("retrain", "toy", "--out", "model.safetensors")
    assert refused.code == 2
    assert "--force" in refused.text
    assert studied("retrain", "toy", "--trial", "99").code == 2
    assert "epochs" in studied.ok("retrain", "toy", "--trial", "0", "epochs=1").text


def test_retrain_runs_no_code_that_a_database_names(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL)
    own = ("model=own", "model._target_=my_net.build")
    energyopt.ok("-m", *TINY, *own, "lr=interval(0.05,0.1)", "n_trials=1", "study=own")
    refused = energyopt("retrain", "own", "--trial", "0")
    assert refused.code == 2
    assert "nothing that a database names is run" in refused.text
    energyopt.ok("retrain", "own", "model._target_=my_net.build", "--trial", "0")


def test_a_wrong_sampler_leaves_no_study_behind(energyopt: Program) -> None:
    assert energyopt("-m", *TINY, *SPACE, "n_trials=1", "study=zz", "sampler=tpee").code == 2
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "study=zz")


def test_a_database_cannot_vouch_for_code(studied: Program) -> None:
    query = "update energyopt_trials set overrides = ? where number = 5"
    words = ["hydra.searchpath=[file:///tmp]", "trusted_targets=[logging]"]
    with sqlite3.connect(studied.folder / "studies/energyopt.db") as database:
        before = database.execute("select overrides from energyopt_trials where number = 5")
        (overrides,) = before.fetchone()
        for word in words:
            database.execute(query, [json.dumps([*json.loads(overrides), word])])
            database.commit()
            refused = studied("retrain", "toy", "--trial", "5")
            assert refused.code == 2
            assert f"was run with {word}; nothing that a database names is run" in refused.text
        database.execute(query, [overrides])


def test_a_reader_that_has_seen_enough_is_no_error(studied: Program) -> None:
    command = f"{studied.python} -m energyopt --help | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=studied.folder,
        env=studied.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_a_recorded_trial_is_replayed(studied: Program) -> None:
    row = trials_of(studied, "toy")[0]
    words = [word for word in TINY if not word.startswith("hardware")]
    replay = ("hardware=replay", f"hardware.meter.path={journal(studied, 'toy', 0)}")
    studied.ok(*words, *row["overrides"], *replay, "hydra.run.dir=replayed")
    recorded = journal(studied, "toy", 0).read_text().splitlines()
    replayed = (studied.folder / "replayed/progress.jsonl").read_text().splitlines()
    assert replayed[1:] == recorded[1:]
    assert json.loads(replayed[0])["TrialStart"]["provenance"]["kind"] == "replayed"


def test_help_explains_without_importing_torch(energyopt: Program) -> None:
    ran = energyopt.ok("--help")
    for word in ("studies", "pareto STUDY", "batch_size", "learning rate", "-m", "model: "):
        assert word in ran.out
    for command in ("studies", "show", "pareto", "retrain"):
        assert "examples:" in energyopt.ok(command, "--help").out
    traced = energyopt("--help", PYTHONPROFILEIMPORTTIME="1").err
    imported = {line.rpartition("|")[2].strip() for line in traced.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "zeus", "sklearn", "pandas", "optuna", "sqlalchemy"}


# The installed wheel -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_runs_the_main_job_from_any_folder(wheel_python: Path, tmp_path: Path) -> None:
    program = Program(wheel_python, tmp_path)
    ran = program.ok("-m", *TINY, *SPACE, "n_trials=3", "study=toy")
    assert "[3/3]" in ran.text
    program.ok("pareto", "toy")
    program.ok("retrain", "toy", "--trial", "0")
    assert program("lrr=1").code == 2


@pytest.mark.slow
def test_the_console_script_finds_code_of_this_folder(wheel_python: Path, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(OWN_MODEL)
    script = wheel_python.with_name("energyopt")
    words = [*TINY, "model=own", "model._target_=my_net.build"]
    environment = Program(wheel_python, tmp_path).environment()
    subprocess.run([script, *words], cwd=tmp_path, env=environment, check=True)
