"""Programs with a loop of their own that report through `energyopt.Run`."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from energyopt.core.journal import NAME, read_result
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.core.trial_result import TrialResult
from tests.conftest import Program, Wait

LOOP = """
import sys, time
import energyopt

def work():
    sum(i * i for i in range(300_000))

run = energyopt.Run(monitor="loss", mode="min", target=0.3, folder="kept")
run.begin()
for epoch in run.epochs(4):
    work()
    with run.evaluation():
        loss = 1 / (epoch + 1)
    run.report(loss)
    if epoch == 2:
        END
print("exported")
"""

SKLEARN = """
import sys
import energyopt
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

inputs, labels = load_digits(return_X_y=True)
model = SGDClassifier(shuffle=False)
run = energyopt.Run(target=0.99)
kept = run.begin()
if kept is not None:
    model.partial_fit(inputs[:1], labels[:1], classes=range(10))
    model.coef_, model.intercept_, model.t_ = kept["coef"], kept["intercept"], kept["t"]
for epoch in run.epochs(5):
    model.partial_fit(inputs[:1000], labels[:1000], classes=range(10))
    with run.evaluation():
        accuracy = model.score(inputs[1000:], labels[1000:])
    run.report(
        accuracy,
        checkpoint=lambda: {"coef": model.coef_, "intercept": model.intercept_, "t": model.t_},
    )
print("torch" in sys.modules)
"""


def run_script(
    energyopt: Program, text: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a user's program in a folder of its own."""
    (energyopt.folder / "train.py").write_text(text)
    return subprocess.run(
        [energyopt.python, "train.py"],
        cwd=energyopt.folder,
        env=energyopt.environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )


def record(folder: Path) -> TrialResult:
    """The record that a journal holds."""
    result = read_result(folder)
    assert result is not None
    return result


def test_a_program_ends_with_three_lines_and_a_folder_that_show_reads(energyopt: Program) -> None:
    ran = run_script(energyopt, LOOP.replace("END", "pass"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "exported\n"
    first, second, third = ran.stderr.splitlines()
    assert first.startswith("energyopt: ")
    assert " to loss 0.3 (epoch 4); trained all 4 epochs" in first
    assert " in all: loading " in second
    assert ", training " in second
    assert ", evaluation " in second
    assert third.endswith("; record: kept")
    shown = energyopt.ok("show", "kept").out
    assert "0.25" in shown
    assert "trained all 4 epochs" in shown
    assert "0.5" in energyopt.ok("show", "kept", "--target", "0.5").out


@pytest.mark.parametrize(
    ("last", "code", "end", "reason"),
    [
        ("raise ValueError('too much')", 1, "failed", "ValueError: too much"),
        ("sys.exit(3)", 3, "epochs", "its program left the loop after 3 of 4 epochs"),
    ],
)
def test_its_own_end_takes_its_course_and_joules_are_kept(
    energyopt: Program, last: str, code: int, end: str, reason: str
) -> None:
    ran = run_script(energyopt, LOOP.replace("END", last))
    assert ran.returncode == code
    assert ran.stdout == ""
    has_traceback = "raise ValueError('too much')\nValueError: too much\n" in ran.stderr
    assert has_traceback == last.startswith("raise")
    assert "energyopt/training" not in ran.stderr
    result = record(energyopt.folder / "kept")
    assert (result.end, result.reason) == (end, reason)
    assert result.training_j > 0
    assert len(result.checkpoints) == 3


@pytest.mark.parametrize(
    ("number", "end"),
    [(signal.SIGTERM, "interrupted"), (signal.SIGKILL, "lost")],
    ids=["SIGTERM", "SIGKILL"],
)
def test_a_signal_ends_it_as_without_us_and_joules_are_kept(
    energyopt: Program, wait_for: Wait, number: signal.Signals, end: str
) -> None:
    (energyopt.folder / "train.py").write_text(LOOP.replace("END", "time.sleep(60)"))
    journal = energyopt.folder / "kept" / NAME
    with subprocess.Popen(
        [energyopt.python, "train.py"],
        cwd=energyopt.folder,
        env=energyopt.environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: journal.exists() and journal.read_text().count('"Checkpoint"') == 3)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == -number
    assert "Traceback" not in error
    result = record(energyopt.folder / "kept")
    assert result.end == end
    assert result.reason == (
        "ended by SIGTERM" if end == "interrupted" else "its process died before the training ended"
    )
    assert result.training_j > 0
    assert len(result.checkpoints) == 3
    if end == "lost":
        shown = energyopt.ok("show", "kept").out
        assert "lost, unless it is still training: its record has no end yet" in shown


def test_a_full_disk_is_said_in_one_sentence(energyopt: Program) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))"
    ran = run_script(energyopt, f"import resource\n{LOOP.replace('END', limit)}")
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") == 1
    error, *last = ran.stderr.splitlines()[-4:]
    sentence = f"files may not grow further: {energyopt.folder}/kept/{NAME} (file system "
    assert error.startswith(f"energyopt.errors.DiskFullError: {sentence}")
    assert all(line.startswith("energyopt: ") for line in last)
    assert "exported" not in ran.stdout
    assert len(record(energyopt.folder / "kept").checkpoints) == 3


@pytest.mark.slow
def test_scikit_learn_pauses_and_resumes_without_torch(energyopt: Program) -> None:
    def train(folder: str, **context: object) -> subprocess.CompletedProcess[str]:
        given = RunContext(
            folder=energyopt.folder / folder,
            target=0.99,
            **context,  # type: ignore[arg-type]
        )
        ran = run_script(energyopt, SKLEARN, **{VARIABLE: given.to_json()})
        assert ran.returncode == 0, ran.stderr
        return ran

    assert train("whole").stdout == "False\n"
    paused = train("paused", pause_at_j=0)
    assert (paused.stdout, paused.stderr) == ("", "")  # what follows the loop is left out
    assert record(energyopt.folder / "paused").end == "paused"
    assert train("paused", resume=True).stdout == "False\n"
    whole, resumed = (record(energyopt.folder / name) for name in ("whole", "paused"))
    assert resumed.curve.accuracy == whole.curve.accuracy
    assert len(resumed.curve) == 5
    assert resumed.end == "epochs"


def test_a_signal_while_records_are_written_waits_for_them(energyopt: Program) -> None:
    text = LOOP.replace("END", "pass").replace(
        'folder="kept"', 'folder="kept", on_report=lambda _: os.kill(os.getpid(), signal.SIGTERM)'
    )
    ran = run_script(energyopt, f"import os, signal\n{text}")
    assert ran.returncode == -signal.SIGTERM
    assert len(ran.stderr.splitlines()) == 3
    result = record(energyopt.folder / "kept")
    assert (result.end, result.reason) == ("interrupted", "ended by SIGTERM")
    assert len(result.checkpoints) == 1
