"""The failures of another app's jobs: seen with their lines of code, and jobs on the terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Program
from tests.end_to_end.test_other_apps import App

CONFIG = """
defaults: [_self_, {override hydra/sweeper: energyopt}]
x: 1
hydra:
  sweep: {dir: runs}
  sweeper: {study_name: s, storage: s.db, n_trials: 5, sampler: {seed: 1}}
"""

APP = """
import os, signal, sys
import hydra

class Holding(Exception):
    def __init__(self):
        super().__init__("holds a lambda")
        self.hold = lambda: None

def helper(x):
    if x == 2:
        try:
            {}["lr"]
        except KeyError as error:
            raise ValueError("shapes do not match") from error
    if x == 3: raise Holding
    if x == 4: sys.exit(4)
    if x == 5: os.kill(os.getpid(), signal.SIGKILL)
    if x == 6: return hydra.utils.instantiate({"_target_": "mine.build"})
    if x == 7: breakpoint()
    if x == 8: return input("which loss? ")
    return x

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    return helper(cfg.x)

if __name__ == "__main__":
    main()
"""
BUILD = "def build(width=13):\n    raise RuntimeError(f'{width} is unlucky')\n"
GRID = ("hydra/sweeper/sampler=grid", "hydra.sweeper.max_failures=null")


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "mine.py").write_text(BUILD)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return App(Program(Path(sys.executable), tmp_path))


def log(app: App, number: int) -> str:
    return (app.program.folder / f"runs/{number}/app.log").read_text()


def reasons(app: App) -> list[str]:
    return [trial.user_attrs.get("reason", "") for trial in app.study("s.db", "s").trials]


REASONS = [
    "ValueError: shapes do not match; because of KeyError: 'lr'",
    "Holding: holds a lambda",
    "SystemExit: 4",
    "InstantiationException: Error in call to target 'mine.build': RuntimeError('13 is unlucky')",
]
LINES = ['{}["lr"]', "raise Holding", "sys.exit(4)", "raise RuntimeError(f'{width}"]


@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=basic"],
        ["hydra/launcher=energyopt"],
        pytest.param(
            ["hydra/launcher=energyopt", "hydra.launcher.start_method=spawn"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], marks=pytest.mark.slow),
        pytest.param(["hydra/launcher=submitit_local"], marks=pytest.mark.slow),
    ],
    ids=lambda words: words[-1].rpartition(".")[2],
)
def test_each_launcher_shows_and_logs_where_a_job_raised(app: App, launcher: list[str]) -> None:
    ran = app(*launcher, *GRID, "x=2,3,4,6,1")
    assert ran.code == 3, ran.text
    assert "4 of 5 trials of study s failed; the last: InstantiationException" in ran.text
    assert "HYDRA_FULL_ERROR" not in ran.text
    assert reasons(app)[:3] == REASONS[:3]
    assert reasons(app)[3].startswith(REASONS[3])
    printed = ran.out + ran.err
    for number, line in enumerate(LINES):
        assert printed.count(line) == 1
        assert line in log(app, number)
    for text in (printed, *(log(app, number) for number in range(4))):
        assert "energyopt/jobs" not in text
        assert "hydra/core" not in text


def test_the_process_of_a_job_that_is_killed_is_named_by_its_signal(app: App) -> None:
    ran = app.ok("hydra/launcher=energyopt", *GRID, "x=5,1")
    assert reasons(app)[0] == "the trial's process was killed by SIGKILL (out of memory?)"
    assert reasons(app)[0] in ran.text


def test_a_hopeless_run_ends_after_a_handful_of_failures(app: App) -> None:
    ran = app(
        "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=12", "x=2", "+y=interval(0,1)"
    )
    assert ran.code == 3
    assert "hydra.sweeper.max_failures=5 is reached; the last trial failed: " in ran.text
    assert [trial.state.name for trial in app.study("s.db", "s").trials] == ["FAIL"] * 5


def test_a_job_in_this_process_has_the_terminal_for_itself(app: App) -> None:
    terminal, other_end = pty.openpty()
    environment = app.program.environment(TERM="xterm", COLUMNS="100")
    process = subprocess.Popen(
        [sys.executable, "app.py", "-m", *GRID, "x=7,8"],
        cwd=app.program.folder,
        env=environment,
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)
    seen = read_until(terminal, "(Pdb) ")
    os.write(terminal, b"p 6 * x\n")
    seen += read_until(terminal, "(Pdb) ")
    assert "42\r\n" in seen
    os.write(terminal, b"c\n")
    seen += read_until(terminal, "which loss? ")
    os.write(terminal, b"0.25\n")
    seen += read_until(terminal, "optimization_results.yaml")
    assert process.wait(60) == 0
    os.close(terminal)
    assert "\x1b[2K" not in seen  # nothing was drawn over
    assert [trial.value for trial in app.study("s.db", "s").trials] == [7, 0.25]


def read_until(terminal: int, text: str) -> str:
    """Return what a program prints up to a text; fail if it does not come."""
    seen, deadline_s = b"", time.monotonic() + 120
    while text.encode() not in seen:
        ready, _, _ = select.select([terminal], [], [], max(deadline_s - time.monotonic(), 0))
        assert ready, seen.decode()
        seen += os.read(terminal, 4096)
    return seen.decode()
