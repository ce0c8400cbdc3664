"""A process is told from all others that ever had its number."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.errors import ConfigError
from energyopt.utils import failpoints, process
from energyopt.utils.process import Process
from tests.small_study import UNTOUCHED, forked


def test_this_process_lives():
    this = Process.this()
    assert this.pid == os.getpid()
    assert this.lives() is True
    assert Process.this() == this


def test_another_that_had_its_number_is_dead():
    assert dataclasses.replace(Process.this(), start="1").lives() is False


def test_a_dead_one_is_dead_at_once_even_if_nobody_waited_for_it():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        there = dataclasses.replace(Process.this(), pid=child.pid, start=start)
        assert there.lives() is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        assert there.lives() is False
    assert there.lives() is False


def test_of_a_hidden_one_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    this = Process.this()
    place = process.place()
    monkeypatch.setattr(process, "place", lambda: place)
    monkeypatch.setattr(process, "Path", lambda _: Path("/nowhere/stat"))  # as hidepid=2 shows it
    assert this.lives() is None
    assert dataclasses.replace(this, pid=2**22 + 1).lives() is False  # above all numbers


def test_of_another_place_nothing_can_be_told():
    assert dataclasses.replace(Process.this(), place="elsewhere").lives() is None


@pytest.mark.parametrize(
    "text", ["here", "here:", "here:die", "here#0:kill", "Here:kill", "a#b:fail"]
)
def test_a_failpoint_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="name:kill, name:stop, name:fail"):
        failpoints.arm(text)


def test_failpoints_strike_the_nth_time_and_nowhere_else():
    def pass_thrice() -> None:
        for _ in range(3):
            failpoints.hit("here")
            failpoints.hit("there")

    assert forked(pass_thrice) == 0
    assert forked(pass_thrice, "here#3:kill") == -signal.SIGKILL
    assert forked(pass_thrice, "here#4:kill") == UNTOUCHED
    assert forked(pass_thrice, "elsewhere:kill") == UNTOUCHED
    failpoints.arm("here#2:fail")
    failpoints.hit("here")
    with pytest.raises(failpoints.Injected, match="failpoint here"):
        failpoints.hit("here")
    failpoints.arm("")
    failpoints.hit("here")
