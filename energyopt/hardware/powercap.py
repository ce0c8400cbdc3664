"""Energy counters of CPU packages and their memory, as Linux shows them (powercap, RAPL).

A package (a processor in its socket) is a folder such as `intel-rapl:0`, also on AMD; its counter
`energy_uj` moves about every millisecond, and begins again after `max_energy_range_uj`. Folders
below it are parts of the package, except for `dram`. A zone `psys` (the platform) contains the
packages. So packages are counted, and DRAM apart from them; nothing else is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from energyopt.errors import HardwareError

RAPL_ROOTS = (
    Path("/sys/class/powercap/intel-rapl"),
    Path("/zeus_sys/class/powercap/intel-rapl"),  # Zeus' path inside a container
)
INSTEAD = "choose hardware=estimate"
STILL_S = 2.0
"""A package draws watts even at rest, in units of microjoules: no live counter stands so long."""

_POLL_S = 0.005
_MAX_BYTES = 64  # of a number
_MIRROR_PASSES = 4
_MIRROR_PASS_S = 0.01
# One counter that is read by way of two dies may differ by an update (1 ms) of 2 kW.
_MIRROR_SLACK_UJ = 2_000_000


@dataclass(frozen=True, slots=True)
class Zone:
    """A folder of powercap.

    Attributes:
        path: The folder.
        name: The content of its file `name`: "package-0", "package-0-die-1", "dram".
    """

    path: Path
    name: str

    @property
    def counter(self) -> Path:
        """File of its energy counter."""
        return self.path / "energy_uj"

    @property
    def number(self) -> int:
        """Number of the package that it is or belongs to, as in `intel-rapl:NUMBER`."""
        return int(self.path.name.split(":")[1])

    @property
    def socket(self) -> str:
        """Name of the processor that holds the die: "package-0" of "package-0-die-1"."""
        return re.sub(r"-die-\d+$", "", self.name)

    def __str__(self) -> str:
        return f"{self.name} ({self.path})"

    def range_uj(self) -> int:
        """Return the energy after which its counter begins again, in uJ.

        Raises:
            HardwareError: If that is not known.
        """
        path = self.path / "max_energy_range_uj"
        try:
            range_uj = int(path.read_text())
        except FileNotFoundError:
            problem = "does not exist"
        except (OSError, ValueError) as error:
            problem = f"cannot be read ({_reason(error)})"
        else:
            if range_uj > 0:
                return range_uj
            problem = f"is {range_uj}"
        raise HardwareError(
            f"RAPL: {path} {problem}, so it is not known where the counter of {self.name} begins "
            f"again; {INSTEAD}"
        )

    def read_uj(self) -> int:
        """Return its counter, in uJ.

        Raises:
            HardwareError: If it cannot be read; for want of permission, with the remedy.
        """
        try:
            # Opened each time: a container may mount another file there. It costs 10 us.
            descriptor = os.open(f"{self.path}/energy_uj", os.O_RDONLY)
            try:
                reading_uj = int(os.read(descriptor, _MAX_BYTES))
            finally:
                os.close(descriptor)
        except PermissionError as error:
            raise HardwareError(_not_allowed([self])) from error
        except (OSError, ValueError) as error:
            raise HardwareError(
                f"RAPL: {self.counter} ({self.name}) cannot be read ({_reason(error)}); {INSTEAD}"
            ) from error
        if reading_uj < 0:
            raise HardwareError(f"RAPL: {self.counter} holds {reading_uj}; {INSTEAD}")
        return reading_uj


def package_zones() -> list[Zone]:
    """Return the zones of CPU packages, readable or not; those of dies where a socket has several.

    Of the first root that has some: another shows the same counters.
    """
    for root in RAPL_ROOTS:
        zones = [zone for zone in _zones(root) if zone.name.startswith("package")]
        if zones:
            return zones
    return []


def dram_zones(packages: Sequence[Zone]) -> list[Zone]:
    """Return the zones of the packages' memory, where the processor counts it."""
    return [zone for package in packages for zone in _zones(package.path) if zone.name == "dram"]


def _zones(folder: Path) -> list[Zone]:
    zones = []
    for name in folder.glob("intel-rapl:*/name"):
        with suppress(OSError, UnicodeDecodeError):
            zones.append(Zone(name.parent, name.read_text().strip()))
    return sorted(zones, key=lambda zone: [int(n) for n in re.findall(r"\d+", zone.path.name)])


