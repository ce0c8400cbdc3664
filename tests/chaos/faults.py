"""Random faults: signals to processes, the death of a database server, a flipped bit of a file."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from energyopt.core.journal import NAME as JOURNAL
from energyopt.training.checkpointing import NAME as PAUSED
from tests.conftest import children_of, gone
from tests.damage import flip

Target = Literal["coordinator", "fork server", "trial", "database server", "file"]
Act = Literal["KILL", "STOP", "TERM", "INT", "FLIP"]

_ACTS: Mapping[Target, Sequence[Act]] = {
    "coordinator": ("KILL", "KILL", "STOP", "TERM", "INT"),
    "fork server": ("KILL", "STOP", "TERM", "INT"),
    "trial": ("KILL", "STOP", "TERM", "INT"),
    "database server": ("KILL",),
    "file": ("FLIP",),
}


class Server(Protocol):
    """A database server that can die, and comes back."""

    def stop(self) -> None:
        """Die."""

    def start(self) -> None:
        """Come back, and answer."""


@dataclass(frozen=True)
class Fault:
    """A signal to a process, or another bit of a file of a trial.

    Attributes:
        n_begun: It waits until so many trials have begun, so that each step of a study is hit on
            a slow machine, too; 0 hits a command that starts.
        after_s: Time since then, in s.
        target: The process, or a journal or a paused state.
        act: The signal.
        lasts_s: How long a stopped process is stopped, in s.
        place: Which file, and where in it, as a share.
    """

    n_begun: int
    after_s: float
    target: Target
    act: Act
    lasts_s: float
    place: float

    def __str__(self) -> str:
        return f"{self.act} {self.target} {self.after_s:.2f} s after trial {self.n_begun}"


def faults(chance: random.Random, n_trials: int, *, with_server: bool) -> list[Fault]:
    """Return the faults of a round, in the order of time."""
    targets: list[Target] = ["coordinator", "coordinator", "fork server", "trial", "trial", "file"]
    if with_server:
        targets.append("database server")
    drawn: list[Fault] = []
    for _ in range(chance.randint(1, 4)):
        target = chance.choice(targets)
        act = chance.choice(_ACTS[target])
        n_begun = chance.randint(0 if target == "coordinator" else 1, n_trials)
        times_s = chance.uniform(0.0, 0.6), chance.uniform(0.1, 0.6)
        drawn.append(Fault(n_begun, times_s[0], target, act, times_s[1], chance.random()))
    return sorted(drawn, key=lambda fault: fault.n_begun)


def strike(fault: Fault, coordinator: int, folder: Path, server: Server | None) -> bool:
    """Do it. Returns False if its target is not there now.

    Args:
        fault: The fault.
        coordinator: The process of the command.
        folder: Holds the folders of its trials.
        server: Its database server.
    """
    if fault.target == "file":
        return _flip_in(folder, fault.place)
    if fault.target == "database server":
        assert server is not None
        server.stop()
        server.start()
        return True
    processes = _processes(coordinator, fault.target)
    if not processes:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(processes[-1], getattr(signal, f"SIG{fault.act}"))
        if fault.act == "STOP":
            time.sleep(fault.lasts_s)
            os.kill(processes[-1], signal.SIGCONT)
        return True
    return False


def _flip_in(folder: Path, place: float) -> bool:
    files = sorted(path for name in (PAUSED, JOURNAL) for path in folder.glob(f"*/{name}"))
    if not files:
        return False
    number = place * len(files)
    with contextlib.suppress(FileNotFoundError, IndexError):  # it has just ended, or begun
        path = files[int(number)]
        flip(path, int((number % 1) * path.stat().st_size))
        return True
    return False


def _processes(coordinator: int, target: Target) -> list[int]:
    if target == "coordinator":
        return [] if gone(coordinator) else [coordinator]
    servers = children_of(coordinator)
    if target == "fork server":
        return servers
    return [trial for server in servers for trial in children_of(server)]


def left_in(folder: Path, *, patience_s: float = 10.0) -> list[str]:
    """Return the commands of the processes that still work in a folder after some time."""
    give_up_s = time.monotonic() + patience_s
    while left := list(_working_in(folder)):
        if time.monotonic() > give_up_s:
            break
        time.sleep(0.05)
    return left


def _working_in(folder: Path) -> Sequence[str]:
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_there = (process / "cwd").readlink().is_relative_to(folder)
            if is_there and int(process.name) != os.getpid() and not gone(int(process.name)):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                commands.append(f"{process.name}: {command}")
    return commands
