"""Child processes at the borders of a run's windows: imports, and prefetching."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence

from energyopt.hardware.host import descendants

_STATE, _TIMES = 0, slice(11, 13)  # of /proc/PID/stat after the command's ")": user, system
_BUSY_STATES = ("R", "D")  # running or ready to run, waiting for a disk
_POLL_S = 0.1
_IDLE_POLLS = 2
_BUSY_SHARE = 0.2  # of a core; below it a child waits for work
_MAX_WAIT_S = 10.0
_STARTERS = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver")
PREFETCH_SHARE = 0.02
"""Share of the training time from which work of children during evaluations is flagged."""


def wait_until_idle(max_wait_s: float = _MAX_WAIT_S) -> bool:
    """Wait until no child computes any more, such as loader workers that import.

    Returns:
        False if a child was still busy at the end of the time.
    """
    until_s = time.monotonic() + max_wait_s
    before, n_idle = _fields(), 0
    while before and n_idle < _IDLE_POLLS:
        if time.monotonic() >= until_s:
            return False
        time.sleep(_POLL_S)
        after = _fields()
        n_idle = 0 if _is_busy(before, after) else n_idle + 1
        before = after
    return True


def fresh_children() -> frozenset[str]:
    """Return traces of children that multiprocessing started as new interpreters.

    Such a child imports before it works; a forked one does not. Traces are the process numbers of
    those that run, and the modules that start them, which Python loads with the first one: loader
    workers that lived for an epoch only are gone at its end.
    """
    starters = {name for name in _STARTERS if name in sys.modules}
    if not starters:  # the usual case
        return frozenset()
    import multiprocessing

    default = multiprocessing.get_start_method(allow_none=True)
    running = {
        str(child.pid)
        for child in multiprocessing.active_children()
        if (getattr(child, "_start_method", None) or default) != "fork"
    }
    return frozenset(starters | running)


class ChildClock:
    """Sums the CPU time that already existing children use during evaluations.

    Children that an evaluation starts are its own; those that were there before may be prefetching
    for the training.

    Attributes:
        used_s: The sum, in s.
    """

    def __init__(self) -> None:
        self.used_s = 0.0
        self._before: Mapping[int, float] = {}

    def start(self) -> None:
        """Begin an evaluation."""
        self._before = _cpu_s(_fields())

    def stop(self) -> None:
        """End an evaluation."""
        if not self._before:
            return
        after = _cpu_s(_fields())
        for child in self._before.keys() & after.keys():
            self.used_s += after[child] - self._before[child]
        self._before = {}


def _fields() -> Mapping[int, Sequence[str]]:
    """Return the running descendants; without children, the usual case, at no cost."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return {}
    return descendants(os.getpid())


def _cpu_s(fields: Mapping[int, Sequence[str]]) -> dict[int, float]:
    ticks_hz = os.sysconf("SC_CLK_TCK")
    return {child: sum(map(int, row[_TIMES])) / ticks_hz for child, row in fields.items()}


def _is_busy(before: Mapping[int, Sequence[str]], after: Mapping[int, Sequence[str]]) -> bool:
    """Return whether a child computes, waits for a disk, or was born between two moments."""
    old_s, new_s = _cpu_s(before), _cpu_s(after)
    return any(
        after[child][_STATE] in _BUSY_STATES
        or used_s - old_s.get(child, -_POLL_S) > _BUSY_SHARE * _POLL_S
        for child, used_s in new_s.items()
    )
