"""Estimate energy from CPU time where there is no sensor; labelled as an estimate."""

from __future__ import annotations

import contextlib
import time

from energyopt.core.energy import Energy
from energyopt.core.number_checks import is_number
from energyopt.core.trial_result import Provenance
from energyopt.errors import ConfigError
from energyopt.hardware.host import device_model, hostname
from energyopt.hardware.process_tree import ReapedChildren, process_tree

_NAME = "cpu-time x {:g} W/core"


class CpuTimeMeter:
    """Estimates energy from the CPU time of this process and its descendants.

    E = P_core x (t_user + t_system). It is linear, so the estimates of trials add up, and other
    processes' CPU time is not counted; that of descendants is, however they end (`process_tree`).
    The absolute value may be wrong by several times: it is CPU time in joules, not a sensor (even
    calibrated estimates are off by up to 40 %: Fischer 2025, arXiv:2509.22092). CPU time also grows
    when other processes compete for caches and clocks, so a training takes more of it on a busy
    machine than on a quiet one.

    The default of 4 W is what CodeCarbon 3 assumes for a thread of a processor that it does not
    know. It scales all trials alike, so it does not change their order.

    Args:
        watts_per_core: Power of one busy core, in W.
        device: The resolved device that trains, for provenance.
        because: Why no sensor is read, for provenance.

    Raises:
        ConfigError: If the power is not a positive number.
    """

    counts_own_processes = True  # so each rank of a training has one

    def __init__(
        self, watts_per_core: float = 4.0, device: str = "cpu", because: str | None = None
    ) -> None:
        if not is_number(watts_per_core) or watts_per_core <= 0:
            raise ConfigError(
                f"hardware.meter.watts_per_core={watts_per_core}: a positive number of W is needed"
            )
        self._watts_per_core = float(watts_per_core)
        self._tree, self._children = process_tree(), ReapedChildren()
        self._began: tuple[float, float] | None = None
        self.provenance = Provenance(
            kind="estimated",
            meter=_NAME.format(watts_per_core),
            version="model 1",
            scope="CPU time of the trial's processes",
            device=device_model(device),
            host=hostname(),
            uncertainty="absolute joules may be off by several times; repeats of one training "
            "varied by 11 % (CV) on a busy machine: differences below 25 % between single runs "
            "are within noise" + ("" if because is None else f"; estimated because {because}"),
        )

    def start(self) -> None:
        """Open a window."""
        self._children.begin()
        others_s = self._tree.others_s()  # first: the look at them is not part of the window
        self._began = (time.perf_counter(), time.process_time() + others_s)

    def stop(self) -> Energy:
        """Close the window."""
        if self._began is None:
            raise RuntimeError("stop() without start()")
        began_s, began_cpu_s = self._began
        self._began = None
        time_s, process_s = time.perf_counter() - began_s, time.process_time()
        self._children.end()
        cpu_s = process_s + self._tree.others_s() - began_cpu_s
        return Energy(time_s, cpu_j=self._watts_per_core * cpu_s)


def watts_per_core(provenance: Provenance) -> float | None:
    """Return the power of a core in an estimate of `CpuTimeMeter`, in W; None for other meters."""
    start, end = _NAME.split("{:g}")
    text = provenance.meter.removeprefix(start).removesuffix(end)
    with contextlib.suppress(ValueError):
        return float(text) if provenance.meter == f"{start}{text}{end}" else None
    return None
