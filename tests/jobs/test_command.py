"""A command as a job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from energyopt.core.command_template import CommandTemplate
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.errors import TrialError
from energyopt.jobs.command import CommandTask, last_lines
from energyopt.utils.failure import failure_of

NOTHING = DictConfig({})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    context = RunContext(folder=tmp_path, params={"x": 0.5})
    monkeypatch.setenv(VARIABLE, context.to_json())
    return tmp_path


def test_a_command_gets_the_values_of_its_trial(folder: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))"
    out = str(folder / "out")
    task = CommandTask(CommandTemplate((sys.executable, "-c", code, out, "{x}", "{n}")), {"n": 3})
    task(NOTHING)
    assert Path(out).read_text() == "0.5 3"


def test_a_failure_has_the_last_lines_that_its_own_execution_printed(folder: Path) -> None:
    log = folder / "output.log"
    log.write_text("of an earlier execution\n")
    code = f"open({str(log)!r}, 'a').write('start\\nValueError: no such x\\n'); raise SystemExit(3)"
    with pytest.raises(TrialError, match="ended with exit code 3: start / ValueError: no") as error:
        CommandTask(CommandTemplate((sys.executable, "-c", code)))(NOTHING)
    assert failure_of(error.value).traceback == "start\nValueError: no such x"


def test_the_signal_that_killed_a_command_is_named(folder: Path) -> None:
    assert folder
    code = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(TrialError, match="was killed by SIGKILL"):
        CommandTask(CommandTemplate((sys.executable, "-c", code)))(NOTHING)


def test_a_command_that_cannot_be_started_says_why(folder: Path) -> None:
    with pytest.raises(TrialError, match="cannot be started: Permission denied"):
        CommandTask(CommandTemplate((str(folder),)))(NOTHING)


def test_of_a_traceback_only_what_was_raised_is_a_reason() -> None:
    lines = ["Traceback (most recent call last):", '  File "a.py"', "    f()", "KeyError: 1", ""]
    assert last_lines(lines) == ["KeyError: 1"]
    assert last_lines(["a", "b", "c", "d"]) == ["b", "c", "d"]
    assert last_lines([]) == []
