"""Commands for after a study: studies, show, trials, compare, pareto, retrain, help."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest

from energyopt.cli import commands
from energyopt.cli.commands import COMMANDS, parser_of
from energyopt.errors import ConfigError
from tests.conftest import (
    OWN_MODEL,
    ROOT,
    TINY,
    Program,
    journal,
    trials_of,
)

EXPORT = f"{ROOT}/studies/digits/export"


def test_studies_lists_what_there_is(studied: Program) -> None:
    ran = studied.ok("studies")
    assert re.search(r"toy +6 ", ran.out)
    assert "simulated by" in ran.text


def test_show_repeats_the_summary_for_any_target(studied: Program) -> None:
    assert "J to 0.9 validation accuracy" in studied.ok("show", "toy").text
    assert "J to 0.5 validation accuracy" in studied.ok("show", "toy", "--target", "0.5").text
    missing = studied("show", "tyo")
    assert missing.code == 2
    assert "there is no study 'tyo' in" in missing.text
    assert "there are: toy" in missing.text


@pytest.fixture
def _collecting() -> Iterator[None]:
    """Commands turn the garbage collection of their process off."""
    yield
    gc.enable()


@pytest.mark.usefixtures("_collecting")
def test_trials_are_listed_in_the_order_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    commands.run(["trials", EXPORT, "--filter", "reached", "--sort", "epochs", "--reverse"])
    *rows, note = capsys.readouterr().out.splitlines()
    assert note == "10 of 16 trials, to 0.95; joules are estimated as CPU-seconds x 4 W"
    epochs = [float(row.split()[-2]) for row in rows if re.match(r" +\d+ +\w", row)]
    assert len(epochs) == 10
    assert epochs == sorted(epochs, reverse=True)


@pytest.mark.usefixtures("_collecting")
def test_one_study_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="compare takes two studies or more"):
        commands.run(["compare", EXPORT])
    with pytest.raises(ConfigError, match=r"use one of \.svg, \.png, \.html"):
        commands.run(["compare", EXPORT, EXPORT, "--out", "figure.pdf"])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
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


@pytest.mark.slow
def test_pareto_writes_each_format_and_overwrites_only_by_force(studied: Program) -> None:
    for name in ("f.csv", "f.json", "f.md"):
        studied.ok("pareto", "toy", "--points", "final", "--out", name)
        refused = studied("pareto", "toy", "--out", name)
        assert refused.code == 2
        assert "--force" in refused.text
    assert studied("pareto", "toy", "--out", "f.xls").code == 2
    assert "accuracy against training energy" in studied.ok("pareto", "toy").text


@pytest.mark.slow
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


@pytest.mark.slow
def test_retrain_runs_no_code_that_a_database_names(energyopt: Program) -> None:
    (energyopt.folder / "my_net.py").write_text(OWN_MODEL)
    overrides = ("model=own", "model._target_=my_net.build")
    energyopt.ok("-m", *TINY, *overrides, "lr=interval(0.05,0.1)", "n_trials=1", "study=own")
    refused = energyopt("retrain", "own", "--trial", "0")
    assert refused.code == 2
    assert "nothing that a database names is run" in refused.text
    energyopt.ok("retrain", "own", "model._target_=my_net.build", "--trial", "0")


def test_a_database_cannot_vouch_for_code(studied: Program) -> None:
    file = studied.folder / "studies/energyopt.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        query = "select overrides from energyopt_trials where number = 5"
        (overrides,) = database.execute(query).fetchone()

    def write(written: str) -> None:
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            query = "update energyopt_trials set overrides = ? where number = 5"
            database.execute(query, [written])

    for word in ("hydra.searchpath=[file:///tmp]", "trusted_targets=[logging]"):
        write(json.dumps([*json.loads(overrides), word]))
        refused = studied("retrain", "toy", "--trial", "5")
        assert refused.code == 2
        assert f"was run with {word}; nothing that a database names is run" in refused.text
    write(overrides)


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


@pytest.mark.slow
def test_a_recorded_trial_is_replayed(studied: Program) -> None:
    row = trials_of(studied, "toy")[0]
    words = [word for word in TINY if not word.startswith("hardware")]
    replay = ("hardware=replay", f"hardware.meter.path={journal(studied, 'toy', 0)}")
    studied.ok(*words, *row["overrides"], *replay, "hydra.run.dir=replayed")
    recorded = journal(studied, "toy", 0).read_text().splitlines()
    replayed = (studied.folder / "replayed/progress.jsonl").read_text().splitlines()
    assert replayed[1:] == recorded[1:]
    assert json.loads(replayed[0])["TrialStart"]["provenance"]["kind"] == "replayed"


@pytest.mark.slow
def test_the_main_help_fits_the_terminal(energyopt: Program) -> None:
    for flag, columns in (("--help", 80), ("-h", 200)):
        lines = energyopt.ok(flag, COLUMNS=str(columns)).out.splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[-2:] != ["", ""]
    assert "report STUDY           a self-contained HTML page" in "\n".join(lines)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_is_wrapped_to_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in COMMANDS:
        text = parser_of(name).format_help()
        assert columns < 80 or max(map(len, text.splitlines())) <= min(columns, 100), name
        about, _, examples = text.partition("examples:")
        assert f"\n  energyopt {name}" in examples
        assert all(len(line) <= min(columns, 100) for line in about.splitlines()), name
        assert not [line for line in about.splitlines() if line != line.rstrip()]


@pytest.mark.slow
def test_help_explains_without_importing_torch(energyopt: Program) -> None:
    ran = energyopt.ok("--help")
    for word in (
        "studies",
        "pareto STUDY",
        "dashboard [STUDY]",
        "batch_size",
        "learning rate",
        "-m",
        "model: ",
    ):
        assert word in ran.out
    for command in ("studies", "show", "pareto", "retrain", "dashboard"):
        assert "examples:" in energyopt.ok(command, "--help").out
    traced = energyopt("--help", PYTHONPROFILEIMPORTTIME="1").err
    imported = {line.rpartition("|")[2].strip() for line in traced.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "zeus", "sklearn", "pandas", "optuna", "sqlalchemy"}
