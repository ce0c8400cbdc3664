"""The fallback without sensors: constant watts per core times CPU seconds, labelled so."""

from __future__ import annotations

import math
import os
import resource
import time

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.errors import ConfigError
from energyopt.hardware.host import descendants, device_model, hostname

_VERSION = "model 1"
# Of /proc/PID/stat after the command's ")": utime, stime, cutime, cstime.
_CLOCK_TICKS_FIELDS = slice(11, 15)


class CpuTimeMeter:
    """Estimates energy as watts per core x CPU seconds of this process and its children.

    Linear and additive over trials. The absolute value may be wrong by several times: it is CPU
    time in joules, not a sensor. CPU time grows with what neighbours do to caches and clocks, so
    the same training takes more of it on a busy machine than on a quiet one. 4 W per core is also
    what CodeCarbon falls back to.

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
            uncertainty="absolute joules may be off by several times; repeats of one training "
            "varied by 11 % (CV) on a busy machine: differences below 25 % between single runs "
            "are within noise",
        )

    def start(self) -> None:
        """Open a window."""
        children_s = _children_s()  # first: looking for them is no part of the window
        self._began = (time.perf_counter(), time.process_time() + children_s)

    def stop(self) -> Energy:
        """Close the window."""
        if self._began is None:
            raise RuntimeError("stop() without start()")
        began_s, began_cpu_s = self._began
        self._began = None
        time_s, own_s = time.perf_counter() - began_s, time.process_time()
        cpu_s = max(0.0, own_s + _children_s() - began_cpu_s)
        return Energy(time_s, cpu_j=self._watts_per_core * cpu_s)


def _children_s() -> float:
    """CPU time of all descendants, finished and (on Linux) running, in s."""
    finished = resource.getrusage(resource.RUSAGE_CHILDREN)
    return finished.ru_utime + finished.ru_stime + _running_children_s()


def _running_children_s() -> float:
    """CPU time of the running descendants, such as data loading workers, in s."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are none: the usual case, without a look at all processes
        return 0.0
    running = descendants(os.getpid()).values()
    ticks = sum(sum(map(int, fields[_CLOCK_TICKS_FIELDS])) for fields in running)
    return ticks / os.sysconf("SC_CLK_TCK")
