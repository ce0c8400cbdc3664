"""A made-up RAPL tree of sysfs: two packages, one with DRAM, and psys."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

PACKAGE = "intel-rapl:0"
CORE = "intel-rapl:0/intel-rapl:0:0"
DRAM = "intel-rapl:0/intel-rapl:0:1"
PSYS = "intel-rapl:1"
OTHER_PACKAGE = "intel-rapl:2"
RANGE_UJ = 262_143_328_850  # of most of Intel's
ZONES = {
    PACKAGE: "package-0",
    CORE: "core",
    DRAM: "dram",
    PSYS: "psys",
    OTHER_PACKAGE: "package-1",
}


class Powercap:
    """The tree.

    Args:
        root: Where to make it.
        zones: Names of its zones, by folder.
        range_uj: Where all counters begin again, in uJ.
    """

    def __init__(self, root: Path, zones: dict[str, str] = ZONES, range_uj: int = RANGE_UJ) -> None:
        self.root = root
        self.range_uj = range_uj
        for path, name in zones.items():
            zone = root / path
            zone.mkdir(parents=True)
            (zone / "name").write_text(f"{name}\n")
            (zone / "energy_uj").write_text("1000000\n")
            (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")

    def counter(self, path: str) -> Path:
        """Return the file of a zone's counter."""
        return self.root / path / "energy_uj"

    def spend(self, path: str, energy_j: float) -> None:
        """Let a zone's counter move."""
        self.spend_uj(path, round(1e6 * energy_j))

    def spend_uj(self, path: str, energy_uj: int) -> None:
        """Let a zone's counter move by so many uJ; it begins again at its range."""
        counter = self.counter(path)
        whole = counter.with_suffix(".new")  # a write to sysfs is never seen half-done
        whole.write_text(f"{(int(counter.read_text()) + energy_uj) % self.range_uj}\n")
        whole.replace(counter)

    @contextmanager
    def alive(self, *paths: str, watts: float = 20.0, step_s: float = 0.005) -> Iterator[None]:
        """Let the counters of zones move by themselves, as those of a real processor do."""
        ended = threading.Event()

        def move() -> None:
            while not ended.wait(step_s):
                for path in paths:
                    self.spend(path, watts * step_s)

        thread = threading.Thread(target=move)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def installed(
    folder: Path, zones: dict[str, str] = ZONES, range_uj: int = RANGE_UJ
) -> Iterator[Powercap]:
    """The tree in this process, and no other meanwhile."""
    from energyopt.hardware import powercap

    tree = Powercap(folder / "intel-rapl", zones, range_uj)
    with patch.object(powercap, "RAPL_ROOTS", (tree.root,)):
        yield tree
