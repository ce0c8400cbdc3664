"""Identity of processes, signals at a parent's death, and ending of process groups."""

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
    """A process, distinguished from all others that ever had its number."""

    host: str
    place: str  # identity of the running kernel and its pid namespace; empty if unknown
    pid: int
    start: str  # in the kernel's ticks since boot; empty if unknown

    @classmethod
    def this(cls) -> Process:
        """Return the calling process."""
        pid = os.getpid()
        return cls(socket.gethostname(), place(), pid, _stat(pid)[1])

    def lives(self) -> bool | None:
        """Return True if it still runs; None if that cannot be determined from here."""
        current = place()
        if self.place != current or (not current and self.host != socket.gethostname()):
            return None
        if not current:  # no /proc: the number may belong to another process
            return None if _is_taken(self.pid) else False
        state, start = _stat(self.pid)
        if not state:  # gone, or hidden as the non-dumpable are (hidepid)
            return None if _is_taken(self.pid) else False
        return start == self.start and state not in ("Z", "X")


def boot_id() -> str:
    """Return the boot id of the running kernel; empty if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def place() -> str:
    """Return an identity of this kernel and pid namespace; empty if unknown."""
    try:
        return f"{boot_id()}/{_NAMESPACE.readlink()}"
    except OSError:
        return ""


def kill_groups(groups: Iterable[int]) -> None:
    """Kill all processes of the groups that still exist."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to send this process a signal when its parent dies.

    Args:
        parent: The parent's number, read before this process was forked.
        number: The signal; 0 cancels.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def _stat(pid: int) -> tuple[str, str]:
    """Return state and start of a process; empty if it does not exist or is hidden."""
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
