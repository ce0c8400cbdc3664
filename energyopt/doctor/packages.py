"""Check the energy counters of the CPU packages: each file, and what becomes of it in a total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from energyopt.core.units import count
from energyopt.doctor.checks import Checks
from energyopt.doctor.records import Check
from energyopt.errors import HardwareError
from energyopt.hardware.powercap import CounterFiles, Zone, dram_zones, package_zones
from energyopt.hardware.rapl import PackageCounters

_NAME = "RAPL"


@dataclass(frozen=True, slots=True)
class PackagesHealth:
    """The zones of this machine.

    Attributes:
        packages: Of CPU packages.
        dram: Of their memory.
        readable: Whether there are packages, and all can be metered.
        checks: What was found.
    """

    packages: tuple[Zone, ...] = ()
    dram: tuple[Zone, ...] = ()
    readable: bool = False
    checks: tuple[Check, ...] = ()


def examine_packages() -> PackagesHealth:
    """Read each counter, and watch until those of packages have moved."""
    checks = Checks()
    packages = checks.run(_NAME, package_zones)
    if not packages:
        if packages is not None:
            none = "no counters (virtual machines and many ARM hosts have none)"
            checks.add("info", _NAME, none)
        return PackagesHealth(checks=_as_notes(checks))
    dram = dram_zones(packages)
    counters = checks.run(_NAME, PackageCounters)
    if counters is not None:
        _describe(checks, counters)
    for zone in dram:
        problem = _problem(zone)
        if problem is not None and counters is not None and not counters.has_dram:
            checks.refuse("DRAM", f"is not counted: {problem}", level="note")
    return PackagesHealth(tuple(packages), tuple(dram), counters is not None, _as_notes(checks))


def _describe(checks: Checks, counters: PackageCounters) -> None:
    for zone, counted in counters.mirrored.items():
        text = f"{zone} shows the counter of {counted.name}, so the two are counted once"
        checks.add("info", _NAME, text)
    try:
        counters.check_moving()
    except HardwareError as error:
        checks.refuse(_NAME, _short(error), level="note")
        return
    zones = counters.packages
    memory = "and DRAM" if counters.has_dram else "none of DRAM"
    source = "" if counters.source == "powercap" else f" through {counters.source}"
    listing = ", ".join(map(str, zones))
    text = f"{count(len(zones), 'package counter')}, {memory}, readable{source}: {listing}"
    checks.add("ok", _NAME, text)


def _problem(zone: Zone) -> str | None:
    try:
        zone.range_uj()
        CounterFiles().check([zone])
    except HardwareError as error:
        return _short(error)
    return None


def _short(error: HardwareError) -> str:
    return str(error).removeprefix("RAPL: ")


def _as_notes(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the lines without failures: only the configured hardware, tried apart, may fail."""
    return tuple(replace(line, level="note") if line.level == "FAIL" else line for line in checks)
