"""CPU time of a process and of all that descends from it, whoever waits for them.

The system adds a child's time to its parent's only when the parent waits for it. So it misses a
child that is reaped by itself (SIGCHLD is ignored) and a grandchild whose parent ended first.
Here a cgroup counts them where one can be made. Everywhere on Linux orphans come to this process
instead of init, and what vanished unreaped counts as it was last seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from energyopt.hardware.cgroup import CpuCgroup
from energyopt.hardware.host import descendants

_PR_SET_CHILD_SUBREAPER = 36
_LOOKS = 5  # at most, until two in a row agree
# Fields of /proc/PID/stat after the command's ")".
_STATE, _PARENT, _START = 0, 1, 19
_OWN_TICKS, _WAITED_TICKS = slice(11, 13), slice(13, 15)  # user and system, its own and children's


def adopt_orphans() -> bool:
    """Let processes that lose their parent come to this process instead of init.

    Returns:
        False where the system cannot do so.
    """
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def reap_orphans(excepted: Collection[int]) -> None:
    """Wait for the children that have ended, except some.

    Args:
        excepted: Their numbers: other code waits for them.
    """
    for pid, fields in descendants(os.getpid()).items():
        if int(fields[_PARENT]) == os.getpid() and fields[_STATE] == "Z" and pid not in excepted:
            _reap(pid)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A descendant when it was last looked at: its parent and its CPU times, in s."""

    parent: int
    has_ended: bool
    own_s: float
    waited_s: float  # of its children that it waited for

    @property
    def total_s(self) -> float:
        return self.own_s + self.waited_s


class ProcessTree:
    """Counts the CPU time of this process and its descendants; see `process_tree`."""

    def __init__(self) -> None:
        adopt_orphans()
        self._seen: Mapping[tuple[int, str], _Seen] = {}
        self._waited_s = _waited_s()
        self._unreaped_s = 0.0  # of those that vanished, unless a parent waited for them
        self._others_s = 0.0  # at the last reading: it never falls
        self._lock = threading.Lock()
        self._before_s = time.process_time() + self._seen_s()  # the cgroup misses it
        self._cgroup = CpuCgroup.make(pid for pid, _ in self._seen)
        if self._cgroup is not None:
            self._before_s -= self._cgroup.usage_s()

    def cpu_s(self) -> float:
        """Return the CPU time of the tree since this process began, in s."""
        return time.process_time() + self.others_s()

    def others_s(self) -> float:
        """Return the part of the descendants, ended and (on Linux) running, in s."""
        with self._lock:
            self._others_s = max(self._others_s, self._seen_s(), self._by_cgroup_s())
            return self._others_s

    def _by_cgroup_s(self) -> float:
        """Return the same by the cgroup, in s; 0 without one.

        Never too much: it lags behind a running process by up to a tick of the kernel, and what
        this process itself used is read after it.
        """
        if self._cgroup is None:
            return 0.0
        try:
            tree_s = self._before_s + self._cgroup.usage_s()
        except (OSError, ValueError):  # it was removed
            self._cgroup = None
            return 0.0
        return tree_s - time.process_time()

    def _seen_s(self) -> float:
        """Return the CPU time of the descendants as far as it can be seen in /proc, in s."""
        if not self._seen and not _has_children():  # the usual case: no need to read /proc
            self._waited_s = _waited_s()
        else:
            self._look()
        running_s = sum(process.total_s for process in self._seen.values())
        return self._waited_s + running_s + self._unreaped_s

    def _look(self) -> None:
        """Look at all descendants, and wait for ended ones that this process adopted."""
        waited_s, processes = _waited_s(), _look_at_descendants()
        for _ in range(_LOOKS if self._seen.keys() - processes.keys() else 0):
            # One that is waited for while others are read shows in neither: look again.
            numbers, waited_s, processes = processes.keys(), _waited_s(), _look_at_descendants()
            if processes.keys() == numbers:
                break
        self._unreaped_s += _missing_s(self._seen, processes, waited_s - self._waited_s)
        for key, process in processes.items():
            earlier = self._seen.get(key, process)
            if process.has_ended and process.parent == os.getpid() != earlier.parent:
                _reap(key[0])  # it shows in the waited time of the next reading
        self._seen, self._waited_s = processes, waited_s


_trees: dict[int, ProcessTree] = {}


def process_tree() -> ProcessTree:
    """Return the tree of this process; a fork has its own."""
    pid = os.getpid()
    if pid not in _trees:
        _trees.clear()
        _trees[pid] = ProcessTree()
    return _trees[pid]


class ReapedChildren:
    """Makes a process that ignores SIGCHLD keep its ended children until they are counted.

    Where the signal is ignored, an ended child takes its CPU time with it. While this is active
    the default holds instead, and `end` waits for them: no other code can, since there the system
    answers that there is no child. Does nothing outside of the main thread, which alone may change
    signals.
    """

    def __init__(self) -> None:
        self._is_active = False

    def begin(self) -> None:
        """Keep children from now on."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._is_active = True

    def end(self) -> None:
        """Wait for those that ended, and ignore the signal again."""
        if not self._is_active:
            return
        self._is_active = False
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # another thread than that of `begin`
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _missing_s(
    earlier: Mapping[tuple[int, str], _Seen],
    latest: Mapping[tuple[int, str], _Seen],
    gained_s: float,
) -> float:
    """Return the CPU time of vanished processes that no parent waited for, in s.

    A vanished process must show in the waited time of its nearest ancestor that still lives, or,
    as an orphan, in that of this process: what does not is missing. Never more than was seen.

    Args:
        earlier: The descendants at the last reading.
        latest: Those at this one.
        gained_s: By how much the waited time of this process grew, in s.
    """
    keys = {pid: (pid, start) for pid, start in earlier}
    expected_s: dict[tuple[int, str] | None, float] = {}
    for key in earlier.keys() - latest.keys():
        ancestor = keys.get(earlier[key].parent)
        while ancestor is not None and ancestor not in latest:
            ancestor = keys.get(earlier[ancestor].parent)
        expected_s[ancestor] = expected_s.get(ancestor, 0.0) + earlier[key].total_s
    surplus_s = gained_s - expected_s.pop(None, 0.0)
    missing_s = -min(surplus_s, 0.0)
    for ancestor, vanished_s in expected_s.items():
        assert ancestor is not None  # noqa: S101  # for the type checker
        gain_s = latest[ancestor].waited_s - earlier[ancestor].waited_s
        missing_s += max(vanished_s - gain_s, 0.0)
    return max(missing_s - max(surplus_s, 0.0), 0.0)


def _look_at_descendants() -> dict[tuple[int, str], _Seen]:
    """Return the descendants, by number and start."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return {
        (pid, fields[_START]): _Seen(
            int(fields[_PARENT]),
            fields[_STATE] == "Z",
            tick_s * sum(map(int, fields[_OWN_TICKS])),
            tick_s * sum(map(int, fields[_WAITED_TICKS])),
        )
        for pid, fields in descendants(os.getpid()).items()
    }


def _waited_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
