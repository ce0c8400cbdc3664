"""Parts that all kinds of summaries share: their records, ratios over paired seeds, and texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from energyopt.analysis.paired_ratio import CONFIDENCE, Ratio
from energyopt.analysis.paired_ratio import ratio as paired_ratio
from energyopt.core.units import joules
from energyopt.experiments.rows import GRID, Raw, Row

BEST = "best"
COMPARED = "compared"
_ENERGY_J: Callable[[Row], float] = attrgetter("energy_j")  # with its share of upfront cost
BANDS = f"{100 * CONFIDENCE:g} % intervals of paired new seeds"


@dataclass(frozen=True)
class Table:
    """A table of texts for the terminal."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ExperimentSummary:
    """Results of an experiment.

    Attributes:
        raw: The input.
        tables: Tables for the terminal.
        lines: Sentences below the tables.
        records: The rows as plain data, for spreadsheets and programs.
        draw: Function that draws the figure as SVG; None if there is no figure.
        extra: Further keys of the JSON file.
    """

    raw: Raw
    tables: tuple[Table, ...]
    lines: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]
    draw: Callable[[], str] | None
    extra: Mapping[str, Any] = field(default_factory=dict)


def values_by_seed(
    rows: Sequence[Row], value: Callable[[Row], float] = _ENERGY_J
) -> dict[int, float]:
    """Return a number of each training by its seed: its energy to the target by default."""
    return {row.seed: value(row) for row in rows}


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None without values."""
    return math.fsum(values) / len(values) if values else None


def arm_record(rows: Sequence[Row], value: Callable[[Row], float] = _ENERGY_J) -> dict[str, Any]:
    """Return the results of one arm with the new seeds; `value` is the energy compared, in J."""
    return {
        "setup": dict(rows[0].setup) if rows else {},
        "reached": sum(row.reached for row in rows),
        "energy_j": rounded(mean([value(row) for row in rows])),
        "steps": [row.steps for row in rows],
    }


def energy_text(record: Mapping[str, Any]) -> str:
    """Return the energy of an `arm_record`; with ">" if a training missed the target."""
    if record["energy_j"] is None:
        return "-"
    is_bound = record["reached"] < len(record["steps"])
    return f"{'>' if is_bound else ''}{joules(record['energy_j'])}"


def comparison_title(record: Mapping[str, Any]) -> str:
    """Return the name of a comparison, marked if it is a control."""
    return f"{record['name']}{' (control)' if record['control'] else ''}"


def find_status(raw: Raw, names: Sequence[str], role: str = BEST) -> tuple[str, str]:
    """Return whether the energies of arms can be compared, and the reason if they cannot.

    The status is `COMPARED` (every training of every arm reached the target), skipped, unfinished
    or missed.
    """
    for name in names:
        if name in raw.skipped:
            return "skipped", f"{name}: {raw.skipped[name]}"
    missed = []
    for name in names:
        grid, retrained = raw.select(name, GRID), raw.select(name, role)
        if grid and not any(row.reached for row in grid):
            missed.append(f"{name} reached its target in none of {len(grid)} trainings")
            continue
        n_planned = len(raw.experiment.again)
        if len(retrained) < n_planned:
            return "unfinished", f"{name}: {len(retrained)} of {n_planned} trainings with new seeds"
        n_reached = sum(row.reached for row in retrained)
        if n_reached < len(retrained):
            missed.append(
                f"{name} reached its target with {n_reached} of {len(retrained)} new seeds"
            )
    return ("missed", "; ".join(missed)) if missed else (COMPARED, "")


def ratio_text(data: Mapping[str, Any]) -> str:
    """Format the data of a ratio with its interval: "0.42 [0.31, 0.57]"."""
    if data["value"] is None:
        return "-"
    return f"{data['value']:.2f} [{data['low']:.2f}, {data['high']:.2f}]"


def ratio_data(ratio: Ratio | None) -> dict[str, float | int | None]:
    """Return a ratio with its interval as plain data."""
    if ratio is None:
        return {"value": None, "low": None, "high": None, "pairs": 0}
    ends = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    return {**{key: rounded(value) for key, value in ends.items()}, "pairs": ratio.pairs}


def ratio_verdict(ratio: Ratio | None, cheaper: str, costlier: str) -> str:
    """Return what the interval of a ratio shows, "not told apart" if it contains 1."""
    if ratio is None:
        return "-"
    return {-1: cheaper, 0: "not told apart", 1: costlier}[ratio.verdict]


def compare_rows(rows: Sequence[Row], base: Sequence[Row]) -> Ratio | None:
    """Return the ratio of the energies to the target of two arms over paired seeds."""
    return energy_ratio(values_by_seed(rows), values_by_seed(base))


def energy_ratio(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> Ratio | None:
    """Return the ratio of energies over paired seeds; None if an energy is not positive.

    The ratio is one of geometric means, so it needs the logarithm of every energy.
    """
    if any(value <= 0 for value in (*numerator.values(), *denominator.values())):
        return None
    return paired_ratio(numerator, denominator)


def rounded(value: float | None) -> float | None:
    """Round to four significant digits: the rest is noise and differs between machines."""
    return None if value is None else float(f"{value:.4g}")


def setup_text(setup: Mapping[str, Any]) -> str:
    """Format a configuration, without interpolated values and without the prefix `paradigm.`."""
    texts = []
    for key, value in setup.items():
        if "$" not in str(value):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            texts.append(f"{key.removeprefix('paradigm.')}={text}")
    return " ".join(texts)