def _not_allowed(zones: Sequence[Zone]) -> str:
    """Return the sentence for counters that only root may read, as since CVE-2020-8694 by default.

    The remedy is of exactly their files: others need not be readable.
    """
    names = ", ".join(f"{zone.counter} ({zone.name})" for zone in zones)
    files = " ".join(str(zone.counter) for zone in zones)
    return (
        f"RAPL: {names} may not be read by this user; sudo chmod a+r {files} (until the next "
        f"boot), run as root, or {INSTEAD}"
    )


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or "it holds no number"


# What reads them -----------------------------------------------------------------------------


class CounterSource(Protocol):
    """Reads counters: from their files, or through a daemon that may."""

    name: str

    def read_uj(self, zones: Sequence[Zone]) -> list[int]:
        """Return the counters of zones, in uJ.

        Raises:
            HardwareError: If one cannot be read.
        """

    def check(self, zones: Sequence[Zone]) -> None:
        """Check that the counters of zones can be read.

        Raises:
            HardwareError: If not; with the remedy.
        """


class CounterFiles:
    """Reads the files."""

    name = "powercap"

    def read_uj(self, zones: Sequence[Zone]) -> list[int]:
        """Return the counters of zones, in uJ."""
        return [zone.read_uj() for zone in zones]

    def check(self, zones: Sequence[Zone]) -> None:
        """Check that the counters can be read.

        Raises:
            HardwareError: Naming all files that may not be.
        """
        unreadable = [
            zone for zone in zones if zone.counter.exists() and not os.access(zone.counter, os.R_OK)
        ]
        if unreadable:
            raise HardwareError(_not_allowed(unreadable))
        self.read_uj(zones)


def check_moving(zones: Sequence[Zone], source: CounterSource) -> None:
    """Wait until the counter of each zone has moved: some milliseconds.

    Raises:
        HardwareError: If one stands still.
    """
    first_uj = source.read_uj(zones)
    until_s = time.monotonic() + STILL_S
    while True:
        readings = zip(zones, first_uj, source.read_uj(zones), strict=True)
        still = [zone for zone, before_uj, after_uj in readings if after_uj == before_uj]
        if not still:
            return
        if time.monotonic() >= until_s:
            raise HardwareError(f"RAPL: {stands_still(still)}; {INSTEAD}")
        time.sleep(_POLL_S)


def stands_still(zones: Sequence[Zone]) -> str:
    """Say that counters do not move."""
    names = " and ".join(map(str, zones))
    stand, counters = ("stands", "its counter") if len(zones) == 1 else ("stand", "their counters")
    return (
        f"{names} {stand} still: {counters} did not move in {STILL_S:g} s, although every "
        "processor draws power, so its energy is not metered"
    )


# Dies that show one counter ----------------------------------------------------------------


def find_mirrors(packages: Sequence[Zone], source: CounterSource) -> dict[Zone, Zone]:
    """Return the packages whose counter is that of an earlier one, with that one.

    The kernel lists a zone for each die of AMD's Zen 1 and 2, and all show the counter of the
    socket; the dies of some of Intel's processors have counters of their own. One counter shows
    the same energies at the same times.

    Raises:
        HardwareError: If a counter cannot be read.
    """
    pairs = [(a, b) for i, b in enumerate(packages) for a in packages[:i]]
    twins = {(a, b) for a, b in pairs if _is_same_file(a.counter, b.counter)}
    dies = [(a, b) for a, b in pairs if a.socket == b.socket]
    if dies:
        passes = []
        for _ in range(_MIRROR_PASSES):
            passes.append(source.read_uj(packages))
            time.sleep(_MIRROR_PASS_S)
        columns = dict(zip(packages, zip(*passes, strict=True), strict=True))
        twins |= {(a, b) for a, b in dies if show_same(columns[a], columns[b], a.range_uj())}
    mirrored: dict[Zone, Zone] = {}
    for a, b in pairs:
        if (a, b) in twins and a not in mirrored:
            mirrored.setdefault(b, a)
    return mirrored


def show_same(first_uj: Sequence[int], other_uj: Sequence[int], range_uj: int) -> bool:
    """Return whether two counters, read in turns, show the same energies at the same times.

    Args:
        first_uj: Readings of one, each just before the reading of the other.
        other_uj: Readings of the other.
        range_uj: Energy after which both begin again.
    """
    for (before_uj, after_uj), reading_uj in zip(pairwise(first_uj), other_uj, strict=False):
        ahead_uj = (reading_uj - before_uj + _MIRROR_SLACK_UJ) % range_uj
        if ahead_uj > (after_uj - before_uj) % range_uj + 2 * _MIRROR_SLACK_UJ:
            return False
    return True


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
