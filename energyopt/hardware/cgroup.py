"""CPU time of a process tree by a cgroup of its own, where one can be made (Linux, cgroup v2).

The kernel counts there whatever descends from this process, however it ends and whoever waits for
it. It is a child of the cgroup that the process is in, so all limits that hold stay in force.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_MEMBERSHIP = Path("/proc/self/cgroup")
_PREFIX = "energyopt-"
_ROOT, _POINT = 3, 4  # fields of a mount


class CpuCgroup:
    """A cgroup that this process has moved to.

    Args:
        folder: The cgroup.
        pid: This process.
    """

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder = folder
        self._pid = pid

    @classmethod
    def make(cls, descendants: Iterable[int]) -> CpuCgroup | None:
        """Make one, and move this process and its descendants there.

        Returns:
            None where that is not possible: most users may not, nor may most containers.
        """
        parent, pid = _current(), os.getpid()
        if parent is None:
            return None
        remove_left(parent)
        folder = parent / f"{_PREFIX}{pid}"
        cgroup = cls(folder, pid)
        try:
            folder.mkdir()
            cgroup.usage_s()  # before the move: an old kernel has no such file
            _move(folder, pid)
        except (OSError, ValueError):
            cgroup.close()
            return None
        for descendant in descendants:
            with contextlib.suppress(OSError):  # it ended meanwhile
                _move(folder, descendant)
        atexit.register(cgroup.close)
        return cgroup

    def usage_s(self) -> float:
        """Return the CPU time that was used in it, in s.

        Raises:
            OSError: If it is gone.
            ValueError: If the kernel does not say.
        """
        for line in (self._folder / "cpu.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec":
                return int(value) / 1e6
        raise ValueError(f"{self._folder} has no usage_usec")

    def close(self) -> None:
        """Return to the cgroup before, and remove this one; a fork leaves it alone."""
        if os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError):
            if _current() == self._folder:
                _move(self._folder.parent, self._pid)
        _remove(self._folder)


def remove_of(pid: int) -> None:
    """Remove the cgroup that a dead child of this process left below that of this process."""
    parent = _current()
    if parent is not None:
        _remove(parent / f"{_PREFIX}{pid}")


def kill_of(pid: int) -> None:
    """Kill all that is in the cgroup that a child of this process has made; needs Linux 5.14.

    One of that name which the child is not in is another's: of a dead process that had its number,
    or of one that has it in another namespace.
    """
    parent = _current()
    if parent is None:
        return
    folder = parent / f"{_PREFIX}{pid}"
    with contextlib.suppress(OSError):
        if str(pid) in (folder / "cgroup.procs").read_text().split():
            (folder / "cgroup.kill").write_text("1")


def remove_left(parent: Path) -> None:
    """Remove the cgroups that dead processes left in another."""
    for folder in parent.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup and those below it; the kernel refuses it for one that has processes."""
    for child in folder.glob(f"{_PREFIX}*"):
        _remove(child)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _move(folder: Path, pid: int) -> None:
    (folder / "cgroup.procs").write_text(str(pid))


def _current() -> Path | None:
    """Return the folder of the cgroup that this process is in; None where it cannot be seen."""
    try:
        memberships = _MEMBERSHIP.read_text().splitlines()
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    path = next((line[3:] for line in memberships if line.startswith("0::")), None)
    mount = next((fields for fields in mounts if "cgroup2" in fields[fields.index("-") :]), None)
    if path is None or mount is None:
        return None
    try:
        return Path(mount[_POINT]) / Path(path).relative_to(mount[_ROOT])
    except ValueError:  # mounted from elsewhere, as in some containers
        return None
