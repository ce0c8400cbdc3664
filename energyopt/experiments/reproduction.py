"""An experiment that was run again, beside the one before: what is the same, what is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.errors import ConfigError
from energyopt.experiments.results import Summary, interval, setup_text
from energyopt.experiments.rows import GRID, Raw, Row
from energyopt.report.tables import rows_of

_SHOWN = 5
_RATIO = frozenset({"value", "low", "high", "pairs"})


@dataclass(frozen=True)
class Again:
    """A ratio in both.

    Attributes:
        name: Of what.
        before: Its data in the summary before.
        now: In the new one.
    """

    name: str
    before: Mapping[str, Any]
    now: Mapping[str, Any]

    @property
    def agrees(self) -> bool:
        """Whether the intervals have values in common."""
        return bool(
            self.now["low"] <= self.before["high"] and self.before["low"] <= self.now["high"]
        )


@dataclass(frozen=True)
class Comparison:
    """Two runs of an experiment.

    Attributes:
        grid: The trainings of the grids that are in both: before, now.
        alone: How many trainings of the grids only one run has.
        ratios: The ratios that both have.
        machine: How machine and packages differ; the trainings of a grid are the same only where
            they do not.
    """

    grid: tuple[tuple[Row, Row], ...]
    alone: int
    ratios: tuple[Again, ...]
    machine: tuple[str, ...]

    @property
    def others(self) -> list[tuple[Row, Row]]:
        """The pairs of trainings that took other steps, or of which one missed its target."""
        return [
            (before, now)
            for before, now in self.grid
            if (before.reached, before.steps) != (now.reached, now.steps)
        ]

    @property
    def agrees(self) -> bool:
        """Whether the new run says what the one before said."""
        exact = bool(self.machine) or not self.others
        return bool(self.grid) and exact and all(again.agrees for again in self.ratios)


def compare(before: Summary, now: Summary) -> Comparison:
    """Put a new run of an experiment beside the one before.

    Raises:
        ConfigError: If they are of two experiments.
    """
    names = before.raw.experiment.name, now.raw.experiment.name
    if names[0] != names[1]:
        raise ConfigError(f"{names[1]} cannot be compared with {names[0]}, another experiment")
    olds, news = _grid(before.raw), _grid(now.raw)
    ratios, others = dict(_ratios(before.records)), dict(_ratios(now.records))
    return Comparison(
        grid=tuple((row, news[key]) for key, row in olds.items() if key in news),
        alone=len(olds.keys() ^ news.keys()),
        ratios=tuple(
            Again(name, data, others[name]) for name, data in ratios.items() if name in others
        ),
        machine=tuple(_differences(before.raw, now.raw)),
    )


def screen(found: Comparison, before: str) -> RenderableType:
    """What is shown of a comparison.

    Args:
        found: The comparison.
        before: Where the run before is.
    """
    says = "agrees with" if found.agrees else "DOES NOT agree with"
    lines = [Text(f"This run {says} {before}.", style="bold"), *map(Text, _lines(found))]
    if not found.ratios:
        return Group(Text(), *lines)
    rows = [
        (again.name, interval(again.before), interval(again.now), "yes" if again.agrees else "NO")
        for again in found.ratios
    ]
    return Group(Text(), *lines, rows_of(("ratio", "before", "now", "intervals meet"), rows))


def _lines(found: Comparison) -> Iterator[str]:
    if found.machine:
        yield f"Other machine or versions, so steps may differ: {'; '.join(found.machine)}."
    same = len(found.grid) - len(found.others)
    yield (
        f"Of {len(found.grid)} trainings of the grids in both, {same} took the same steps to the "
        f"same end{f'; {found.alone} are in one alone' if found.alone else ''}."
    )
    for before, now in found.others[:_SHOWN]:
        yield (
            f"  {before.arm} {setup_text(before.setup)} seed={before.seed}: {_end(before)} "
            f"before, {_end(now)} now"
        )
    if len(found.others) > _SHOWN:
        yield f"  and {len(found.others) - _SHOWN} more"
    logs = [
        math.log(now.energy_j / before.energy_j)
        for before, now in found.grid
        if before.energy_j > 0 and now.energy_j > 0
    ]
    if logs:
        mean, low, high = (math.exp(x) for x in (sum(logs) / len(logs), min(logs), max(logs)))
        yield f"They cost {mean:.2f} times the joules of before (each {low:.2f} to {high:.2f})."


def _end(row: Row) -> str:
    return f"{'reached' if row.reached else 'missed'} after {row.steps} steps"


def _grid(raw: Raw) -> dict[tuple[Any, ...], Row]:
    return {row.key: row for row in raw.rows if row.role == GRID}


def _ratios(records: tuple[Mapping[str, Any], ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each ratio of the records, by the name of its record and its own."""
    for record in records:
        for key, value in record.items():
            if isinstance(value, Mapping) and value.keys() >= _RATIO and value["pairs"]:
                yield f"{record['name']}{key.removeprefix('ratio').replace('_', ', ')}", value


def _differences(before: Raw, now: Raw) -> Iterator[str]:
    device = before.source.get("device"), now.source.get("device")
    if device[0] != device[1]:
        yield f"{device[0]} before, {device[1]} now"
    for name in sorted(before.packages.keys() | now.packages.keys()):
        versions = before.packages.get(name, "none"), now.packages.get(name, "none")
        if versions[0] != versions[1]:
            yield f"{name} {versions[0]} before, {versions[1]} now"
    if before.words != now.words:
        words = (" ".join(raw.words) or "no words" for raw in (before, now))
        yield " before, ".join(words) + " now"
