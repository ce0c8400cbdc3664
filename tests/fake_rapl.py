"""A made-up RAPL tree of sysfs under real Zeus: two packages, one with DRAM, and psys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from tests.fake_nvml import forget_devices

PACKAGE = "intel-rapl:0"
CORE = "intel-rapl:0/intel-rapl:0:0"
DRAM = "intel-rapl:0/intel-rapl:0:1"
PSYS = "intel-rapl:1"
OTHER_PACKAGE = "intel-rapl:2"


class Powercap:
    """The tree.

    Args:
        root: Where to make it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._zone(PACKAGE, "package-0")
        self._zone(CORE, "core")
        self._zone(DRAM, "dram")
        self._zone(PSYS, "psys")
        self._zone(OTHER_PACKAGE, "package-1")

    def _zone(self, path: str, name: str) -> None:
        zone = self.root / path
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text("1000000\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")

    def spend(self, path: str, energy_j: float) -> None:
        """Let a zone's counter move."""
        counter = self.root / path / "energy_uj"
        counter.write_text(f"{int(counter.read_text()) + round(1e6 * energy_j)}\n")


@contextmanager
def installed(folder: Path) -> Iterator[Powercap]:
    """The tree in this process, and no other meanwhile."""
    import zeus.device.cpu
    import zeus.device.cpu.rapl

    from energyopt.hardware import zeus as meters

    tree = Powercap(folder / "intel-rapl")
    with (
        patch.object(meters, "RAPL_ROOTS", (tree.root,)),
        patch.object(zeus.device.cpu.rapl, "RAPL_DIR", str(tree.root)),
    ):
        forget_devices()
        try:
            yield tree
        finally:
            _end_helpers()
            forget_devices()


def _end_helpers() -> None:
    """Zeus' helper processes would outlive the files that they read."""
    import zeus.device.cpu

    cpus = zeus.device.cpu._cpus
    for cpu in cpus.cpus if cpus else ():
        for file in (cpu.rapl_file, cpu.dram):
            if file is not None and file._wraparound_tracker is not None:
                file._wraparound_tracker._stop()
