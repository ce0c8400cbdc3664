"""Energy of the CPU packages of this machine: counters that wrap, read by this process alone.

Of two readings of a counter that begins again only the difference modulo its range is known, so at
most one wrap may lie between them. A thread reads all counters once a second, for as long as
anything uses them; wraps are added where a difference is negative.

Assumed is that a package draws less than 1 kW on average from one wrap to the next: the smallest
range of real processors (AMD: 65.5 kJ) then takes 65 s. A process that did not run for longer (it
was stopped) cannot know how often a counter wrapped, and its window fails.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from energyopt.core.energy import Energy
from energyopt.errors import HardwareError
from energyopt.hardware import powercap
from energyopt.hardware.powercap import (
    INSTEAD,
    STILL_S,
    CounterFiles,
    CounterSource,
    Zone,
    check_moving,
    dram_zones,
    find_mirrors,
    package_zones,
    stands_still,
)
from energyopt.hardware.rapl_daemon import DaemonCounters, names_daemon

_UJ_PER_J = 1_000_000
_HIGH_W = 1000.0  # above the mean power of a package from one wrap of its counter to the next
_MIN_GAP_S = 5.0  # in which no counter of a real processor wraps
_IMPOSSIBLE_W = 2000.0  # a counter that gained more was reset, which looks like a wrap
_GAIN_SLACK_J = 200.0
UPDATE_WAIT_S = 0.05  # of updates a millisecond apart
_UPDATE_POLL_S = 0.0005
_INTERVAL_S = 1.0
_MIN_INTERVAL_S = 0.01
_READINGS_PER_RANGE = 8  # at `_HIGH_W`; it matters for ranges below 8 kJ alone


class RunningTotal:
    """Energy that a counter has counted since its first reading, through all its wraps.

    Args:
        range_uj: Energy after which it begins again, in uJ.
        reading_uj: Its first reading, in uJ.

    Attributes:
        range_uj: See above.
        total_uj: The energy, in uJ.
    """

    def __init__(self, range_uj: int, reading_uj: int) -> None:
        self.range_uj = range_uj
        self._last_uj = reading_uj
        self.total_uj = 0

    def add(self, reading_uj: int) -> int:
        """Add a reading; at most one wrap lies before it. Returns what was gained, in uJ."""
        gained_uj = reading_uj - self._last_uj
        if gained_uj < 0:
            gained_uj += self.range_uj
        self._last_uj = reading_uj
        self.total_uj += gained_uj
        return gained_uj


class PackageCounters:
    """Running totals of all packages of this machine, and of their memory.

    Args:
        clock: Returns the time, in s.
        sampled: Whether a thread reads them; else whoever asks does so often enough.

    Raises:
        HardwareError: If there are none, or one cannot be metered.

    Attributes:
        packages: The zones that are counted.
        mirrored: Zones that show the counter of one of them, and are not counted, with that one.
        source: Name of what reads them: "powercap", or zeusd.
        has_dram: Whether the memory is counted as well.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, sampled: bool = True
    ) -> None:
        self._clock = clock
        zones, self._source = metered_packages()
        self.mirrored = find_mirrors(zones, self._source)
        self.packages = [zone for zone in zones if zone not in self.mirrored]
        dram = metered_dram(self.packages, self._source)
        self.has_dram = bool(dram)
        self.source = self._source.name
        self._zones = [*self.packages, *dram]
        self._lock = threading.Lock()
        readings = self._source.read_uj(self._zones)
        self._totals = [
            RunningTotal(zone.range_uj(), reading)
            for zone, reading in zip(self._zones, readings, strict=True)
        ]
        self._read_s = self._clock()
        self._moved_s = [self._read_s] * len(self._zones)
        self._doubt = ""
        self._n_doubts = 0
        smallest_s = min(total.range_uj for total in self._totals) / _UJ_PER_J / _HIGH_W
        interval_s = max(min(smallest_s / _READINGS_PER_RANGE, _INTERVAL_S), _MIN_INTERVAL_S)
        self._gap_s = max(smallest_s, _MIN_GAP_S)
        arguments = (weakref.ref(self), interval_s)
        if sampled:
            threading.Thread(target=_sample, args=arguments, name="rapl", daemon=True).start()

    def read_uj(self) -> list[int]:
        """Return the running totals of the packages and then of the memory, in uJ.

        Raises:
            HardwareError: If a counter cannot be read.
        """
        with self._lock:
            readings = self._source.read_uj(self._zones)
            now_s = self._clock()
            gains = [t.add(uj) for t, uj in zip(self._totals, readings, strict=True)]
            self._judge(gains, now_s)
            self._read_s = now_s
            return [total.total_uj for total in self._totals]

    @property
    def n_doubts(self) -> int:
        """Number of readings so far at which a counter could not be trusted."""
        return self._n_doubts

    def check(self, n_doubts: int = 0) -> None:
        """Check that all counters could be trusted.

        Args:
            n_doubts: `n_doubts` at the time since when.

        Raises:
            HardwareError: If one could not be.
        """
        if self._n_doubts > n_doubts:
            raise HardwareError(f"RAPL: {self._doubt}; {INSTEAD}")

    def check_moving(self) -> None:
        """Wait until the counter of each package has moved: some milliseconds.

        Raises:
            HardwareError: If one stands still.
        """
        check_moving(self.packages, self._source)

    def _judge(self, gains: Sequence[int], now_s: float) -> None:
        """Notice what cannot be: see the constants."""
        elapsed_s = now_s - self._read_s
        most_uj = (_IMPOSSIBLE_W * elapsed_s + _GAIN_SLACK_J) * _UJ_PER_J
        for i, (zone, gained_uj) in enumerate(zip(self._zones, gains, strict=True)):
            if gained_uj > most_uj:
                self._add_doubt(
                    f"{zone} gained {gained_uj / _UJ_PER_J:.4g} J in {elapsed_s:.3g} s, more than "
                    "a processor can draw; its counter was reset"
                )
            if gained_uj > 0 or i >= len(self.packages):  # memory may draw little
                self._moved_s[i] = now_s
        still_s = [now_s - moved_s for moved_s in self._moved_s]
        still = [zone for zone, s in zip(self._zones, still_s, strict=True) if s >= STILL_S]
        if still:
            self._add_doubt(stands_still(still))
        if elapsed_s > self._gap_s:
            self._add_doubt(
                f"the counters were not read for {elapsed_s:.3g} s, in which they may have begun "
                "again unseen (was the process stopped?)"
            )

    def _add_doubt(self, text: str) -> None:
        self._doubt = text
        self._n_doubts += 1


