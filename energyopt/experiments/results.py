"""What the summaries of all kinds have in common: a finding, ratios of paired seeds, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energyopt.analysis.paired_ratio import CONFIDENCE, Ratio, ratio
from energyopt.experiments.rows import Raw, Row

BEST = "best"
BANDS = f"{100 * CONFIDENCE:g} % intervals of paired new seeds"


@dataclass(frozen=True)
class Table:
    """A table for the terminal.

    Attributes:
        title: What it shows.
        columns: Their names.
        rows: Their texts.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Summary:
    """What an experiment found.

    Attributes:
        raw: What it was made of.
        tables: For the terminal.
        lines: Sentences below them.
        records: A record a row, as plain data: the same for spreadsheets and programs.
        draw: Draws its figure, as SVG; None if it has none.
    """

    raw: Raw
    tables: tuple[Table, ...]
    lines: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]
    draw: Callable[[], str] | None
    more: Mapping[str, Any] = field(default_factory=dict)


def by_seed(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[int, float]:
    """A number of each training by its seed."""
    return {row.seed: value(row) for row in rows}


def energy_j(row: Row) -> float:
    """Energy to the target with its share of what went before, in J."""
    return row.energy_j


def hindrance(raw: Raw, names: Sequence[str], role: str = BEST) -> tuple[str, str] | None:
    """Why the arms of a comparison have no energies to compare.

    Returns:
        A status in a word (skipped, unfinished, missed) and the reason in a sentence; None if all
        seeds of all arms reached the target.
    """
    for name in names:
        if name in raw.skipped:
            return "skipped", f"{name}: {raw.skipped[name]}"
    missed = []
    for name in names:
        grid, again = raw.of(name, "grid"), raw.of(name, role)
        if grid and not any(row.reached for row in grid):
            missed.append(f"{name} reached its target in none of {len(grid)} trainings")
            continue
        if len(again) < len(raw.experiment.again):
            of = len(raw.experiment.again)
            return "unfinished", f"{name}: {len(again)} of {of} trainings with new seeds"
        reached = sum(row.reached for row in again)
        if reached < len(again):
            missed.append(f"{name} reached its target with {reached} of {len(again)} new seeds")
    return ("missed", "; ".join(missed)) if missed else None


def interval(found: Mapping[str, Any]) -> str:
    """A ratio with its interval, from its data: "0.42 [0.31, 0.57]"."""
    if found["value"] is None:
        return "-"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def ratio_data(found: Ratio | None) -> dict[str, float | int | None]:
    """The same as plain data."""
    if found is None:
        return {"value": None, "low": None, "high": None, "pairs": 0}
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return {**{key: short(value) for key, value in ends.items()}, "pairs": found.pairs}


def verdict(found: Ratio | None, cheaper: str, dearer: str) -> str:
    """What the interval says."""
    if found is None:
        return "-"
    return {-1: cheaper, 0: "not told apart", 1: dearer}[found.verdict]


def compared(one: Mapping[int, float], other: Mapping[int, float]) -> Ratio | None:
    """How many times the energy of one is that of another; None where one needs none."""
    if any(value <= 0 for value in (*one.values(), *other.values())):
        return None
    return ratio(one, other)


def short(value: float | None) -> float | None:
    """Four significant digits: what is beyond is noise, and differs between machines."""
    return None if value is None else float(f"{value:.4g}")


def setup_text(setup: Mapping[str, Any]) -> str:
    """A setup in short: without what interpolates, and what all keys of a paradigm begin with."""
    words = []
    for key, value in setup.items():
        if "$" not in str(value):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words.append(f"{key.removeprefix('paradigm.')}={text}")
    return " ".join(words)
