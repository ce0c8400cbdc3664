"""The fallback without sensors: constant watts per core times CPU seconds, labelled so."""

from __future__ import annotations

import math
import os
import resource
import time
from pathlib import Path

from energyopt.errors import ConfigError
from energyopt.hardware.host import device_model, hostname
from energyopt.records import Energy, Provenance

_VERSION = "1"
_PROC = Path("/proc")
_CLOCK_TICKS_FIELDS = slice(11, 15)  # utime, stime, cutime, cstime after the command's ")"


class CpuTimeMeter:
    """Estimates energy as watts per core x CPU seconds of this process and its children.

    Linear, additive over trials, and blind to the load of neighbours; its ranking is the
    ranking by CPU work. The absolute value may be wrong by several times: it is CPU time
    in joules, not a sensor. 4 W per core is also what CodeCarbon falls back to.

    Args:
        watts_per_core: Power of one busy core, in W.
        device: The resolved device that trains, for provenance.

    Raises:
        ConfigError: If the power is not a positive number.
    """

    def __init__(self, watts_per_core: float = 4.0, device: str = "cpu") -> None:
        if not (
            isinstance(watts_per_core, int | float)
            and math.isfinite(watts_per_core)
            and watts_per_core > 0
        ):
            raise ConfigError(
                f"hardware.meter.watts_per_core={watts_per_core}: a positive number of W is needed"
            )
        self._watts_per_core = float(watts_per_core)
        self._began: tuple[float, float] | None = None
        self.provenance = Provenance(
            kind="estimated",
            meter=f"cpu-time x {watts_per_core:g} W/core",
            version=_VERSION,
            scope="CPU time of the trial's processes",
            device=device_model(device),
            host=hostname(),
            uncertainty="absolute joules may be off by several times; the ranking is that of "
            "CPU work",
        )

    def start(self) -> None:
        """Open a window."""
        self._began = (time.perf_counter(), _cpu_seconds())

    def stop(self) -> Energy:
        """Close the window."""
        if self._began is None:
            raise RuntimeError("stop() without start()")
        began_s, began_cpu_s = self._began
        self._began = None
        cpu_s = max(0.0, _cpu_seconds() - began_cpu_s)
        return Energy(time.perf_counter() - began_s, cpu_j=self._watts_per_core * cpu_s)


def _cpu_seconds() -> float:
    """CPU time of this process, its finished children, and (on Linux) its running ones, in s."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + _running_children_s("self")


def _running_children_s(pid: str) -> float:
    """CPU time of the running descendants of a process, such as data loading workers, in s."""
    seconds = 0.0
    for children in (_PROC / pid / "task").glob("*/children"):
        try:
            pids = children.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        for child in pids:
            try:
                stat = (_PROC / child / "stat").read_text()
            except OSError:  # the child ended meanwhile and counts as finished
                continue
            ticks = map(int, stat.rpartition(")")[2].split()[_CLOCK_TICKS_FIELDS])
            seconds += sum(ticks) / os.sysconf("SC_CLK_TCK") + _running_children_s(child)
    return seconds
