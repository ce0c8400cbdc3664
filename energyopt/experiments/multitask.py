"""Summary of a multitask experiment: several heads on one trunk against one training per head."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from energyopt.analysis.paired_ratio import Ratio
from energyopt.core.units import joules
from energyopt.experiments.life import life_of, life_table
from energyopt.experiments.plan import Comparison
from energyopt.experiments.results import (
    BANDS,
    BEST,
    COMPARED,
    ExperimentSummary,
    Table,
    arm_record,
    columns_used,
    comparison_title,
    corrected,
    energy_ratio,
    energy_text,
    evaluated_by_seed,
    find_status,
    mean,
    ratio_data,
    ratio_text,
    ratio_verdict,
    rounded,
    setup_text,
    test_text,
    values_by_seed,
)
from energyopt.experiments.rows import GRID, Raw, Row

_COUNTED = ("heads", "with evaluation", "samples", "test alone", "together")


def summarize_shared(raw: Raw, caption: str) -> ExperimentSummary:
    """Summarize comparisons of an arm with several heads and one arm per head."""
    comparisons = raw.experiment.comparisons
    ratios = corrected([_compared(raw, comparison, values_by_seed) for comparison in comparisons])
    records = [
        _record(raw, comparison)
        | {"ratio": ratio, "verdict": ratio_verdict(ratio, "saves", "costs more")}
        for comparison, ratio in zip(comparisons, ratios, strict=True)
    ]
    tables = (
        Table(
            f"The best setup of each arm with {len(raw.experiment.again)} new seeds",
            ("heads", "each alone", "together", "together / sum", ""),
            tuple(map(_row, records)),
        ),
        Table(
            "Together / sum, by what is counted; and the metric on the test split",
            *columns_used(_COUNTED, [*map(_counted_row, records)], _COUNTED[1:]),
        ),
    )
    lives = [
        life
        for arm in raw.experiment.arms
        if (life := life_of(arm.name, raw.select(arm.name, GRID), raw.select(arm.name, BEST)))
    ]
    return ExperimentSummary(
        raw,
        (*tables, *([life_table(lives)] if lives else [])),
        tuple(map(_line, records)),
        tuple(records),
        partial(_draw, records, caption),
        {"life": lives},
    )


def _draw(records: Sequence[Mapping[str, Any]], caption: str) -> str:
    from energyopt.experiments.figures import Bar, draw_bars

    bars = [
        Bar(
            comparison_title(record),
            **{end: record["ratio"][end] for end in ("value", "low", "high")},
            note=record["verdict"] if record["status"] == COMPARED else record["status"],
        )
        for record in records
    ]
    title = "Multitask energy / separate training energy"
    return draw_bars(title, f"{caption}; {BANDS}", "ratio of energies (1: equal)", bars)


def _compared(
    raw: Raw, comparison: Comparison, value: Callable[[Sequence[Row]], dict[int, float] | None]
) -> Ratio | None:
    """Return the ratio of one training of all heads to the sum of those of each.

    Args:
        raw: All trainings.
        comparison: The arms.
        value: Returns a number of each training by its seed; None if it is not known of all.

    Returns:
        None if they cannot be compared.
    """
    if find_status(raw, comparison.names)[0] != COMPARED:
        return None
    together = value(raw.select(comparison.arms["multitask"][0], BEST))
    columns = [value(raw.select(name, BEST)) for name in comparison.arms["singles"]]
    singles = [by_seed for by_seed in columns if by_seed is not None]
    if together is None or len(singles) < len(columns):
        return None
    seeds = sorted(set.intersection(*map(set, singles)))
    return energy_ratio(
        together, {seed: math.fsum(by_seed[seed] for by_seed in singles) for seed in seeds}
    )


def _samples_by_seed(rows: Sequence[Row]) -> dict[int, float]:
    return values_by_seed(rows, operator.attrgetter("samples"))


def _record(raw: Raw, comparison: Comparison) -> dict[str, Any]:
    (arm,), singles = comparison.arms["multitask"], comparison.arms["singles"]
    multitask = raw.select(arm, BEST)
    status, reason = find_status(raw, comparison.names)
    return {
        "name": comparison.name,
        "control": comparison.control,
        "status": status,
        "reason": reason,
        "seeds": len(multitask),
        "together": arm_record(raw, arm),
        "alone": {name: arm_record(raw, name) for name in singles},
        "heads_first_j": _first_hits(multitask),
        "ratio_evaluated": ratio_data(_compared(raw, comparison, evaluated_by_seed)),
        "ratio_samples": ratio_data(_compared(raw, comparison, _samples_by_seed)),
    }


def _first_hits(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the mean energy at which each head first reached its target, in J.

    A head may fall below its target again before all heads are at theirs at the same time.
    """
    hits: dict[str, float | None] = {}
    for head in rows[0].heads_j if rows else ():
        energies = [hit_j for row in rows if (hit_j := row.heads_j.get(head)) is not None]
        hits[head] = rounded(mean(energies)) if len(energies) == len(rows) else None
    return hits


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    singles = " + ".join(map(energy_text, record["alone"].values()))
    cells = (comparison_title(record), singles, energy_text(record["together"]))
    if record["ratio"]["value"] is None:
        return (*cells, record["status"], "")
    return (*cells, ratio_text(record["ratio"]), record["verdict"])


def _counted_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    tests = ", ".join(map(test_text, record["alone"].values()))
    ratios = (ratio_text(record[key]) for key in ("ratio_evaluated", "ratio_samples"))
    return (comparison_title(record), *ratios, tests, test_text(record["together"]))


def _line(record: Mapping[str, Any]) -> str:
    if record["status"] != COMPARED:
        return f"{record['name']}: {record['status']}; {record['reason']}"
    arms = {"together": record["together"], **record["alone"]}
    setups = ", ".join(
        f"{name} {setup_text(arm['setup'], arm['edges'])}" for name, arm in arms.items()
    )
    hits = ", ".join(f"{head} {joules(hit_j)}" for head, hit_j in record["heads_first_j"].items())
    return f"{record['name']}: each head first at its target at {hits} ({setups})."
