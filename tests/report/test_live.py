"""A study that runs is shown: lines in a log, a live display on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.journal import JournalReader, JournalWriter
from energyopt.core.study_record import Metric, TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult, TrialStart, Window
from energyopt.core.units import setup
from energyopt.report.flags import REMEDIES
from energyopt.report.live import LiveStudy, LiveTrial
from energyopt.report.trial_lines import Running, best_line, trainings_line
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
    live = LiveTrial(path, console)
    for _ in range(2):
        assert live._line is not None
        assert re.fullmatch(r"now   training: loading, \d+ s", live._line())


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


def test_a_trial_that_pauses_and_goes_on_has_one_line_and_its_joules_count_once(tmp_path: Path):
    console = log()
    why = "paused after 1 epoch, 4 J of training"
    with LiveStudy(4, console, ESTIMATED) as live:
        paused = result([(100, 2, 0.5)], end="paused", reason=why)
        live.take_up(0, [trial(0, paused, state="paused")])
        live.paused(trial(1, result([(100, 4, 0.5)], end="paused", reason=why)))
        live.started(1, {"lr": 0.02}, tmp_path / "progress.jsonl")
        live.ended(trial(1, result([(100, 4, 0.5), (200, 8, 0.95)])))
        live.paused(trial(0, result([(100, 2, 0.5), (200, 6, 0.92)], end="paused", reason=why)))
        live.paused(trial(2, result([(100, 4, 0.5)], end="paused", reason=why)))
        live.paused(trial(3, result([(100, 4, 0.5)], end="paused", reason=why)))
        live.lost(3, "trial 3 is trained again")
        live.ended(trial(0, result([(100, 2, 0.5), (200, 6, 0.92), (300, 9, 0.93)])))
    assert said(console).splitlines() == [
        "[2/4] trial 1: 8 J to 0.9, best accuracy 0.950 (lr=0.02); 10 J so far",
        "[2/4] trial 0: 6 J to 0.9, best accuracy 0.920, paused (lr=0.01); 14 J so far",
        "trial 3 is trained again",
        f"[3/4] trial 2: {why}, best accuracy 0.500 (lr=0.03); 25 J so far",
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


MANY = {"lr": 0.05, "batch_size": 64, "momentum": 0.9, "label": "x" * 150}


def shown_in_a_terminal(columns: int, folder: Path) -> list[str]:
    """What a real terminal is sent for a study: the lines of trials, and at last a drawing."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    default = trial(0, result([(100, 8, 0.8), (200, 16, 0.95)]), default=True, params=MANY)
    journal = JournalWriter(folder / "progress.jsonl")
    with os.fdopen(follower, "w") as screen:
        width = os.get_terminal_size(follower).columns
        console = Console(file=screen, width=width, color_system=None, legacy_windows=False)
        with LiveStudy(30, console, ESTIMATED) as live:
            live.take_up(1, [default])
            live.ended(trial(1, result([(100, 2, 0.95)]), params={**MANY, "lr": 0.1}))
            live.ended(trial(2, result([(100, 4, 0.5)]), params={**MANY, "lr": 0.2}))
            journal.append(TrialStart(0.9, 30, 0, ESTIMATED))
            journal.append(Window("training", Energy(1.0, cpu_j=3.0)))
            journal.append(Checkpoint(50, 1, 0.5, 0.7, 1.0, Energy(1.0, cpu_j=3.0), Energy(0.1)))
            live.started(3, {**MANY, "batch_size": 16}, folder / "progress.jsonl")
            live.paused(trial(4, result([(100, 4, 0.5)], end="paused", reason="paused")))
            assert isinstance(live._live, Live)
            live._live.refresh()
    sent = b""
    with suppress(OSError):  # which is how a terminal says that there is no more
        while piece := os.read(leader, 4096):
            sent += piece
    os.close(leader)
    lines = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "", sent.decode()).splitlines()
    return [line for line in lines if line.strip()]


@pytest.mark.parametrize("columns", [80, 140])
def test_three_lines_are_drawn_whose_configuration_is_cut(columns: int, tmp_path: Path):
    lines = shown_in_a_terminal(columns, tmp_path)
    *_, bar, best, now = lines
    assert sum(line.startswith("trial ") for line in lines) == 2
    assert max(map(len, lines)) <= columns
    assert re.search(r"4/30 trials, 29 J so far, \d+ s, about \d+ s left *$", bar)
    whole = f"best  2 J to 0.9, accuracy 0.950, 0.12x the default  {setup({**MANY, 'lr': 0.1})}"
    assert best.rstrip() == f"{whole[: columns - 1]}…"
    # Of more than three keys, those that the best trial has, too, are left out.
    assert now == "now   trial 3: epoch 0.5/30, accuracy 0.700, 3 J  lr=0.05 batch_size=16"


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([], "none yet"),
        ([trial(0, result([(100, 2, 0.5)]))], "accuracy 0.500 with 2 J, not yet 0.9  lr=0.01"),
        ([trial(0, result([(100, 2, 0.9)]), default=True, params={})],
         "2 J to 0.9, accuracy 0.900, default"),
        ([trial(n, state="complete", values=(loss,)) for n, loss in enumerate((3, 1, 2))],
         "1  lr=0.02"),
    ],
)  # fmt: skip
def test_the_best_trial_so_far_is_said_in_each_case(trials: list[TrialRecord], best: str):
    live = LiveStudy(9, terminal(80), ESTIMATED, metrics=[Metric("loss", "minimize")])
    live.take_up(len(trials), trials)
    assert best_line(live._best, live._default) == f"best  {best}"


def test_several_trainings_are_one_line(tmp_path: Path):
    running = []
    for number in (1, 2):
        journal = JournalWriter(tmp_path / f"{number}.jsonl")
        running.append(Running({}, JournalReader(tmp_path / f"{number}.jsonl"), 0.0))
        assert trainings_line(running).endswith(f"{number} trials: starting") or number > 1
        spent = Energy(1.0, cpu_j=3.0 * number)
        journal.append(TrialStart(0.9, 30, 0, ESTIMATED))
        journal.append(Window("training", spent))
        journal.append(Checkpoint(50, 1, number / 2, number / 5, 1.0, spent, Energy(0.1)))
    line = "now   2 trials: epoch 0.5 to 1, accuracy 0.200 to 0.400, 9 J"
    assert trainings_line(running) == line


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
    assert "best  2 J to 0.9, accuracy 0.950  lr=0.01" in shown
    assert "now   trial 1: epoch 0.5/30, accuracy 0.700, 3 J, at most 59 s left  lr=0.1" in shown
    assert [line.count("word") for line in shown.splitlines()[:2]] == [24, 6]


def test_the_log_of_one_training_has_a_line_now_and_then(tmp_path: Path):
    journal = JournalWriter(tmp_path / "progress.jsonl")
    line = LiveTrial(tmp_path / "progress.jsonl", log())._line
    assert line is not None
    assert re.fullmatch(r"now   training: starting, \d+ s", line())
    journal.append(TrialStart(0.9, 30, 0, ESTIMATED))
    journal.append(Window("training", Energy(600.0, cpu_j=3.0)))
    journal.append(Checkpoint(50, 1, 1, 0.7, 1.0, Energy(600.0, cpu_j=3.0), Energy(0.0)))
    assert line() == "now   training: epoch 1/30, accuracy 0.700, 3 J, at most 4 h 50 min left"
