"""Searches of commands whose program makes an `energyopt.Run`."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.storage.reader import read_study
from tests import snippets
from tests.conftest import ROOT, Program, Ran, pauses_in

# A loss of random numbers, so that a resumed training is only the same with their state. It keeps
# its own account of the CPU time that it trains.
TRAINING = """
import random, sys, time
import energyopt

x = float(sys.argv[1])
run = energyopt.Run(monitor="rmse", mode="min", target=0.2)
random.seed(3)
state = run.begin() or {"loss": 1.0}
for epoch in run.epochs(6):
    began_s = time.process_time()
    noise = sum(random.random() for _ in range(4_000_000)) / 4_000_000 - 0.5
    state["loss"] *= 0.6 + 0.1 * abs(x - 2) + noise
    with open("trained.txt", "a") as file:
        file.write(f"{time.process_time() - began_s}\\n")
    with run.evaluation():
        sum(random.random() for _ in range(100_000))
    run.report(state["loss"], checkpoint=state)
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "train.py").write_text(TRAINING)
    return Program(Path(sys.executable), tmp_path)


def search(program: Program, *words: str, script: str = "train.py", place: str = "{x}") -> Ran:
    command = (sys.executable, script, place)
    return program("search", "x=interval(0,4)", "study=falls", *words, "--", *command)


def study_of(program: Program, name: str = "falls") -> StudyRecord:
    return read_study(str(program.folder / "studies/energyopt.db"), name)


def values(result: TrialResult) -> list[float]:
    return [checkpoint.accuracy for checkpoint in result.checkpoints]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_command_is_searched_paused_and_resumed(program: Program) -> None:
    ran = search(program, "n_trials=8", "default.x=0.5", "seed=1")
    assert ran.code == 0, ran.text
    assert "trial 0 is the default configuration, which ran first: x=0.5" in ran.text
    study = study_of(program)
    assert len(study.trials) <= 8
    assert max(pauses_in(program.folder)) > 1  # one resumed, and paused

    # Its own account of what it trained says the same.
    results = [trial.result for trial in study.trials if trial.result is not None]
    trained_j = sum(result.books["training"].total_j for result in results)
    lines = (program.folder / "trained.txt").read_text().splitlines()
    assert trained_j == pytest.approx(4 * sum(map(float, lines)), rel=0.05)

    # The recommended command trains the same, and as if it had not paused.
    advice = program.ok("recommend", "falls").out
    typed = shlex.split(advice.partition("Train it")[2].partition("See it")[0])
    number = json.loads(program.ok("show", "falls", "--json").out)["answer"]["trial"]
    result = study.trials[number].result
    assert result is not None
    alone = subprocess.run(
        [*typed], cwd=program.folder, env=program.environment(), check=True, capture_output=True
    )
    (journal,) = (program.folder / "outputs").rglob("progress.jsonl")
    points = [json.loads(line) for line in journal.read_text().splitlines()]
    curve = [point["Checkpoint"]["accuracy"] for point in points if "Checkpoint" in point]
    assert curve[: len(values(result))] == values(result), alone.stderr

    for command in (["show", "falls"], ["pareto", "falls"], ["report", "falls"]):
        program.ok(*command)
    assert "nothing is missing" in search(program, f"n_trials={len(study.trials)}", "seed=1").text


def test_what_no_run_reports_is_refused_with_the_lines_to_add(program: Program) -> None:
    (program.folder / "other.py").write_text("print('trained')")
    refused = search(program, script="other.py")
    assert refused.code == 2
    assert "the command ended without an energyopt.Run" in refused.err
    lines = [line for line in refused.err.splitlines() if line.startswith("    ")]
    assert 0 < len(lines) <= 6
    compile("\n".join(line.strip() for line in lines[:3]), "lines", "exec")
    assert not (program.folder / "studies/energyopt.db").exists()


def test_a_script_that_dies_shows_its_own_traceback(program: Program) -> None:
    (program.folder / "other.py").write_text("import no_such_package")
    refused = search(program, script="other.py")
    assert refused.code == 2
    assert "ModuleNotFoundError: No module named 'no_such_package'" in refused.err
    assert 'other.py", line 1' in refused.err
    log = program.folder / "studies/falls/0/output.log"
    assert "no_such_package" in log.read_text()


def test_another_command_is_another_question(program: Program) -> None:
    toy = TRAINING.replace("4_000_000", "10").replace("run.epochs(6)", "run.epochs(1)")
    (program.folder / "train.py").write_text(f"{toy}\nraise SystemExit(x > 2.5)")
    ran = search(program, "n_trials=1", "stopping=none", "default.x=3")
    assert ran.code == 3
    assert "the command ended with exit code 1" in ran.text  # though its training was complete
    refused = search(program, "n_trials=1", place="-{x}")
    assert refused.code == 2
    assert "command: " in refused.err
    assert "give another study=name" in refused.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_is_that_of_the_page(tmp_path: Path, energyopt: Program) -> None:
    page = (ROOT / "docs/how-to/search-a-command.md").read_text()
    shutil.copy(ROOT / "examples/command/train.py", tmp_path)
    first, *others = snippets.commands(page)
    program = Program(Path(sys.executable), tmp_path)
    words = first.energyopt
    assert words is not None
    words[words.index("n_trials=8")] = "n_trials=2"
    words[words.index("python")] = sys.executable
    program.ok(*words)
    assert energyopt.python == program.python
    for command in others:
        assert command.energyopt is not None
        assert "train.py --lr=" in program.ok(*command.energyopt).out


def test_the_example_differs_by_six_lines_at_most() -> None:
    page = (ROOT / "docs/how-to/search-a-command.md").read_text()
    script = (ROOT / "examples/command/train.py").read_text().splitlines()
    (diff,) = snippets.blocks(page, "diff")
    added = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    assert len(added) <= 6
    assert all(line in script for line in added)
    assert sum("energyopt" in line or "run." in line for line in script) == len(added)
