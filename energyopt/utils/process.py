"""Processes: who lives, who dies with whom, and how groups of them are ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_PR_SET_PDEATHSIG = 1
_STATE, _START = 0, 19  # of /proc/PID/stat after the command's ")"


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from all others that ever had its number.

    Attributes:
        host: Name of its machine.
        place: The running kernel and the process numbers of a container; empty if unknown.
        pid: Its number there.
        start: When it began, in the kernel's ticks since boot; empty if unknown.
    """

    host: str
    place: str
    pid: int
    start: str

    @classmethod
    def this(cls) -> Process:
        """The process that asks."""
        pid = os.getpid()
        return cls(socket.gethostname(), place(), pid, _stat(pid)[1])

    def lives(self) -> bool | None:
        """Whether it still runs; None where that cannot be told from here."""
        here = place()
        if self.place != here or (not here and self.host != socket.gethostname()):
            return None
        if not here:  # no /proc: a number that is taken may be another's
            return None if _is_taken(self.pid) else False
        state, start = _stat(self.pid)
        return start == self.start and state not in ("", "Z", "X")


def boot_id() -> str:
    """Of the running kernel; empty where it tells none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def place() -> str:
    """What processes share that see each other's numbers; empty where nothing tells."""
    try:
        return f"{boot_id()}/{_NAMESPACE.readlink()}"
    except OSError:
        return ""


def kill_groups(groups: Iterable[int]) -> None:
    """Kill all processes of the groups that are still there."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to send this process a signal when its parent dies.

    Args:
        parent: The parent's number, as it was before this process began.
        number: The signal; 0 for none any more.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _stat(pid: int) -> tuple[str, str]:
    """State and start of a process; empty if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[_STATE], fields[_START]


def _is_taken(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
