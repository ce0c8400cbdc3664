"""Shared knowledge: several heads over one trunk against a training for each."""

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
    Summary,
    Table,
    by_seed,
    compared,
    energy_j,
    hindrance,
    interval,
    ratio_data,
    setup_text,
    short,
    verdict,
)
from energyopt.experiments.rows import Raw, Row


def summarize_shared(raw: Raw, caption: str) -> Summary:
    """Summarize comparisons of one arm of several heads with one arm a head.

    Args:
        raw: The trainings.
        caption: Where the joules come from, in words.
    """
    records = [_record(raw, each) for each in raw.experiment.comparisons]
    table = Table(
        f"The best setup of each arm with {len(raw.experiment.again)} new seeds",
        ("heads", "each alone", "together", "together / sum", ""),
        tuple(map(_row, records)),
    )
    lines = tuple(map(_line, records))
    return Summary(raw, (table,), lines, tuple(records), partial(_draw, records, caption))


def _draw(records: Sequence[Mapping[str, Any]], caption: str) -> str:
    from energyopt.experiments.figures import Bar, draw_bars

    bars = [
        Bar(
            record["name"] + (" (control)" if record["control"] else ""),
            record["ratio"]["value"],
            record["ratio"]["low"],
            record["ratio"]["high"],
            record["status"] if record["status"] != "compared" else record["verdict"],
        )
        for record in records
    ]
    title = "Multitask energy / separate training energy"
    return draw_bars(title, f"{caption}; {BANDS}", "ratio of energies (1: equal)", bars)


def _record(raw: Raw, comparison: Comparison) -> dict[str, Any]:
    (arm,), singles = comparison.arms["multitask"], comparison.arms["singles"]
    together = raw.of(arm, BEST)
    alone = {name: raw.of(name, BEST) for name in singles}
    hindered = hindrance(raw, comparison.names)
    status, reason = hindered or ("compared", "")
    found = None
    if hindered is None:
        energies = [by_seed(rows, energy_j) for rows in alone.values()]
        seeds = set.intersection(*(set(each) for each in energies))
        sums = {seed: math.fsum(each[seed] for each in energies) for seed in sorted(seeds)}
        found = compared(by_seed(together, energy_j), sums)
    return {
        "name": comparison.name,
        "control": comparison.control,
        "status": status,
        "reason": reason,
        "seeds": len(together),
        "together": _side(together),
        "alone": {name: _side(rows) for name, rows in alone.items()},
        "heads_first_j": _first_hits(together),
        "ratio": ratio_data(found),
        "verdict": verdict(found, "saves", "costs more"),
    }


def _side(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "setup": dict(rows[0].setup) if rows else {},
        "reached": sum(row.reached for row in rows),
        "energy_j": short(math.fsum(row.energy_j for row in rows) / len(rows)) if rows else None,
        "steps": [row.steps for row in rows],
    }


def _first_hits(rows: Sequence[Row]) -> dict[str, float | None]:
    """Mean energy at which each head of the common training was first at its target, in J.

    It may have lost it again before all heads were at theirs at once.
    """
    hits: dict[str, float | None] = {}
    for head in rows[0].heads_j if rows else ():
        each = [at for row in rows if (at := row.heads_j.get(head)) is not None]
        hits[head] = short(math.fsum(each) / len(each)) if len(each) == len(rows) else None
    return hits


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    name = record["name"] + (" (control)" if record["control"] else "")
    alone = " + ".join(_energy(each) for each in record["alone"].values())
    found = record["ratio"]
    if found["value"] is None:
        return (name, alone, _energy(record["together"]), record["status"], "")
    return (name, alone, _energy(record["together"]), interval(found), record["verdict"])


def _energy(side: Mapping[str, Any]) -> str:
    if side["energy_j"] is None:
        return "-"
    return f"{'>' if side['reached'] < len(side['steps']) else ''}{joules(side['energy_j'])}"


def _line(record: Mapping[str, Any]) -> str:
    if record["status"] != "compared":
        return f"{record['name']}: {record['status']}; {record['reason']}"
    sides = {"together": record["together"], **record["alone"]}
    setups = ", ".join(f"{name} {setup_text(side['setup'])}" for name, side in sides.items())
    firsts = ", ".join(f"{head} {joules(at)}" for head, at in record["heads_first_j"].items())
    return f"{record['name']}: each head first at its target at {firsts} ({setups})."
