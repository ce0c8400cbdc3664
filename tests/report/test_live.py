"""A study that runs is shown: lines in a log, a live display on a terminal."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.journal import JournalWriter
from energyopt.core.trial_result import Provenance, TrialResult, TrialStart, Window
from energyopt.report.flags import REMEDIES
from energyopt.report.live import LiveStudy
from tests.toys import ESTIMATED, result, trial

COUNTER = Provenance("measured", "a counter", "1", "GPU board", "a GPU", "here", "5 %", 0.1)


def log() -> Console:
    return Console(file=StringIO(), width=200)


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def terminal(width: int) -> Console:
    return Console(file=Screen(), width=width, force_terminal=True, color_system=None)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_what_a_newer_version_writes_does_not_end_the_display(tmp_path: Path):
    console = log()
    path = tmp_path / "progress.jsonl"
    JournalWriter(path).began("loading")
    with path.open("a") as file:
        file.write('{"Phase": {"joules": 7}}\n')
    live = LiveStudy(5, console, ESTIMATED)
    live.started(1, {"lr": 0.1}, path)
    for _ in range(2):
        assert "trial 1: lr=0.1  loading" in live._log_line()


TRACEBACK = 'Traceback:\n  File "app.py", line 3, in f\n    x()\nValueError: {}'


def test_a_traceback_is_shown_once_for_each_place_in_the_code():
    console = log()
    with LiveStudy(5, console, ESTIMATED) as live:
        live.raised(0, TRACEBACK.format("1"))
        live.raised(1, "")
        live.raised(2, TRACEBACK.format("\x1b[2J"))
        live.raised(3, TRACEBACK.replace("line 3", "line 4"))
    assert said(console).count("x()") == 2
    assert "trial 2 raised where trial 0 did; its log has the traceback" in said(console)
    assert "\x1b" not in said(console)


def test_nothing_is_drawn_where_jobs_need_the_terminal():
    console = terminal(80)
    with LiveStudy(3, console, ESTIMATED, draws=False) as live:
        assert not live.drawn
        live.ended(trial(1, state="failed"))
    assert "\x1b" not in said(console)


def test_a_log_has_a_line_a_trial():
    console = log()
    with LiveStudy(3, console, ESTIMATED) as live:
        live.take_up(1, [trial(0, result([(100, 2, 0.95)]))])
        live.ended(trial(1, result([(100, 4, 0.5)])))
        live.ended(trial(2, state="failed", params={"lr": 0.5}))
    assert said(console).splitlines() == [
        "[2/3] trial 1: missed 0.9, best accuracy 0.500, 4 J spent training (lr=0.02); 6 J so far",
        "[3/3] trial 2: failed:  (lr=0.5); 6 J so far",
    ]


def test_a_trial_that_pauses_and_goes_on_is_counted_once_and_so_are_its_joules(tmp_path: Path):
    console = log()
    why = "paused after 1 epoch, 4 J of training"
    with LiveStudy(3, console, ESTIMATED) as live:
        paused = result([(100, 2, 0.5)], end="paused", reason=why)
        live.take_up(0, [trial(0, paused, state="paused")])
        live.paused(trial(1, result([(100, 4, 0.5)], end="paused", reason=why)))
        live.started(1, {"lr": 0.02}, tmp_path / "progress.jsonl")
        live.ended(trial(1, result([(100, 4, 0.5), (200, 8, 0.95)])))
        live.paused(trial(0, result([(100, 2, 0.5), (200, 6, 0.92)], end="paused", reason=why)))
        live.paused(trial(2, result([], end="paused", reason=why)))
    assert said(console).splitlines() == [
        f"[2/3] trial 1: {why}, best accuracy 0.500 (lr=0.02); 6 J so far",
        "[2/3] trial 1: 8 J to 0.9, best accuracy 0.950 (lr=0.02); 10 J so far",
        f"[2/3] trial 0: {why}, 6 J to 0.9, best accuracy 0.920 (lr=0.01); 14 J so far",
        f"[3/3] trial 2: {why} (lr=0.03); 14 J so far",
    ]


def test_where_joules_come_from_is_said_once_where_it_was_not_known():
    console = log()
    with LiveStudy(2, console) as live:
        for number in range(2):
            live.ended(trial(number, result([(100, 4, 0.5)])))
    assert said(console).count("ESTIMATED by") == 1


@pytest.mark.parametrize(
    ("training_s", "flag"),
    [(3, "invalid_window"), (7, "poor_window"), (30, "short_window"), (90, None)],
)
def test_too_short_a_measurement_is_said_once_with_what_to_do(training_s: float, flag: str | None):
    window = Energy(training_s, gpu_j=100.0)
    point = Checkpoint(100, 1, 1.0, 0.95, 0.1, window, Energy(0.1, gpu_j=1.0))
    measured = result([(100, 4, 0.95)], provenance=COUNTER)
    windows = [Window("training", window)]
    measured = TrialResult.assemble(measured.start, windows, [point], measured.end, measured.reason)
    console = log()
    with LiveStudy(2, console, COUNTER) as live:
        for number in range(2):
            live.ended(trial(number, measured))
    if flag is None:
        assert "mind:" not in said(console)
    else:
        assert said(console).count(f"warning: {flag}: {REMEDIES[flag]}") == 1


def test_a_terminal_shows_what_runs_how_far_and_how_much(tmp_path: Path):
    console = terminal(120)
    journal = JournalWriter(tmp_path / "progress.jsonl")
    with LiveStudy(5, console, ESTIMATED) as live:
        live.take_up(1, [trial(0, result([(100, 2, 0.95)]))])
        live.started(1, {"lr": 0.1}, tmp_path / "progress.jsonl")
        journal.append(TrialStart(0.9, 30, 0, ESTIMATED))
        spent = Energy(1.0, cpu_j=3.0)
        journal.append(Window("training", spent))
        journal.append(Checkpoint(50, 1, 0.5, 0.7, 1.0, spent, Energy(0.1, cpu_j=0.1)))
        live.note("word " * 30)
    shown = said(console)
    assert "1/5 trials" in shown
    assert "best  2 J to 0.9, best accuracy 0.950 (lr=0.01)" in shown
    assert "now   trial 1: lr=0.1  epoch 0.5/30, accuracy 0.700, 3 J, at most 59 s left" in shown
    assert [line.count("word") for line in shown.splitlines()[:2]] == [24, 6]


def test_a_log_has_a_line_of_what_runs_now_and_then(tmp_path: Path):
    console = log()
    journal = JournalWriter(tmp_path / "progress.jsonl")
    live = LiveStudy(5, console, ESTIMATED)
    assert live._log_line() == ""
    live.take_up(1, [trial(0, result([(100, 2, 0.95)]))])
    live.started(1, {"lr": 0.1}, tmp_path / "progress.jsonl")
    assert re.fullmatch(r"\[1/5\] now   trial 1: lr=0.1  starting, \d+ s", live._log_line())
    journal.append(TrialStart(0.9, 30, 0, ESTIMATED))
    journal.append(Window("training", Energy(600.0, cpu_j=3.0)))
    journal.append(Checkpoint(50, 1, 1, 0.7, 1.0, Energy(600.0, cpu_j=3.0), Energy(0.0)))
    line = "[1/5] now   trial 1: lr=0.1  epoch 1/30, accuracy 0.700, 3 J, at most 4 h 50 min left"
    assert live._log_line() == line
