"""End a process with all that it started, whatever group or session that is in.

On Linux nothing escapes by losing its parent: orphans go to the nearest child subreaper above them,
which each job is and the process that starts jobs. Elsewhere only the process group is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from energyopt.hardware.cgroup import kill_of
from energyopt.hardware.host import descendants
from energyopt.utils.process import kill_groups

_STATE, _PARENT, _GROUP = 0, 1, 2  # fields of /proc/PID/stat after the command's ")"
_DEAD = "ZX"
_GIVE_UP_S = 1.0  # a process that waits for a driver ends later
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """A process that was ended because what started it has ended."""

    pid: int
    name: str
    group: int

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


def end_tree(pid: int) -> None:
    """Kill a child of this process, and all that descends from it.

    The child is stopped first, so that it starts nothing more, and killed last, so that what loses
    its parent meanwhile stays among its descendants.
    """
    _send(pid, signal.SIGSTOP)
    kill_of(pid)  # at once, where it has a cgroup
    _end(lambda: _living(pid, ()))
    kill_groups([pid])
    _send(pid, signal.SIGKILL)


def end_orphans(spared: Collection[int]) -> list[EndedProcess]:
    """Kill what descends from this process, and return it.

    Args:
        spared: Children that are left alone, with what they started.
    """
    return _end(lambda: _living(os.getpid(), spared))


def describe_left(processes: Collection[EndedProcess], group: int) -> str | None:
    """Return a sentence about what a job left in other process groups than its own."""
    names = ", ".join(str(process) for process in processes if process.group != group)
    return f"a trial ended and left {names} running, which was ended as well\n" if names else None


def _living(pid: int, spared: Collection[int]) -> dict[int, EndedProcess]:
    """Return the descendants of a process that run."""
    left_alone, living = set(spared), {}
    for child, fields in descendants(pid).items():  # a parent comes before its children
        if child in left_alone or int(fields[_PARENT]) in left_alone:
            left_alone.add(child)
        elif fields[_STATE] not in _DEAD:
            living[child] = EndedProcess(child, _name(child), int(fields[_GROUP]))
    return living


def _end(look: Callable[[], dict[int, EndedProcess]]) -> list[EndedProcess]:
    """Kill processes until none is seen: one may start another meanwhile."""
    ended: dict[int, EndedProcess] = {}
    deadline_s = time.monotonic() + _GIVE_UP_S
    while (living := look()) and time.monotonic() < deadline_s:
        for pid in living:
            _send(pid, signal.SIGKILL)
        ended |= living
        time.sleep(_POLL_S)
    return list(ended.values())


def _send(pid: int, number: int) -> None:
    # It ended meanwhile, or is another user's (sudo): then nothing can be done.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
