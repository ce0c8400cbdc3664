"""The main job through the real command line: one training, a study, the installed wheel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import (
    OWN_MODEL,
    SPACE,
    TINY,
    Program,
    trials_of,
)


@pytest.mark.slow
def test_without_m_it_trains_once_and_prints_its_curve_and_joules(energyopt: Program) -> None:
    ran = energyopt.ok("task=wine", "model=mlp", "hardware=estimate", "epochs=2")
    assert "ESTIMATED by cpu-time x 4 W/core" in ran.text
    assert "estimated as CPU-seconds x 4 W" in ran.text
    assert re.search(r"epoch samples training energy time accuracy", ran.text)
    assert re.search(r"In addition: loading .*J, warmup .*J, evaluation .*J\.", ran.text)
    assert list(energyopt.folder.glob("studies/runs/*/progress.jsonl"))


@pytest.mark.slow
def test_a_training_is_the_same_for_the_same_seed(energyopt: Program) -> None:
    words = ("task=har", "task.n_train=256", "model=cnn1d", "hardware=simulated", "epochs=2")

    def curve(*more: str) -> str:
        folder = f"run{len(list(energyopt.folder.iterdir()))}"
        energyopt.ok(*words, *more, f"hydra.run.dir={folder}")
        return (energyopt.folder / folder / "progress.jsonl").read_text()

    assert curve() == curve()
    assert curve() != curve("seed=1")


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_schedules_train(energyopt: Program, scheduler: str) -> None:
    energyopt.ok(*TINY, f"scheduler={scheduler}", "optimizer=sgd", "lr=0.1")


def test_a_study_says_what_it_measures_finds_and_costs(energyopt: Program) -> None:
    ran = energyopt.ok("-m", *TINY, *SPACE, "n_trials=6", "study=toy")
    assert "SIMULATED by optimizer steps x made-up joules" in ran.text
    assert "trial 0 is the setup nearest to the default: lr=0.001 batch_size=32" in ran.text
    assert "(the default batch_size=64 lies outside of the space)" in ran.text
    assert "[6/6] trial 5:" in ran.text
    end = ran.out.rstrip().splitlines()
    begin = next(n for n, line in enumerate(end) if line.startswith("Recommended"))
    assert len(end) - begin <= 13
    assert re.search(r"Energy +[\d.]+ m?J to 0\.9 validation accuracy, simulated", ran.text)
    for command in ("confirm toy", "retrain toy --out", "report toy"):
        assert f"python -m energyopt {command}" in ran.text
    shown = energyopt.ok("show", "toy", "--all").text
    assert "Front: accuracy against training energy, over all checkpoints of" in shown
    assert re.search(r"The worst setup that reached 0\.9 cost [\d.]+x the best", shown)
    assert "The search cost" in shown
    assert "Break-even:" in shown
    assert "Traceback" not in ran.text


@pytest.mark.slow
def test_a_log_with_colours_has_nothing_that_moves_a_cursor(energyopt: Program) -> None:
    colours = {"FORCE_COLOR": "1", "NO_COLOR": "", "TERM": "xterm-256color", "CI": "true"}
    study = energyopt.ok("-m", *TINY, *SPACE, "n_trials=2", "study=toy", **colours)
    looked = energyopt.ok("doctor", "--seconds", "0.5", **colours)
    for ran in (study, looked):
        assert "\x1b[1m" in ran.out
        without_colours = re.sub(r"\x1b\[[0-9;]*m", "", ran.out + ran.err)
        assert "\x1b" not in without_colours
        assert "\r" not in without_colours
    assert study.out.count("[1/2]") == 1


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_study_refuses_another_question_and_says_the_difference(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "study=toy")
    ran = energyopt("-m", *TINY, *SPACE, "n_trials=2", "study=toy", "model.width=8")
    assert ran.code == 2
    assert "study toy was created with other settings than this run (model.width: " in ran.text
    ran = energyopt("-m", *TINY, SPACE[0], "n_trials=2", "study=toy")
    assert "search of batch_size: choice(8,32) -> not set" in ran.text
    ran = energyopt("-m", *TINY, *SPACE, "n_trials=2", "study=toy", "objective=energy_to_target")
    assert ran.code == 2
    assert "objective._target_: energyopt.objectives.EnergyVsAccuracy -> " in ran.text


@pytest.mark.slow
def test_a_study_without_a_name_gets_one_from_what_it_asks(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1")
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=2")  # the same question: the same study
    energyopt.ok("-m", *TINY, *SPACE, "n_trials=1", "seed=1")
    listed = energyopt.ok("studies").out
    assert len(re.findall(r"^wine-mlp-[0-9a-f]{8}", listed, re.MULTILINE)) == 2


@pytest.mark.slow
def test_a_grid_trains_every_point_once(energyopt: Program) -> None:
    grid = ("-m", *TINY, "sampler=grid", "lr=choice(0.01,0.1)", "seed=range(0,2)", "study=g")
    capped = energyopt.ok(*grid, "n_trials=3")
    assert "the grid has 4 points, n_trials=3 trains the first of them" in capped.text
    energyopt.ok(*grid)
    rows = trials_of(energyopt, "g")
    assert [row["overrides"] for row in rows] == [
        [f"lr={lr}", f"seed={seed}"] for lr in (0.01, 0.1) for seed in (0, 1)
    ]


@pytest.mark.slow
def test_a_conditional_space_suggests_only_what_exists(energyopt: Program) -> None:
    words = ("model=choice(mlp,gru)", "model.patch=choice(2,4)")
    fixed = ("task=har", "task.n_train=128", "hardware=simulated", "epochs=1", "study=c")
    energyopt.ok("-m", *fixed, *words, "sampler=random", "n_trials=6")
    overrides = [row["overrides"] for row in trials_of(energyopt, "c")]
    assert {len(words) for words in overrides if "model=mlp" in words} == {1}
    assert {len(words) for words in overrides if "model=gru" in words} == {2}
    energyopt.ok("-m", *fixed[:-1], "study=grid", *words, "sampler=grid")
    all_of_it = sorted(row["overrides"] for row in trials_of(energyopt, "grid"))
    gru = [["model=gru", "model.patch=2"], ["model=gru", "model.patch=4"]]
    assert all_of_it == [*gru, ["model=mlp"]]


@pytest.mark.parametrize("sampler", ["nsga3", "gp"])  # others: tests/search/test_samplers.py
@pytest.mark.slow
def test_samplers(energyopt: Program, sampler: str) -> None:
    energyopt.ok("-m", *TINY, *SPACE, f"sampler={sampler}", "n_trials=12", "study=s")
    assert len(trials_of(energyopt, "s")) == 12


@pytest.mark.slow
def test_a_sampler_of_ones_own(energyopt: Program) -> None:
    node = "sampler={_target_: optuna.samplers.TPESampler, n_startup_trials: 2}"
    ran = energyopt.ok("-m", *TINY, *SPACE, node, "n_trials=3", "study=s")
    assert "search tpe over" in ran.text


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
@pytest.mark.slow
def test_other_launchers_carry_the_jobs(energyopt: Program, launcher: str) -> None:
    words = ("n_trials=3", "n_jobs=2", "study=l", f"hydra/launcher={launcher}")
    ran = energyopt.ok("-m", *TINY, *SPACE, *words)
    assert "SIMULATED by" in ran.text
    assert [row["state"] for row in trials_of(energyopt, "l")] == ["COMPLETE"] * 3


@pytest.mark.slow
def test_joblib_with_one_worker_runs_one_trial_at_a_time(energyopt: Program) -> None:
    words = ("-m", *TINY, *SPACE, "n_trials=3")
    energyopt.ok(*words, "study=b", "hydra/launcher=basic")
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "n_jobs=2")
    energyopt.ok(*words, "study=j", *joblib)
    basic, one = (
        [row["result"]["books"]["training"]["cpu_j"] for row in trials_of(energyopt, study)]
        for study in ("b", "j")
    )
    assert one == basic


@pytest.mark.slow
def test_fresh_processes_carry_the_jobs(energyopt: Program) -> None:
    words = ("n_trials=1", "study=l", "hydra.launcher.start_method=spawn")
    energyopt.ok("-m", *TINY, *SPACE, *words)
    assert [row["state"] for row in trials_of(energyopt, "l")] == ["COMPLETE"]


@pytest.mark.slow
def test_objectives_that_stop_at_the_target(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, "lr=choice(0.03,0.1)", "objective=time_vs_energy", "n_trials=2",
                 "study=o")  # fmt: skip
    assert {row["result"]["end"] for row in trials_of(energyopt, "o")} == {"target"}


@pytest.mark.slow
def test_the_wheel_runs_the_main_job_from_any_folder(wheel_python: Path, tmp_path: Path) -> None:
    program = Program(wheel_python, tmp_path)
    ran = program.ok("-m", *TINY, *SPACE, "n_trials=3", "study=toy")
    assert "[3/3]" in ran.text
    program.ok("pareto", "toy")
    program.ok("report", "toy")  # its template, style and script come along
    program.ok("retrain", "toy", "--trial", "0")
    assert program("lrr=1").code == 2


@pytest.mark.slow
def test_the_console_script_finds_code_of_this_folder(wheel_python: Path, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(OWN_MODEL)
    script = wheel_python.with_name("energyopt")
    words = [*TINY, "model=own", "model._target_=my_net.build"]
    environment = Program(wheel_python, tmp_path).environment()
    subprocess.run([script, *words], cwd=tmp_path, env=environment, check=True)
