"""Others that take CPU time from a training: its hypervisor, and other processes on its cores.

An estimate by CPU time grows when others compete for caches and clocks. Two counters of the kernel
tell of it: the time that the host of a virtual machine took ("steal" in /proc/stat), and how often
the trial's processes were put off a core with work left (involuntary context switches).
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from energyopt.core.conditions import CpuDisturbance

STAT = Path("/proc/stat")
# Fields of its first line: user, nice, system, idle, iowait, irq, softirq, steal.
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
_STEAL_FIELD = 7


class DisturbanceWatch:
    """Counts the disturbance of this process and its ended children between two moments.

    Read only at these, as the kernel needs some time for /proc/stat on machines of many cores.

    Args:
        earlier: The disturbance up to a pause, to which it adds; None for none.
    """

    def __init__(self, earlier: CpuDisturbance | None = None) -> None:
        self._earlier = earlier
        self._began: CpuDisturbance | None = None

    def begin(self) -> None:
        """Begin to count, unless it has begun."""
        if self._began is None:
            self._began = _counters()

    def so_far(self) -> CpuDisturbance | None:
        """Return the disturbance since then; None if it has not begun."""
        if self._began is None:
            return self._earlier
        latest = _counters() - self._began
        return latest if self._earlier is None else self._earlier + latest


def _counters() -> CpuDisturbance:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    busy_s, steal_s = _machine()
    return CpuDisturbance(
        cpu_s=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        switches=sum(usage.ru_nivcsw for usage in usages),
        busy_s=busy_s,
        steal_s=steal_s,
    )


def _machine() -> tuple[float | None, float | None]:
    """Return the CPU time that all took, steal included, and steal, in s; None where unknown."""
    try:
        with STAT.open() as file:
            fields = [int(field) for field in file.readline().split()[1:]]
    except (OSError, ValueError):  # another system, or a sandbox without it
        return None, None
    if len(fields) <= _STEAL_FIELD:
        return None, None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return tick_s * sum(fields[i] for i in _BUSY_FIELDS), tick_s * fields[_STEAL_FIELD]
