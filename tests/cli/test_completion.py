"""Shell completion, tested in a real bash."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from energyopt.cli.commands.completion import SHELLS
from energyopt.cli.completion import studies_in
from energyopt.cli.completion_words import ConfigWords
from energyopt.config.yaml_comments import Key, read_defaults, read_keys
from energyopt.utils.paths import conf_dir
from tests.conftest import Program

BIN = Path(sys.executable).parent
ASK = r"""
source <(energyopt completion bash)
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE} COMPREPLY=()
    _python_argcomplete energyopt
    (IFS='#'; echo "${COMPREPLY[*]}")
done
"""


def tab(folder: Path, *lines: str, **env: str) -> list[list[str]]:
    """Return the completions of bash at the end of each line."""
    environment = {key: value for key, value in os.environ.items() if key != "ENERGYOPT_STORAGE"}
    ran = subprocess.run(
        ["bash", "--norc", "-c", ASK],
        input="".join(f"{line}\n" for line in lines),
        cwd=folder,
        env=environment | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    answers = [line.split("#") if line else [] for line in ran.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


@pytest.mark.slow
def test_bash_completes_what_is_typed(studied: Program) -> None:
    asked: Mapping[str, list[str]] = {
        "energyopt stud": ["study=", "studies"],
        "energyopt show ": ["toy "],
        "energyopt show --storage nowhere.db ": [],
        "energyopt show toy --ta": ["--target "],
        "energyopt trials toy --so": ["--sort "],
        "energyopt compare toy ": ["toy "],
        "energyopt pareto toy --points ": ["curve", "final"],
        "energyopt completion ": list(SHELLS),
        "energyopt help confi": ["confirm "],
        "energyopt summarize power": ["power_of_training "],
        "energyopt -m mod": ["model=", "mode=", "model."],
        "energyopt model=cnn": ["cnn", "cnn1d"],
        "energyopt 'model=cnn": ["model=cnn", "model=cnn1d"],
        "energyopt optimizer=sgd optimizer.mom": ["optimizer.momentum="],
        "energyopt optimizer.mom": [],
        "energyopt hardware.power_e": ["hardware.power_eta="],
        "energyopt report.p": ["report.pue=", "report.price_per_kwh="],
        "energyopt hardware.strict=": ["true", "false"],
        "energyopt sampler=nsga": ["nsga2", "nsga3"],
        "energyopt -m lr=1 study=": ["toy "],
        "energyopt --conf": ["--config-dir", "--config-name"],
        "energyopt retrain toy --trial 3 batch": ["batch_size="],
        "energyopt doctor hardware=nvi": ["nvidia "],
        "energyopt check my_loop.Loop model=cnn": ["cnn", "cnn1d"],
        "energyopt check --kind sche": ["schedule "],
    }
    for line, answer in zip(asked, tab(studied.folder, *asked), strict=True):
        assert answer == asked[line], line


def test_nothing_is_said_whatever_is_wrong(studied: Program, tmp_path: Path) -> None:
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + bytes(50))
    (tmp_path / "foreign.db").touch()
    lines = (
        "energyopt show 'a",
        'energyopt "',
        "energyopt show $(",
        "energyopt =",
        "energyopt .x=",
    )
    tab(tmp_path, *lines)
    server = "postgresql://user:wrong@203.0.113.1/x"
    for where in ("torn.db", "foreign.db", "/dev/null", server, "sqlite:///:memory:"):
        assert tab(tmp_path, "energyopt show ", ENERGYOPT_STORAGE=where) == [[]]


def test_names_from_a_database_are_words_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    names = ["$(touch hacked)", "`touch hacked`", "a b", "x\n$(touch hacked)", "\x1b[31mred", "'"]
    with sqlite3.connect(file) as database:
        database.execute("create table studies (study_name text)")
        database.executemany("insert into studies values (?)", [(name,) for name in names])
    database.close()
    (offered,) = tab(tmp_path, "energyopt show ", ENERGYOPT_STORAGE=str(file))
    assert sorted(offered) == sorted(
        ["\\$\\(touch\\ hacked\\)", "\\`touch\\ hacked\\`", "a\\ b", "\\'"]
    )
    assert not (tmp_path / "hacked").exists()
    assert studies_in(f"sqlite:///{file}") == sorted(set(names) - {names[3], names[4]})


def test_it_imports_nothing_heavy(studied: Program) -> None:
    env = {"COMP_LINE": "energyopt show ", "COMP_POINT": "15", "_ARGCOMPLETE": "1"}
    traced = studied(PYTHONPROFILEIMPORTTIME="1", _ARGCOMPLETE_STDOUT_FILENAME="answer", **env)
    assert (studied.folder / "answer").read_text() == "toy "
    imported = {line.rpartition("|")[2].strip() for line in traced.err.splitlines()}
    heavy = {"torch", "zeus", "hydra", "optuna", "sqlalchemy", "numpy", "yaml", "omegaconf"}
    assert "argcomplete" in imported
    assert not imported & heavy


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_takes_its_script(energyopt: Program, shell: str) -> None:
    script = energyopt.ok("completion", shell).out
    if shutil.which(shell) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{shell} is missing: apt-get install {shell}")
        pytest.skip(f"{shell} is not installed")
    flags = ["--no-execute"] if shell == "fish" else ["-n"]
    subprocess.run([shell, *flags], input=script, text=True, check=True)


def test_folders_of_ones_own_bring_options_and_keys(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "# A net.\n_target_: my.Net\nwidth: 3 # how wide\n"
    )
    words = ConfigWords([conf_dir(), tmp_path, tmp_path / "none"], ["model=mine"], {})
    assert words.complete("model=mi")["model=mine"] == "A net."
    assert words.complete("model.")["model.width="] == "how wide"
    assert "+model.width=" in words.complete("+model.")


def test_every_root_key_and_group_is_offered() -> None:
    words = ConfigWords([conf_dir()], [], {}).complete("")
    for key in read_keys(conf_dir() / "config.yaml"):
        assert words[f"{key.name}="] == key.comment
    for group in read_defaults(conf_dir() / "config.yaml"):
        assert f"{group}=" in words


def test_a_config_file_is_read_with_its_comments(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# About it.\ndefaults:\n  - task: digits\n\n# First part\na: 1  # one\n"
        "b:\n  c: [1, 2]\n  d: null   # nothing\n             # at all\n\n# Second\ne: x\n"
    )
    assert read_keys(file) == [
        Key("a", "1", "one", "First part"),
        Key("b.c", "[1, 2]", "", "First part"),
        Key("b.d", "null", "nothing at all", "First part"),
        Key("e", "x", "", "Second"),
    ]
    assert read_defaults(file) == {"task": "digits"}
