"""A grid on several machines: one table of cells and machines, and whether their ranks agree.

Joules of two machines are never put in one ratio: their meters, scopes and processors differ. What
carries over from one to another is the order of the configurations.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.rank_agreement import RankAgreement, rank_agreement
from energyopt.core.units import joules
from energyopt.errors import ConfigError, StorageError
from energyopt.experiments.reproduction import identity
from energyopt.experiments.results import rounded
from energyopt.experiments.rows import GRID, read_raw
from energyopt.report.tables import rows_of
from energyopt.utils.files import refuse_existing, written_whole

_STUDY = "study.json"  # of a folder that `energyopt export` has written

Cell = tuple[str, ...]
"""An arm, if there are several, and the parameters of a configuration without seeds."""


@dataclass(frozen=True)
class Machine:
    """The energies of a grid on one machine.

    Attributes:
        name: Name of its folder.
        source: Provenance of its energies, in words.
        cells: Geometric mean energy to the target of each cell over its seeds, in J; infinite if
            a seed missed the target.
        targets: The targets of its trainings.
    """

    name: str
    source: str
    cells: Mapping[Cell, float]
    targets: frozenset[tuple[str, float]]


@dataclass(frozen=True)
class MachineComparison:
    """A grid on several machines.

    Attributes:
        machines: The machines, in the order given.
        agreements: Kendall's tau of each pair of machines, by their names.
    """

    machines: tuple[Machine, ...]
    agreements: Mapping[tuple[str, str], RankAgreement]

    @property
    def cells(self) -> list[Cell]:
        """All cells, those of the first machine first, in its order."""
        return list(dict.fromkeys(cell for machine in self.machines for cell in machine.cells))

    @property
    def is_compared(self) -> bool:
        """True if two machines have at least two cells in common."""
        return any(agreement.tau is not None for agreement in self.agreements.values())


def compare_machines(folders: Sequence[Path]) -> MachineComparison:
    """Read the grids of several machines and compare the ranks of their cells.

    Raises:
        ConfigError: If a folder holds no export, two have one name, or their targets differ.
    """
    names = _names(folders)
    machines = tuple(_read(folder, name) for folder, name in zip(folders, names, strict=True))
    for machine in machines[1:]:
        arms = dict(machines[0].targets)
        for arm, target in machine.targets:
            if arms.get(arm, target) != target:
                raise ConfigError(
                    f"the target of {machines[0].name} is {arms[arm]:g}, that of {machine.name} "
                    f"{target:g}: energies to two targets are not one grid"
                )
    agreements = {}
    for first, second in combinations(machines, 2):
        shared = [cell for cell in first.cells if cell in second.cells]
        columns = ([machine.cells[cell] for cell in shared] for machine in (first, second))
        agreements[first.name, second.name] = rank_agreement(*columns)
    return MachineComparison(machines, agreements)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the name of each folder, or where two have one name, their paths."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        repeated = next(path for path in paths if paths.count(path) > 1)
        raise ConfigError(f"--machines: {repeated} is given twice; each machine has its own folder")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def _read(folder: Path, name: str) -> Machine:
    """Read a folder that `summarize` or `export` has written."""
    if (folder / _STUDY).is_file():
        return _read_study(folder, name)
    raw = read_raw(folder)
    rows = [row for row in raw.rows if row.role == GRID]
    has_arms = len({row.arm for row in rows}) > 1
    energies: dict[Cell, list[float]] = {}
    for row in rows:
        # Without the name of an only arm, so that the exported study of that arm is alike.
        cell = (*((row.arm,) if has_arms else ()), *_texts(row.setup))
        energies.setdefault(cell, []).append(row.energy_j if row.reached else math.inf)
    words = ("kind", "meter", "device")
    source = " ".join(str(raw.source.get(word, "")) for word in words)
    targets = frozenset((row.arm if has_arms else "", row.target) for row in rows)
    return Machine(name, source, _means(energies), targets)


def _read_study(folder: Path, name: str) -> Machine:
    from energyopt.storage.exchange.folder import read_folder
    from energyopt.storage.exchange.reader import record_from

    study = record_from(read_folder(folder), folder)
    energies: dict[Cell, list[float]] = {}
    for trial, result in study.results:
        if trial.state in ("complete", "pruned"):
            energy_j = result.energy_to_target_j
            energies.setdefault(_texts(trial.params), []).append(energy_j or math.inf)
    targets = frozenset(("", result.target) for _, result in study.results)
    return Machine(name, str(study.provenance or ""), _means(energies), targets)


def _texts(setup: Mapping[str, Any]) -> Cell:
    return tuple(f"{key}={value}" for key, value in identity(setup) if "$" not in value)


def _means(energies: Mapping[Cell, Sequence[float]]) -> dict[Cell, float]:
    return {
        cell: statistics.geometric_mean(values) if math.isfinite(sum(values)) else math.inf
        for cell, values in energies.items()
    }


def screen(comparison: MachineComparison) -> RenderableType:
    """Return the terminal output of a comparison."""
    machines = comparison.machines
    rows = [
        (" ".join(cell), *(_cell_text(machine, cell) for machine in machines))
        for cell in comparison.cells
    ]
    pairs = [
        (f"{first} and {second}", str(agreement.n), _tau_text(agreement))
        for (first, second), agreement in comparison.agreements.items()
    ]
    lines = [
        *(f"{machine.name}: {machine.source}." for machine in machines),
        "Mean energy to the target, geometric, over seeds; (its rank on that machine, 1 the "
        "cheapest); missed: with a seed at least. Joules of two machines are not compared, ranks "
        "are.",
        "tau: Kendall's tau-b, 1 for the same order, 0 for none in common; its 95 % interval is "
        "by bootstrap over cells (percentiles of 2,000 draws). Noise of the cells lowers tau.",
    ]
    if not comparison.is_compared:
        lines.insert(0, "Nothing compared: no two machines have two cells in common.")
    return Group(
        rows_of(("cell", *(machine.name for machine in machines)), rows),
        Text(),
        rows_of(("machines", "cells", "tau"), pairs),
        Text(),
        *map(Text, lines),
    )


def _cell_text(machine: Machine, cell: Cell) -> str:
    if cell not in machine.cells:
        return "-"
    energy_j = machine.cells[cell]
    return f"{joules(energy_j)} ({_rank(machine, cell)})" if math.isfinite(energy_j) else "missed"


def _rank(machine: Machine, cell: Cell) -> int:
    return 1 + sum(energy_j < machine.cells[cell] for energy_j in machine.cells.values())


def _tau_text(agreement: RankAgreement) -> str:
    if agreement.tau is None:
        return "-"
    if agreement.low is None or agreement.high is None:
        return f"{agreement.tau:.2f}"
    return f"{agreement.tau:.2f} [{agreement.low:.2f}, {agreement.high:.2f}]"


def files_of(comparison: MachineComparison) -> dict[str, str]:
    """Return the contents of all files by name."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("cell", "machine", "energy_j", "rank"))
    for cell in comparison.cells:
        for machine in comparison.machines:
            energy_j = machine.cells.get(cell, math.nan)
            is_known = math.isfinite(energy_j)
            numbers = (rounded(energy_j), _rank(machine, cell)) if is_known else ("", "")
            writer.writerow((" ".join(cell), machine.name, *numbers))
    data = {
        "machines": {machine.name: machine.source for machine in comparison.machines},
        "interval": "95 %, percentiles of a bootstrap over cells",
        "tau": [
            {"machines": list(names), **asdict(agreement)}
            for names, agreement in comparison.agreements.items()
        ],
    }
    return {"machines.csv": file.getvalue(), "machines.json": json.dumps(data, indent=1) + "\n"}


def write(comparison: MachineComparison, folder: Path, *, force: bool) -> list[Path]:
    """Write all files of a comparison, and return their paths.

    Raises:
        ConfigError: If a file exists and `force` is not set.
        StorageError: If a file cannot be written.
    """
    files = {folder / name: text for name, text in files_of(comparison).items()}
    try:
        for path in files:
            refuse_existing(path, force=force)
        for path, text in files.items():
            with written_whole(path, force=force) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error
    return list(files)
