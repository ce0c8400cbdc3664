"""Summary of a multitask experiment: several heads on one trunk against one training per head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from energyopt.core.units import joules
from energyopt.experiments.plan import Comparison
from energyopt.experiments.results import (
    BANDS,
    BEST,
    COMPARED,
    ExperimentSummary,
    Table,
    arm_record,
    comparison_title,
    energy_ratio,
    energy_text,
    find_status,
    mean,
    ratio_data,
    ratio_text,
    ratio_verdict,
    rounded,
    setup_text,
    values_by_seed,
)
from energyopt.experiments.rows import Raw, Row


def summarize_shared(raw: Raw, caption: str) -> ExperimentSummary:
    """Summarize comparisons of an arm with several heads and one arm per head."""
    records = [_record(raw, comparison) for comparison in raw.experiment.comparisons]
    table = Table(
        f"The best setup of each arm with {len(raw.experiment.again)} new seeds",
        ("heads", "each alone", "together", "together / sum", ""),
        tuple(map(_row, records)),
    )
    lines = tuple(map(_line, records))
    return ExperimentSummary(raw, (table,), lines, tuple(records), partial(_draw, records, caption))


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


def _record(raw: Raw, comparison: Comparison) -> dict[str, Any]:
    (arm,), singles = comparison.arms["multitask"], comparison.arms["singles"]
    multitask = raw.select(arm, BEST)
    rows_by_single = {name: raw.select(name, BEST) for name in singles}
    status, reason = find_status(raw, comparison.names)
    ratio = None
    if status == COMPARED:
        energies = [values_by_seed(rows) for rows in rows_by_single.values()]
        seeds = sorted(set.intersection(*map(set, energies)))
        sums = {seed: math.fsum(by_seed[seed] for by_seed in energies) for seed in seeds}
        ratio = energy_ratio(values_by_seed(multitask), sums)
    return {
        "name": comparison.name,
        "control": comparison.control,
        "status": status,
        "reason": reason,
        "seeds": len(multitask),
        "together": arm_record(multitask),
        "alone": {name: arm_record(rows) for name, rows in rows_by_single.items()},
        "heads_first_j": _first_hits(multitask),
        "ratio": ratio_data(ratio),
        "verdict": ratio_verdict(ratio, "saves", "costs more"),
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


def _line(record: Mapping[str, Any]) -> str:
    if record["status"] != COMPARED:
        return f"{record['name']}: {record['status']}; {record['reason']}"
    arms = {"together": record["together"], **record["alone"]}
    setups = ", ".join(f"{name} {setup_text(arm['setup'])}" for name, arm in arms.items())
    hits = ", ".join(f"{head} {joules(hit_j)}" for head, hit_j in record["heads_first_j"].items())
    return f"{record['name']}: each head first at its target at {hits} ({setups})."