def _sample(reference: weakref.ref[PackageCounters], interval_s: float) -> None:
    """Read the counters until nothing uses them any more."""
    while True:
        time.sleep(interval_s)
        counters = reference()
        if counters is None:
            return
        with suppress(HardwareError):  # who reads next is told
            counters.read_uj()
        del counters


# Which zones, and what reads them ----------------------------------------------------------


def metered_packages() -> tuple[list[Zone], CounterSource]:
    """Return the zones of this machine's packages, and what reads them.

    That is the files, at a hundredth of the cost; zeusd where the environment names one and they
    cannot be read or stand still, as copies in a container do.

    Raises:
        HardwareError: If there are none, or one of them cannot be metered.
    """
    packages = package_zones()
    if not packages:
        raise HardwareError(
            "this machine has no RAPL energy counters; virtual machines and many ARM hosts have "
            f"none: {INSTEAD}"
        )
    for package in packages:
        package.range_uj()
    files = CounterFiles()
    try:
        files.check(packages)
        if names_daemon():
            check_moving(packages, files)
    except HardwareError as error:
        if not names_daemon():
            raise
        daemon = DaemonCounters.connect(str(error))
        daemon.check(packages)
        return packages, daemon
    return packages, files


def metered_dram(packages: Sequence[Zone], source: CounterSource) -> list[Zone]:
    """Return the zones of the packages' memory, if all of them can be read; else none."""
    zones = dram_zones(packages)
    try:
        for zone in zones:
            zone.range_uj()
        source.check(zones)
    except HardwareError:
        return []
    return zones


# What others use ---------------------------------------------------------------------------


def counters() -> PackageCounters:
    """Return the counters of this machine; all of a process share their thread.

    Raises:
        HardwareError: If they cannot be metered.
    """
    return _opened(os.getpid(), powercap.RAPL_ROOTS)  # a fork inherits no thread


@lru_cache(maxsize=1)
def _opened(_pid: int, _roots: tuple[Path, ...]) -> PackageCounters:
    return PackageCounters()


def refusal() -> str | None:
    """Say why the packages cannot be metered, with the remedy; None if they can."""
    try:
        counters().check_moving()
    except HardwareError as error:
        return str(error)
    return None


def are_readable() -> bool:
    """Return whether the counters can be read, without starting to."""
    try:
        metered_packages()
    except HardwareError:
        return False
    return True


class PackageWindow:
    """Windows of the energy of this machine's packages and their memory.

    Raises:
        HardwareError: If they cannot be metered.
    """

    def __init__(self) -> None:
        self._counters = counters()
        self._began: tuple[float, list[int], int] | None = None

    @property
    def scope(self) -> str:
        """Description of what is counted; it differs where dies share a counter.

        Versions before this module counted such dies several times: their joules do not compare.
        """
        scope = "CPU packages + DRAM" if self._counters.has_dram else "CPU packages"
        return f"{scope} (each counter once)" if self._counters.mirrored else scope

    @property
    def source(self) -> str:
        """Name of what reads the counters."""
        return self._counters.source

    def check_moving(self) -> None:
        """Check that no counter stands still; see `PackageCounters.check_moving`."""
        self._counters.check_moving()

    def start(self) -> None:
        """Open a window."""
        began_uj = self._counters.read_uj()
        self._began = (time.perf_counter(), began_uj, self._counters.n_doubts)

    def stop(self) -> Energy:
        """Close the window; one in which no counter moved ends at the next update.

        That update is in no other window, and a training shorter than it does not read 0 J.

        Raises:
            HardwareError: If a counter cannot be read, or could not be trusted meanwhile.
        """
        if self._began is None:
            raise RuntimeError("stop() without start()")
        began_s, began_uj, n_doubts = self._began
        self._began = None
        ended_uj = self._counters.read_uj()
        ended_s = time.perf_counter()
        time_s = ended_s - began_s
        while ended_uj == began_uj and time.perf_counter() - ended_s < UPDATE_WAIT_S:
            time.sleep(_UPDATE_POLL_S)
            ended_uj = self._counters.read_uj()
        self._counters.check(n_doubts)
        gained_uj = [b - a for a, b in zip(began_uj, ended_uj, strict=True)]
        n_packages = len(self._counters.packages)
        cpu_j = sum(gained_uj[:n_packages]) / _UJ_PER_J
        dram_j = sum(gained_uj[n_packages:]) / _UJ_PER_J if self._counters.has_dram else None
        return Energy(time_s, cpu_j=cpu_j, dram_j=dram_j)
