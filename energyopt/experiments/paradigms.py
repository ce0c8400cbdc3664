"""Summary of a paradigms experiment: energy to the target and the Pareto front."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from energyopt.analysis.paired_ratio import Ratio, half_width
from energyopt.core.units import joules
from energyopt.experiments.life import life_of, life_table
from energyopt.experiments.results import (
    COMPARED,
    ExperimentSummary,
    Table,
    columns_used,
    compare_rows,
    corrected,
    edges,
    energy_text,
    evaluated_ratio,
    find_status,
    mean,
    ratio_data,
    ratio_text,
    ratio_verdict,
    rounded,
    samples_ratio,
    setup_text,
    test_data,
    test_text,
)
from energyopt.experiments.rows import GRID, Raw, Row
from energyopt.experiments.selection import PARADIGM, group_cells

_BASE = "scratch"
_COUNTED = ("paradigm", "with evaluation", "samples", "test")


def summarize_paradigms(raw: Raw, caption: str) -> ExperimentSummary:
    """Summarize a grid with an axis of paradigms."""
    (comparison,) = raw.experiment.comparisons
    (name,) = comparison.arms["cells"]
    options = [str(option) for option in raw.experiment.arms_by_name[name].grid.get(PARADIGM, ())]
    ratios = corrected([_compared(raw, name, option) for option in options])
    records = [
        _record(raw, name, option)
        | {"ratio": ratio, "verdict": ratio_verdict(ratio, "cheaper", "costs more")}
        for option, ratio in zip(options, ratios, strict=True)
    ]
    lives = [
        life
        for option in options
        if (life := life_of(option, _grid_of(raw, name, option), raw.select(name, option)))
    ]
    target = next((row.target for row in raw.rows), math.nan)
    tables = (
        Table(
            f"The best setup of each with {len(raw.experiment.again)} new seeds; target {target:g}",
            ("paradigm", "energy", "of it before", f"times {_BASE}'s", "reached", "best accuracy"),
            tuple(map(_row, records)),
        ),
        Table(
            f"Times {_BASE}'s, by what is counted; and the metric on the test split at the end",
            *columns_used(_COUNTED, [*map(_counted_row, records)], _COUNTED[1:]),
        ),
        *([life_table(lives)] if lives else []),
    )
    curves = {option: [row.curve for row in raw.select(name, option)] for option in options}
    lines = [_line(record) for record in records]
    if name in raw.skipped:
        lines = [f"{name} was skipped: {raw.skipped[name]}."]
    front = _pareto_front(raw.select(name, GRID))
    lines.append(_front_line(front))
    extra = {"front": [dict(point) for point in front], "life": lives}
    draw = partial(_draw, curves, target, caption)
    return ExperimentSummary(raw, tables, tuple(lines), tuple(records), draw, extra)


def _draw(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], target: float, caption: str
) -> str:
    from energyopt.experiments.figures import draw_curves

    title = "Accuracy of the worst head vs. training energy"
    return draw_curves(title, f"{caption}; one line per new seed", curves, target)


def _grid_of(raw: Raw, arm: str, option: str) -> list[Row]:
    return [row for row in raw.select(arm, GRID) if row.setup.get(PARADIGM) == option]


def _status(raw: Raw, arm: str, option: str) -> tuple[str, str]:
    status, reason = find_status(raw, [arm], option)
    return find_status(raw, [arm], _BASE) if status == COMPARED else (status, reason)


def _compared(raw: Raw, arm: str, option: str) -> Ratio | None:
    """Return the ratio of a paradigm to the base; None if they cannot be compared."""
    if option == _BASE or _status(raw, arm, option)[0] != COMPARED:
        return None
    return compare_rows(raw.select(arm, option), raw.select(arm, _BASE))


def _record(raw: Raw, arm: str, option: str) -> dict[str, Any]:
    rows, base = raw.select(arm, option), raw.select(arm, _BASE)
    grid = _grid_of(raw, arm, option)
    status, reason = _status(raw, arm, option)
    if status != COMPARED and grid and not any(row.reached for row in grid):
        status, reason = "missed", f"{option} reached the target in none of {len(grid)} trainings"
    is_compared = _compared(raw, arm, option) is not None
    setup = dict(rows[0].setup) if rows else {}
    accuracies = [row.best_accuracy for row in rows]
    inference_j = [j for row in rows for j in list(row.answers_j.values())[:1]]
    cells = group_cells(grid)
    return {
        "name": option,
        "status": status,
        "reason": reason,
        "setup": setup,
        "edges": edges(setup, raw.experiment.arms_by_name[arm].grid),
        "seeds": len(rows),
        "reached": sum(row.reached for row in rows),
        "grid_reached": sum(cell.always_reached for cell in cells),
        "grid_setups": len(cells),
        "energy_j": rounded(mean([row.energy_j for row in rows])),
        "upfront_j": rounded(mean([row.share_j for row in rows])),
        "upfront_missed": sum(bool(row.missed) for row in rows),
        "best_accuracy": rounded(mean(accuracies)),
        "best_accuracy_half": rounded(half_width(accuracies)) if len(accuracies) > 1 else None,
        "answers_j_per_1000": rounded(mean(inference_j)),
        "steps": [row.steps for row in rows],
        "ratio_evaluated": ratio_data(evaluated_ratio(rows, base) if is_compared else None),
        "ratio_samples": ratio_data(samples_ratio(rows, base) if is_compared else None),
        **test_data(rows),
    }


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    if record["energy_j"] is None:
        return (record["name"], "-", "-", record["status"], "-", "-")
    times = "1" if record["name"] == _BASE else ratio_text(record["ratio"])
    accuracy = f"{record['best_accuracy']:.3f}"
    if record["best_accuracy_half"] is not None:
        accuracy += f" ± {record['best_accuracy_half']:.3f}"
    return (
        record["name"],
        energy_text(record),
        joules(record["upfront_j"]),
        record["status"] if times == "-" else times,
        f"{record['reached']}/{record['seeds']}",
        accuracy,
    )


def _counted_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    texts = [ratio_text(record[key]) for key in ("ratio_evaluated", "ratio_samples")]
    ratios = ["1", "1"] if record["name"] == _BASE else texts
    return (record["name"], *ratios, test_text(record))


def _line(record: Mapping[str, Any]) -> str:
    grid = f"{record['grid_reached']} of {record['grid_setups']} setups always reach the target"
    reason = f"; {record['reason']}" if record["reason"] else ""
    missed = record["upfront_missed"]
    upfront = f"; what it began with missed its own target {missed} times" if missed else ""
    setup = {key: value for key, value in record["setup"].items() if key != PARADIGM}
    best = setup_text(setup, record["edges"]) or "-"
    return f"{record['name']}: {grid}; best {best}{upfront}{reason}."


def _pareto_front(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return the Pareto-optimal points of all curves in energy and accuracy."""
    points = sorted(
        (energy, -accuracy, row.setup.get(PARADIGM, ""))
        for row in rows
        for energy, accuracy in row.curve
    )
    front: list[Mapping[str, Any]] = []
    best = -1.0
    for energy, negative_accuracy, option in points:
        if -negative_accuracy > best:
            best = -negative_accuracy
            front.append({"energy_j": rounded(energy), "accuracy": best, PARADIGM: option})
    return front


def _front_line(front: Sequence[Mapping[str, Any]]) -> str:
    if not front:
        return "Front: nothing was trained."
    counts = Counter(point[PARADIGM] for point in front)
    shares = ", ".join(f"{option} {count}" for option, count in counts.items())
    return (
        f"Front of all trainings that chose the setups, not corrected for seed noise: {shares} "
        "points."
    )
