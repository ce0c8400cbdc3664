"""Parts that all kinds of summaries share: their records, ratios over paired seeds, and texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from energyopt.analysis.multiplicity import holm
from energyopt.analysis.paired_ratio import CONFIDENCE, Ratio, half_width
from energyopt.analysis.paired_ratio import ratio as paired_ratio
from energyopt.core.units import joules
from energyopt.experiments.rows import GRID, Raw, Row

BEST = "best"
COMPARED = "compared"
NOT_TOLD_APART = "not told apart"
_ENERGY_J: Callable[[Row], float] = attrgetter("energy_j")  # with its share of upfront cost
_SAMPLES: Callable[[Row], float] = attrgetter("samples")
EVALUATED = "ratio_evaluated"
"""Key of the ratio of energies with evaluations."""
HOLDS = "*"
"""Mark of a ratio that differs from 1 also after the correction for the number of ratios."""
EDGE = "(edge)"
"""Mark of a value at the end of its searched range: a better one may lie beyond."""
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


def arm_record(
    raw: Raw, arm: str, role: str = BEST, value: Callable[[Row], float] = _ENERGY_J
) -> dict[str, Any]:
    """Return the results of one arm with the new seeds; `value` is the energy compared, in J."""
    rows = raw.select(arm, role)
    setup = dict(rows[0].setup) if rows else {}
    return {
        "setup": setup,
        "edges": edges(setup, raw.experiment.arms_by_name[arm].grid),
        "reached": sum(row.reached for row in rows),
        "energy_j": rounded(mean([value(row) for row in rows])),
        "steps": [row.steps for row in rows],
        "samples": [row.samples for row in rows],
        **test_data(rows),
    }


def edges(setup: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the keys of a configuration whose number is the least or the largest searched."""
    numbers = {
        key: [value for value in values if type(value) in (int, float)]
        for key, values in grid.items()
    }
    return [
        key
        for key, values in numbers.items()
        if len(values) > 1 and setup.get(key) in (min(values), max(values))
    ]


def test_data(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the mean of the metric on the test split, and half its confidence interval."""
    tests = [row.test for row in rows if row.test is not None]
    is_complete = len(tests) == len(rows)
    return {
        "test": rounded(mean(tests)) if is_complete else None,
        "test_half": rounded(half_width(tests)) if is_complete and len(tests) > 1 else None,
    }


def columns_used(
    columns: Sequence[str], rows: Sequence[tuple[str, ...]], optional: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return columns and rows without optional columns in which nothing is known."""
    used = [
        index
        for index, column in enumerate(columns)
        if column not in optional or any(set(row[index]) - set("-, ") for row in rows)
    ]
    return tuple(columns[i] for i in used), tuple(tuple(row[i] for i in used) for row in rows)


def test_text(record: Mapping[str, Any]) -> str:
    """Format the `test_data` of a record: "0.951 ± 0.008"."""
    if record["test"] is None:
        return "-"
    half = record["test_half"]
    return f"{record['test']:.3f}" + ("" if half is None else f" ± {half:.3f}")


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
    """Format the data of a ratio with its interval: "0.42 [0.31, 0.57]", marked if it holds."""
    if data["value"] is None:
        return "-"
    mark = HOLDS if holds(data) else ""
    return f"{data['value']:.2f} [{data['low']:.2f}, {data['high']:.2f}]{mark}"


def ratio_data(ratio: Ratio | None, p_holm: float | None = None) -> dict[str, float | int | None]:
    """Return a ratio with its interval as plain data.

    Args:
        ratio: The ratio.
        p_holm: Its p-value, corrected for the number of ratios; None for a ratio that has no
            verdict.
    """
    if ratio is None:
        return {"value": None, "low": None, "high": None, "pairs": 0, "p": None, "p_holm": None}
    ends = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    tests = {"pairs": ratio.pairs, "p": _p_rounded(ratio.p_value), "p_holm": _p_rounded(p_holm)}
    return {**{key: rounded(value) for key, value in ends.items()}, **tests}


def _p_rounded(p_value: float | None) -> float | None:
    return None if p_value is None else float(f"{p_value:.2g}")


def corrected(ratios: Sequence[Ratio | None]) -> list[dict[str, float | int | None]]:
    """Return ratios as plain data, their p-values corrected for how many there are (Holm)."""
    adjusted = iter(holm([ratio.p_value for ratio in ratios if ratio is not None]))
    return [ratio_data(ratio, None if ratio is None else next(adjusted)) for ratio in ratios]


def holds(data: Mapping[str, Any]) -> bool:
    """Return whether a ratio differs from 1 after the correction for the number of ratios."""
    return data.get("p_holm") is not None and bool(data["p_holm"] < 1 - CONFIDENCE)


def ratio_verdict(data: Mapping[str, Any], cheaper: str, costlier: str) -> str:
    """Return what a ratio shows after the correction, "not told apart" if it shows nothing."""
    if data["value"] is None:
        return "-"
    if not holds(data):
        return NOT_TOLD_APART
    return cheaper if data["value"] < 1 else costlier


def compare_rows(rows: Sequence[Row], base: Sequence[Row]) -> Ratio | None:
    """Return the ratio of the energies to the target of two arms over paired seeds."""
    return energy_ratio(values_by_seed(rows), values_by_seed(base))


def evaluated_ratio(rows: Sequence[Row], base: Sequence[Row]) -> Ratio | None:
    """Return the ratio of energies with evaluations; None if those are not known of all."""
    columns = [evaluated_by_seed(arm) for arm in (rows, base)]
    return None if None in columns else energy_ratio(*(column or {} for column in columns))


def evaluated_by_seed(rows: Sequence[Row]) -> dict[int, float] | None:
    """Return energies to the target with evaluations, in J; None if those are not known of all."""
    energies = {row.seed: row.evaluated_j for row in rows}
    by_seed = {seed: energy_j for seed, energy_j in energies.items() if energy_j is not None}
    return by_seed if len(by_seed) == len(energies) else None


def samples_ratio(rows: Sequence[Row], base: Sequence[Row]) -> Ratio | None:
    """Return the ratio of the training samples to the target of two arms over paired seeds."""
    return energy_ratio(values_by_seed(rows, _SAMPLES), values_by_seed(base, _SAMPLES))


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


def setup_text(setup: Mapping[str, Any], at_edges: Sequence[str] = ()) -> str:
    """Format a configuration, without interpolated values and without the prefix `paradigm.`.

    Args:
        setup: The configuration.
        at_edges: Keys whose values are marked: see `edges`.
    """
    texts = []
    for key, value in setup.items():
        if "$" not in str(value):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            mark = f" {EDGE}" if key in at_edges else ""
            texts.append(f"{key.removeprefix('paradigm.')}={text}{mark}")
    return " ".join(texts)
