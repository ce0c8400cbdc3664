"""Commands on the pages of the site run as written, and print what is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

from tests import fake_nvml, fake_slurm, snippets
from tests.conftest import ROOT, Program
from tests.fake_nvml import FakeNvml
from tests.snippets import Command

DOCS = ROOT / "docs"
QUICK = ("n_trials=2", "epochs=1", "target=0.5")
ON_GPU = ("hardware.idle_s=0.1", "hardware.cool_down_s=0.1")

# Pages whose commands need nothing but a processor.
PLAIN = (
    *("own-model-and-data", "own-training-loop", "add-a-paradigm", "add-a-sampler"),
    *("add-an-objective", "add-a-stopping-rule"),
)


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def write_files(text: str, folder: Path) -> None:
    for file in snippets.files(text):
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)


def run(program: Program, command: Command, *more: str, **env: str) -> str:
    words = command.energyopt
    assert words is not None, command.typed
    ran = program.ok(*words, *(more if "-m" in words else ()), **env)
    return ran.out + ran.err


def plain(text: str) -> str:
    return " ".join(text.split())


def test_openings_are_what_does_not_change() -> None:
    shown = "[1/8] trial 0: x\nStudy first: 8 trials\n  energy  lr\n* 3 J\nenergy    ESTIMATED by x"
    assert snippets.openings(shown) == ["Study first:", "energy    ESTIMATED by x"]


def test_commands_and_their_output_are_told_apart() -> None:
    text = "```console\n$ a \\\n    b\nout\n$ c\n```\n```python\n# my.py\nx = 1\n```\n"
    first, second = snippets.commands(text)
    assert (first.words, first.shown, second.words) == (["a", "b"], "out", ["c"])
    (file,) = snippets.files(text)
    assert (file.name, file.text) == ("my.py", "# my.py\nx = 1\n")


def test_every_page_with_commands_is_run_here() -> None:
    shown = {path for path in DOCS.rglob("*.md") if snippets.commands(path.read_text())}
    others = ("add-a-meter", "gpu", "power-limits", "slurm", "postgresql", "completion")
    elsewhere = (
        "test-your-own-part",
        "train-your-own-loop",
        "search-a-command",
        "your-hydra-app",
        "move-from-hydra-optuna-sweeper",
    )  # in tests of their own
    run_here = {DOCS / "how-to" / f"{name}.md" for name in (*PLAIN, *others, *elsewhere)}
    assert shown - run_here == {DOCS / "tutorial/first-study.md"}


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_shows(energyopt: Program) -> None:
    text = page("tutorial/first-study")
    for command in snippets.commands(text):
        if command.energyopt is None:
            words = [sys.executable if word == "python" else word for word in command.words]
            out = subprocess.check_output(words, cwd=energyopt.folder, text=True)
        else:
            out = run(energyopt, command)
        openings = snippets.openings(command.shown)
        missing = [opening for opening in openings if plain(opening) not in plain(out)]
        assert len(missing) <= len(openings) / 5, (command.typed, missing)
    assert (energyopt.folder / "front.csv").exists()
    assert (energyopt.folder / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_what_a_how_to_shows_runs(energyopt: Program, name: str) -> None:
    text = page(f"how-to/{name}")
    if name == "add-a-paradigm":  # it takes the loop of the page before
        write_files(page("how-to/own-training-loop"), energyopt.folder)
    write_files(text, energyopt.folder)
    for command in snippets.commands(text):
        run(energyopt, command)


@pytest.mark.slow
def test_a_loop_of_ones_own_ends_with_its_energies(energyopt: Program) -> None:
    text = page("how-to/train-your-own-loop")
    write_files(text, energyopt.folder)
    (command,) = snippets.commands(text)
    assert command.words == ["python", "train.py"]
    ran = subprocess.run(
        [energyopt.python, "train.py"],
        cwd=energyopt.folder,
        env=energyopt.environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, third = ran.stderr.splitlines()
    assert " to val_loss 0.05 (epoch " in first
    assert all(word in second for word in ("loading", "training", "evaluation"))
    assert third.startswith("energyopt: estimated by ")


@pytest.mark.slow
def test_a_meter_of_ones_own_reads_its_counter(energyopt: Program) -> None:
    text = page("how-to/add-a-meter")
    write_files(text, energyopt.folder)
    (command,) = snippets.commands(text)
    refused = energyopt(*(command.energyopt or ()))
    assert refused.code == 2
    assert "start the logger of the plug first" in refused.text
    (energyopt.folder / "counter_uj").write_text("5")
    stopped = energyopt(*(command.energyopt or ()))  # a counter that does not move
    assert "MEASURED by plug" in stopped.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu", "power-limits"])
def test_commands_for_a_gpu_run_on_a_pretend_one(
    energyopt: Program, gpu_box: FakeNvml, name: str
) -> None:
    for command in snippets.commands(page(f"how-to/{name}")):
        run(energyopt, command, *QUICK, *ON_GPU)
    assert gpu_box.limit_w(0) == fake_nvml.LIMIT_W


@pytest.mark.slow
def test_commands_for_a_cluster_run_on_a_pretend_one(
    energyopt: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv("FAKE_SLURM", str(cluster.folder))
    monkeypatch.setenv("PATH", str(cluster.folder / "bin"), prepend=os.pathsep)
    for command in snippets.commands(page("how-to/slurm")):
        # The pretend cluster has no GPUs to meter.
        run(energyopt, command, *QUICK, "hardware=estimate")
    assert len(cluster.jobs) >= 2
    assert cluster.jobs[0].options["partition"] == "gpu"
    cluster.end()


@pytest.mark.slow
def test_commands_for_a_server_run_on_one(energyopt: Program, postgres: str) -> None:
    first, *rest = snippets.commands(page("how-to/postgresql"))
    assert first.typed.startswith("export ENERGYOPT_STORAGE=postgresql://")
    for command in rest:
        run(energyopt, command, *QUICK, ENERGYOPT_STORAGE=postgres)


@pytest.mark.slow
def test_a_hydra_app_of_ones_own_is_searched(energyopt: Program) -> None:
    text = page("how-to/your-hydra-app")
    write_files(text, energyopt.folder)
    search, recommend = snippets.commands(text)
    words = [sys.executable if word == "python" else word for word in search.words]
    environment = energyopt.environment(OMP_NUM_THREADS="1")
    out = subprocess.check_output(words, cwd=energyopt.folder, env=environment, text=True)
    assert "to 0.05 val_loss" in out
    assert "python train.py" in run(energyopt, recommend)


MOVED = "how-to/move-from-hydra-optuna-sweeper"


@pytest.mark.parametrize(
    ("layout", "study", "direction"),
    [
        ("yaml_app", "sphere", "MINIMIZE"),
        ("structured_app", "structured", "MAXIMIZE"),
        ("template", "train", "MAXIMIZE"),
    ],
)
def test_an_app_of_each_layout_moves_over(
    energyopt: Program, layout: str, study: str, direction: str
) -> None:
    text = page(MOVED)
    write_files(text, energyopt.folder)
    (command,) = (c for c in snippets.commands(text) if c.words[1].startswith(layout))
    words = [sys.executable if word == "python" else word for word in command.words]
    ran = subprocess.run(
        [*words, "hydra.sweep.dir=runs"],
        cwd=energyopt.folder,
        env=energyopt.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "best: trial " in ran.stdout
    (file,) = energyopt.folder.rglob("*.db")
    stored = optuna.load_study(study_name=study, storage=f"sqlite:///{file}")
    assert stored.direction.name == direction
    assert [trial.state.name for trial in stored.trials] == ["COMPLETE"] * 4
    results = yaml.safe_load((energyopt.folder / "runs/optimization_results.yaml").read_text())
    assert results["best_params"] == stored.best_params
    assert results["best_value"] == stored.best_value
