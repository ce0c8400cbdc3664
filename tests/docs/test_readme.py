"""The commands of the README and of "commands by example" run as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from energyopt.cli.help import fill_in
from energyopt.storage.reader import read_studies
from energyopt.utils.paths import conf_dir
from tests import fake_nvml
from tests.conftest import ROOT, Program
from tests.fake_nvml import FakeNvml

README = (ROOT / "README.md").read_text()
EXAMPLES = (ROOT / "docs/usage.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README + EXAMPLES, re.DOTALL)


@pytest.mark.slow
def test_the_commands_run_in_order_in_one_folder(energyopt: Program) -> None:
    (code,) = (block for block in blocks("python") if "def build" in block)
    (energyopt.folder / "my_net.py").write_text(code)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line[:1] != "#"]
    assert len(lines) >= 5
    for line in lines:
        python, m, module, *words = shlex.split(line, comments=True)
        assert (python, m, module) == ("python", "-m", "energyopt")
        energyopt.ok(*words)
    assert (energyopt.folder / "front.csv").exists()
    assert (energyopt.folder / "model.safetensors").exists()


@pytest.mark.slow
def test_the_commands_for_a_gpu_run_on_a_pretend_one(energyopt: Program, gpu_box: FakeNvml) -> None:
    lines = [line for block in blocks("shell") for line in block.splitlines() if line[:1] != "#"]
    assert len(lines) >= 4
    quick = ("n_trials=2", "epochs=2", "hardware.idle_s=0.1", "hardware.cool_down_s=0.1")
    for line in lines:
        python, m, module, *words = shlex.split(line, comments=True)
        assert (python, m, module) == ("python", "-m", "energyopt")
        energyopt.ok(*words, *(quick if words[0] == "-m" else ()))
    assert gpu_box.limit_w(0) == fake_nvml.LIMIT_W


@pytest.mark.slow
def test_the_commands_for_long_studies_run(energyopt: Program, postgres: str) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line[:1] != "#"]
    studies = [shlex.split(line)[3:] for line in lines if " -m energyopt -m " in line]
    exported = [line for line in lines if line.startswith("export ENERGYOPT_STORAGE=postgresql://")]
    assert (len(studies), len(exported), len(lines)) == (2, 1, 4)  # and the dashboard
    for words, where in zip(studies, ("", postgres), strict=True):
        env = {"ENERGYOPT_STORAGE": where} if where else {}
        energyopt.ok(*words, "n_trials=2", "epochs=1", **env)
    assert [study.name for study in read_studies(postgres)] == ["shared"]


def test_the_shown_output_is_of_the_command_that_make_demo_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = next(block for block in re.findall(r"```\n(.*?)```", README, re.DOTALL))
    assert "study=demo" in makefile
    assert re.findall(r"^[A-Z][a-z]+(?: it| back)?", shown, re.MULTILINE) == [
        *("Recommended", "Energy", "Confidence", "Pays back", "Caution"),
        *("Check it", "Train it", "See it"),
    ]
    assert "energyopt confirm demo" in shown
    assert "estimated" in shown


def test_the_help_text_and_the_readme_name_what_is_there() -> None:
    told = fill_in((conf_dir() / "hydra/help/energyopt.yaml").read_text())
    roots = re.findall(r"^([a-z_]+):", (conf_dir() / "config.yaml").read_text(), re.MULTILINE)
    for key in set(roots) - {"defaults", "hydra"}:
        assert re.search(rf"^ *{key}(\.\w+)?=", told, re.MULTILINE), key
    for group in ("task", "model", "objective"):
        options = {file.stem for file in Path(conf_dir() / group).glob("*.yaml")}
        for option in options - {"own", "function"}:
            assert f"`{option}`" in EXAMPLES, f"{group}={option}"


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(README.split()) <= 600
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120
