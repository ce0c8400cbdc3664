"""The energy of a whole command: of its processes, or of the devices that its trainings lease.

It is counted by the same means as the trainings, so that the difference is what no training books.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.errors import HardwareError
from energyopt.hardware.estimate import watts_per_core
from energyopt.hardware.host import descendants, process_age_s
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import Board, all_boards
from energyopt.hardware.process_tree import ProcessTree, process_tree
from energyopt.hardware.rapl import PackageCounters, are_readable

_MAX_STARTUP_S = 30.0  # a process that is older did other things before
_MIN_MEAN_S = 1.0  # for a mean power of packages


class CommandMeter(Protocol):
    """Counts the energy of this command."""

    @property
    def basis(self) -> str:
        """How it counts, in words."""

    def total(self, gpus: Collection[str]) -> Energy:
        """Return all energy so far.

        Args:
            gpus: The UUIDs of the GPUs that its trainings have held.
        """


class EstimatedCommand:
    """CPU time of the command's processes, from the start of the first, times a power.

    Args:
        tree: Its processes.
        watts: Power of a busy core, in W.
        earlier_s: CPU time of theirs that is not the command's, in s.
    """

    def __init__(self, tree: ProcessTree, watts: float, earlier_s: float = 0.0) -> None:
        self._tree = tree
        self._watts = watts
        self._earlier_s = earlier_s
        self.basis = f"CPU time of all its processes x {watts:g} W/core"

    def total(self, gpus: Collection[str]) -> Energy:
        """Return all energy so far."""
        del gpus
        return Energy(cpu_j=self._watts * (self._tree.cpu_s() - self._earlier_s))


class CountedCommand:
    """Energy counters since the command began: of the GPUs that it leases, and of the CPU.

    What a GPU uses while another process holds its lease is of that process. It is looked at
    whenever the energy is asked for, so every few seconds.

    Args:
        boards: All GPUs that it may lease.
        startup_s: Time for which the command ran before, in s. Its GPUs are taken to have drawn
            then what they draw now, and its packages what they draw on average.
        clock: Returns the time, in s.
    """

    def __init__(
        self,
        boards: Sequence[Board],
        startup_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boards = {board.uuid: board for board in boards}
        self._last_j = {uuid: board.counter_j() for uuid, board in self._boards.items()}
        self._total_j = {
            uuid: (board.power_w() or 0.0) * startup_s for uuid, board in self._boards.items()
        }
        self._startup_s = startup_s
        self._clock = clock
        self._began_s = clock()
        self._foreign: set[str] = set()
        self._packages: PackageTotals | None = None

    @property
    def basis(self) -> str:
        """How it counts, in words."""
        counted = ["GPUs that its trainings held"] if self._boards else []
        counted += ["CPU packages"] if self._packages is not None else []
        text = f"energy counters of the {' and the '.join(counted)}, from start to end"
        return text + (f" (its first {self._startup_s:.2g} s imputed)" if self._startup_s else "")

    def with_packages(self, packages: PackageTotals, *, gpus: bool) -> CountedCommand:
        """Count the CPU packages as well, or instead of GPUs."""
        self._packages = packages
        if not gpus:
            self._boards = {}
        return self

    def total(self, gpus: Collection[str]) -> Energy:
        """Return all energy so far."""
        self._count()
        counted = [joules for uuid, joules in self._total_j.items() if uuid in gpus]
        energy = Energy(gpu_j=sum(counted) if self._boards else None)
        if self._packages is None:
            return energy
        packages, time_s = self._packages.total(), self._clock() - self._began_s
        scale = 1 + self._startup_s / time_s if time_s >= _MIN_MEAN_S else 1.0
        return energy + packages * scale

    def _count(self) -> None:
        family = {os.getpid(), *descendants(os.getpid())} if self._boards else set()
        for uuid, board in self._boards.items():
            counter_j = board.counter_j()
            owner = Lease(uuid).owner()
            is_foreign = owner is not None and owner.pid not in family
            if not (is_foreign or uuid in self._foreign):
                self._total_j[uuid] += max(counter_j - self._last_j[uuid], 0.0)
            (self._foreign.add if is_foreign else self._foreign.discard)(uuid)
            self._last_j[uuid] = counter_j


class PackageTotals:
    """Energy of the CPU packages and their memory since it was made.

    Without a thread of its own, since the command forks later: it is asked every few seconds, in
    which no counter wraps twice.

    Raises:
        HardwareError: If they cannot be read.
    """

    def __init__(self) -> None:
        self._counters = PackageCounters(sampled=False)

    def total(self) -> Energy:
        """Return the energy so far.

        Raises:
            HardwareError: If a counter cannot be read, or could not be trusted meanwhile.
        """
        totals_uj = self._counters.read_uj()
        self._counters.check()
        n_packages = len(self._counters.packages)
        cpu_j, dram_j = sum(totals_uj[:n_packages]) / 1e6, sum(totals_uj[n_packages:]) / 1e6
        return Energy(cpu_j=cpu_j, dram_j=dram_j if self._counters.has_dram else None)


class CommandMeters:
    """Chooses the meter of this command once it is known what meters its trainings.

    Made before anything is trained: the counters count from then on.

    Args:
        gpus: Whether trainings may meter GPUs.
        cpu: Whether they may meter the CPU packages.
        startup_s: Time for which the command ran before, in s.
        is_call: Whether it is a call in a program, such as a notebook, that did other things.
    """

    def __init__(
        self,
        *,
        gpus: bool = False,
        cpu: bool = False,
        startup_s: float = 0.0,
        is_call: bool = False,
    ) -> None:
        self._began_s = time.monotonic()
        self._tree = process_tree()
        self._earlier_s = self._tree.cpu_s() if is_call else 0.0
        # Collecting garbage at the end took 5 % of a small command's energy, after its last record.
        atexit.register(gc.freeze)
        self._boards = _metered_boards() if gpus else []
        self._packages = _package_totals() if cpu else None
        self._counted = CountedCommand(self._boards, startup_s)

    @classmethod
    def of(cls, hardware: Mapping[str, Any], *, is_call: bool = False) -> CommandMeters:
        """Return those for trainings that the group `hardware` of the config meters."""
        target = str((hardware.get("meter") or {}).get("_target_"))
        reads_cpu = target.endswith("RaplMeter") or (
            target.endswith("choose_meter") and are_readable()
        )
        gpus = hardware.get("gpus") is not None
        age_s = process_age_s()
        return cls(
            gpus=gpus,
            cpu=bool(hardware.get("cpu")) or reads_cpu,
            startup_s=age_s if age_s < _MAX_STARTUP_S and not is_call else 0.0,
            is_call=is_call,
        )

    @property
    def time_s(self) -> float:
        """Time since it was made, in s."""
        return time.monotonic() - self._began_s

    @property
    def cpu_s(self) -> float:
        """CPU time of the command's processes, from the start of the first, in s."""
        return self._tree.cpu_s() - self._earlier_s

    def choose(self, provenance: Provenance) -> CommandMeter | None:
        """Return the meter of the command whose trainings have this provenance; None without."""
        if provenance.kind == "estimated":
            watts = watts_per_core(provenance)
            if watts is None:
                return None
            return EstimatedCommand(self._tree, watts, self._earlier_s)
        if provenance.kind != "measured":
            return None
        if "RAPL" not in provenance.meter:
            return self._counted if self._boards and "NVML" in provenance.meter else None
        if self._packages is None:
            return None
        return self._counted.with_packages(self._packages, gpus="NVML" in provenance.meter)


def _metered_boards() -> list[Board]:
    """Return the GPUs with a counter; none where there is no NVML, of which a training says why."""
    try:
        return [board for board in all_boards() if board.meter_problem() is None]
    except HardwareError:
        return []


def _package_totals() -> PackageTotals | None:
    try:
        return PackageTotals()
    except HardwareError:
        return None
