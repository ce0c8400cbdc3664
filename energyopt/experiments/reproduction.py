"""Compare two runs of an experiment: which results were reproduced."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.errors import ConfigError
from energyopt.experiments.results import ExperimentSummary, ratio_text, setup_text
from energyopt.experiments.rows import GRID, Raw, Row
from energyopt.report.tables import rows_of

_MAX_SHOWN = 5  # trainings that differ
_RATIO_KEYS = frozenset({"value", "low", "high", "pairs"})


@dataclass(frozen=True)
class RatioPair:
    """The data of a ratio in the older and in the newer run."""

    name: str
    older: Mapping[str, Any]
    newer: Mapping[str, Any]

    @property
    def agrees(self) -> bool:
        """True if the intervals overlap."""
        return bool(
            self.newer["low"] <= self.older["high"] and self.older["low"] <= self.newer["high"]
        )


@dataclass(frozen=True)
class Reproduction:
    """Comparison of two runs of an experiment.

    Attributes:
        grid: Pairs of trainings of the grids that both runs have: (older, newer).
        n_unpaired: Number of trainings of the grids that only one run has.
        ratios: The ratios that both runs have.
        machine: Differences of machine, packages and overrides; without any, the trainings of a
            grid take the same steps.
    """

    grid: tuple[tuple[Row, Row], ...]
    n_unpaired: int
    ratios: tuple[RatioPair, ...]
    machine: tuple[str, ...]

    @property
    def differing(self) -> list[tuple[Row, Row]]:
        """Pairs of trainings with different steps, or of which only one reached the target."""
        return [
            (older, newer)
            for older, newer in self.grid
            if (older.reached, older.steps) != (newer.reached, newer.steps)
        ]

    @property
    def agrees(self) -> bool:
        """True if the newer run reproduces the older one."""
        same_steps = bool(self.machine) or not self.differing
        return bool(self.grid) and same_steps and all(pair.agrees for pair in self.ratios)


def compare(older: ExperimentSummary, newer: ExperimentSummary) -> Reproduction:
    """Compare two runs of an experiment.

    Raises:
        ConfigError: If they are runs of different experiments.
    """
    names = older.raw.experiment.name, newer.raw.experiment.name
    if names[0] != names[1]:
        raise ConfigError(f"{names[1]} cannot be compared with {names[0]}, another experiment")
    older_grid, newer_grid = _grid(older.raw), _grid(newer.raw)
    older_ratios, newer_ratios = dict(_ratios(older.records)), dict(_ratios(newer.records))
    return Reproduction(
        grid=tuple((row, newer_grid[key]) for key, row in older_grid.items() if key in newer_grid),
        n_unpaired=len(older_grid.keys() ^ newer_grid.keys()),
        ratios=tuple(
            RatioPair(name, data, newer_ratios[name])
            for name, data in older_ratios.items()
            if name in newer_ratios
        ),
        machine=tuple(_differences(older.raw, newer.raw)),
    )


def screen(reproduction: Reproduction, older_folder: str) -> RenderableType:
    """Return the terminal output of a comparison with the run in `older_folder`."""
    verdict = "agrees with" if reproduction.agrees else "DOES NOT agree with"
    lines = [
        Text(f"This run {verdict} {older_folder}.", style="bold"),
        *map(Text, _lines(reproduction)),
    ]
    if not reproduction.ratios:
        return Group(Text(), *lines)
    rows = [
        (pair.name, ratio_text(pair.older), ratio_text(pair.newer), "yes" if pair.agrees else "NO")
        for pair in reproduction.ratios
    ]
    return Group(Text(), *lines, rows_of(("ratio", "before", "now", "intervals meet"), rows))


def _lines(reproduction: Reproduction) -> Iterator[str]:
    if reproduction.machine:
        yield f"Other machine or versions, so steps may differ: {'; '.join(reproduction.machine)}."
    differing, n_unpaired = reproduction.differing, reproduction.n_unpaired
    n_same = len(reproduction.grid) - len(differing)
    yield (
        f"Of {len(reproduction.grid)} trainings of the grids in both, {n_same} took the same steps "
        f"to the same end{f'; {n_unpaired} are in one alone' if n_unpaired else ''}."
    )
    for older, newer in differing[:_MAX_SHOWN]:
        yield (
            f"  {older.arm} {setup_text(older.setup)} seed={older.seed}: {_end(older)} "
            f"before, {_end(newer)} now"
        )
    if len(differing) > _MAX_SHOWN:
        yield f"  and {len(differing) - _MAX_SHOWN} more"
    logs = [
        math.log(newer.energy_j / older.energy_j)
        for older, newer in reproduction.grid
        if older.energy_j > 0 and newer.energy_j > 0
    ]
    if logs:
        # The geometric mean, which treats 2x and 0.5x as equally far from 1.
        mean, low, high = (math.exp(x) for x in (sum(logs) / len(logs), min(logs), max(logs)))
        yield f"They cost {mean:.2f} times the joules of before (each {low:.2f} to {high:.2f})."


def _end(row: Row) -> str:
    return f"{'reached' if row.reached else 'missed'} after {row.steps} steps"


def _grid(raw: Raw) -> dict[tuple[Any, ...], Row]:
    return {row.key: row for row in raw.rows if row.role == GRID}


def _ratios(records: tuple[Mapping[str, Any], ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the ratios of the records with their names, such as "pair, free"."""
    for record in records:
        for key, value in record.items():
            if isinstance(value, Mapping) and value.keys() >= _RATIO_KEYS and value["pairs"]:
                yield f"{record['name']}{key.removeprefix('ratio').replace('_', ', ')}", value


def _differences(older: Raw, newer: Raw) -> Iterator[str]:
    """Yield the differences of device, package versions and overrides."""
    devices = older.source.get("device"), newer.source.get("device")
    if devices[0] != devices[1]:
        yield f"{devices[0]} before, {devices[1]} now"
    for name in sorted(older.packages.keys() | newer.packages.keys()):
        versions = older.packages.get(name, "none"), newer.packages.get(name, "none")
        if versions[0] != versions[1]:
            yield f"{name} {versions[0]} before, {versions[1]} now"
    if older.words != newer.words:
        texts = (" ".join(raw.words) or "no words" for raw in (older, newer))
        yield " before, ".join(texts) + " now"
