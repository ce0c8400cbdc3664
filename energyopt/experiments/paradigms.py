"""All paradigms in one study: energy to the target, and the front of energy and accuracy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from energyopt.analysis.paired_ratio import quantile
from energyopt.core.units import joules
from energyopt.experiments.results import (
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
from energyopt.experiments.rows import GRID, Raw, Row
from energyopt.experiments.selection import PARADIGM, cells

_BASE = "scratch"


def summarize_paradigms(raw: Raw, caption: str) -> Summary:
    """Summarize a grid with an axis of paradigms.

    Args:
        raw: The trainings.
        caption: Where the joules come from, in words.
    """
    (comparison,) = raw.experiment.comparisons
    (name,) = comparison.arms["cells"]
    options = [str(option) for option in raw.experiment.by_name[name].grid.get(PARADIGM, ())]
    records = [_record(raw, name, option) for option in options]
    target = next((row.target for row in raw.rows), math.nan)
    table = Table(
        f"The best setup of each with {len(raw.experiment.again)} new seeds; target {target:g}",
        ("paradigm", "energy", "of it before", f"times {_BASE}'s", "reached", "best accuracy"),
        tuple(map(_row, records)),
    )
    curves = {option: [row.curve for row in raw.of(name, option)] for option in options}
    lines = [_line(record) for record in records]
    if name in raw.skipped:
        lines = [f"{name} was skipped: {raw.skipped[name]}."]
    front = front_of(raw.of(name, GRID))
    lines.append(_front_line(front))
    more = {"front": [dict(point) for point in front]}
    draw = partial(_draw, curves, target, caption)
    return Summary(raw, (table,), tuple(lines), tuple(records), draw, more)


def _draw(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], target: float, caption: str
) -> str:
    from energyopt.experiments.figures import draw_curves

    title = "Accuracy of the worst head vs. training energy"
    return draw_curves(title, f"{caption}; one line per new seed", curves, target)


def _record(raw: Raw, arm: str, option: str) -> dict[str, Any]:
    rows, base = raw.of(arm, option), raw.of(arm, _BASE)
    grid = [row for row in raw.of(arm, GRID) if row.setup.get(PARADIGM) == option]
    hindered = hindrance(raw, [arm], option) or hindrance(raw, [arm], _BASE)
    if hindered is not None and grid and not any(row.reached for row in grid):
        hindered = "missed", f"{option} reached the target in none of {len(grid)} trainings"
    found = None
    if hindered is None and option != _BASE:
        found = compared(by_seed(rows, energy_j), by_seed(base, energy_j))
    accuracies = [row.best_accuracy for row in rows]
    half = None
    if len(accuracies) > 1:
        spread = statistics.stdev(accuracies) / math.sqrt(len(accuracies))
        half = short(quantile(len(accuracies) - 1) * spread)
    answers = [j for row in rows for j in list(row.answers_j.values())[:1]]
    status, reason = hindered or ("compared", "")
    return {
        "name": option,
        "status": status,
        "reason": reason,
        "setup": dict(rows[0].setup) if rows else {},
        "seeds": len(rows),
        "reached": sum(row.reached for row in rows),
        "grid_reached": sum(cell.always for cell in cells(grid)),
        "grid_setups": len(cells(grid)),
        "energy_j": short(_mean([row.energy_j for row in rows])),
        "upfront_j": short(_mean([row.share_j for row in rows])),
        "upfront_missed": sum(bool(row.missed) for row in rows),
        "best_accuracy": short(_mean(accuracies)),
        "best_accuracy_half": half,
        "answers_j_per_1000": short(_mean(answers)),
        "steps": [row.steps for row in rows],
        "ratio": ratio_data(found),
        "verdict": verdict(found, "cheaper", "dearer"),
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    if record["energy_j"] is None:
        return (record["name"], "-", "-", record["status"], "-", "-")
    sign = ">" if record["reached"] < record["seeds"] else ""
    times = "1" if record["name"] == _BASE else interval(record["ratio"])
    half = record["best_accuracy_half"]
    accuracy = f"{record['best_accuracy']:.3f}" + ("" if half is None else f" ± {half:.3f}")
    return (
        record["name"],
        f"{sign}{joules(record['energy_j'])}",
        joules(record["upfront_j"]),
        record["status"] if times == "-" else times,
        f"{record['reached']}/{record['seeds']}",
        accuracy,
    )


def _line(record: Mapping[str, Any]) -> str:
    cells_ = f"{record['grid_reached']} of {record['grid_setups']} setups always reach the target"
    reason = f"; {record['reason']}" if record["reason"] else ""
    missed = record["upfront_missed"]
    before = f"; what it began with missed its own target {missed} times" if missed else ""
    setup = {key: value for key, value in record["setup"].items() if key != PARADIGM}
    return f"{record['name']}: {cells_}; best {setup_text(setup) or '-'}{before}{reason}."


def front_of(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Points of all trainings' curves that no other beats in both energy and accuracy."""
    points = sorted(
        (energy, -accuracy, row.setup.get(PARADIGM, ""))
        for row in rows
        for energy, accuracy in row.curve
    )
    front: list[Mapping[str, Any]] = []
    best = -1.0
    for energy, loss, option in points:
        if -loss > best:
            best = -loss
            front.append({"energy_j": short(energy), "accuracy": best, PARADIGM: option})
    return front


def _front_line(front: Sequence[Mapping[str, Any]]) -> str:
    if not front:
        return "Front: nothing was trained."
    counts = dict.fromkeys(dict.fromkeys(point[PARADIGM] for point in front), 0)
    for point in front:
        counts[point[PARADIGM]] += 1
    shares = ", ".join(f"{option} {count}" for option, count in counts.items())
    return f"Front of all trainings that chose the setups, by luck as it is: {shares} points."
