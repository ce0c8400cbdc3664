"""The power of training: what a badly chosen setup costs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from energyopt.core.accounting import spread
from energyopt.core.units import joules
from energyopt.experiments.results import (
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
)
from energyopt.experiments.rows import GRID, Raw
from energyopt.experiments.selection import Cell, cells, chosen

_TWO = 2


def summarize_training(raw: Raw, caption: str) -> Summary:
    """Summarize a grid of two axes.

    Args:
        raw: The trainings.
        caption: Where the joules come from, in words.
    """
    (comparison,) = raw.experiment.comparisons
    (name,) = comparison.arms["cells"]
    arm = raw.experiment.by_name[name]
    there = cells(raw.of(name, GRID))
    roles = chosen(raw.experiment, raw.of(name, GRID))
    across = list(arm.grid)[-1] if arm.grid else ""
    found = spread([[row.energy_j if row.reached else None for row in c.rows] for c in there])
    again = [_again(raw, name, role, setup) for role, setup in roles.items()]
    records = [*(_cell_record(cell) for cell in there), *again]
    draw = partial(_draw, raw, there, arm.grid, roles, caption)
    return Summary(
        raw=raw,
        tables=(
            _grid_table(raw, there, arm.grid, across),
            Table(
                f"Trained again with {len(raw.experiment.again)} new seeds",
                ("cell", "setup", "energy", "reached", "times the best's"),
                tuple(_again_row(record) for record in again),
            ),
        ),
        lines=_lines(raw, name, found.ratio, found.setups, found.censored),
        records=tuple(records),
        draw=draw if len(arm.grid) == _TWO else None,
    )


def _cell_text(cell: Cell) -> str:
    if cell.always:
        return joules(cell.mean_j)
    return f"{cell.reached}/{len(cell.rows)}, >{joules(cell.mean_j)}"


def _grid_table(
    raw: Raw, there: list[Cell], grid: Mapping[str, tuple[Any, ...]], across: str
) -> Table:
    seeds = len(raw.experiment.seeds)
    title = f"Mean energy to the target, {seeds} seeds (k/{seeds}: reached by k alone, and spent)"
    if len(grid) != _TWO:
        rows = tuple((setup_text(cell.setup), _cell_text(cell)) for cell in there)
        return Table(title, ("setup", "energy"), rows)
    down = next(iter(grid))
    texts = {(c.setup[down], c.setup[across]): _cell_text(c) for c in there}
    return Table(
        title,
        (down, *(f"{across} {value:g}" for value in grid[across])),
        tuple(
            (str(low), *(texts.get((low, value), "-") for value in grid[across]))
            for low in grid[down]
        ),
    )


def _cell_record(cell: Cell) -> dict[str, Any]:
    return {
        "row": "cell",
        "name": "",
        "setup": dict(cell.setup),
        "reached": cell.reached,
        "seeds": len(cell.rows),
        "censored": not cell.always,
        "energy_j": short(cell.mean_j),
        "steps": [row.steps for row in cell.rows],
        "ratio": ratio_data(None),
        "reason": "",
    }


def _again(raw: Raw, name: str, role: str, setup: Mapping[str, Any]) -> dict[str, Any]:
    rows, best = raw.of(name, role), raw.of(name, BEST)
    hindered = hindrance(raw, [name], role) or hindrance(raw, [name])
    found = None
    if hindered is None and role != BEST:
        found = compared(by_seed(rows, energy_j), by_seed(best, energy_j))
    reached = sum(row.reached for row in rows)
    return {
        "row": "again",
        "name": role,
        "setup": dict(setup),
        "reached": reached,
        "seeds": len(rows),
        "censored": reached < len(rows),
        "energy_j": short(sum(row.energy_j for row in rows) / len(rows)) if rows else None,
        "steps": [row.steps for row in rows],
        "ratio": ratio_data(found),
        "reason": "" if hindered is None else hindered[1],
    }


def _again_row(record: dict[str, Any]) -> tuple[str, ...]:
    sign = ">" if record["censored"] else ""
    energy = "-" if record["energy_j"] is None else f"{sign}{joules(record['energy_j'])}"
    reached = f"{record['reached']}/{record['seeds']}"
    times = "1" if record["name"] == BEST else interval(record["ratio"])
    return (record["name"], setup_text(record["setup"]), energy, reached, times)


def _lines(raw: Raw, name: str, ratio: float | None, setups: int, censored: int) -> tuple[str, ...]:
    if name in raw.skipped:
        return (f"{name} was skipped: {raw.skipped[name]}.",)
    if ratio is None:
        return (f"No cell reached the target with all seeds; {censored} did not.",)
    return (
        f"The worst of the {setups} cells that always reach the target needs {ratio:.3g}x the "
        f"best's joules on the seeds that chose both; {censored} more are censored: with a seed at "
        "least they miss it within their epochs, and no number says what they would need.",
    )


def _draw(
    raw: Raw,
    there: list[Cell],
    grid: Mapping[str, tuple[Any, ...]],
    roles: Mapping[str, Mapping[str, Any]],
    caption: str,
) -> str:
    """Draw a heat map of a grid of two axes."""
    from energyopt.experiments.figures import draw_heat_map

    down, across = grid
    places = {(c.setup[down], c.setup[across]): c for c in there}
    marks = {tuple(setup.values()): role for role, setup in reversed(list(roles.items()))}
    return draw_heat_map(
        raw.experiment.about,
        f"{caption}; means of {len(raw.experiment.seeds)} seeds",
        (down.replace("_", " "), tuple(map(str, grid[down]))),
        ("learning rate" if across == "lr" else across, tuple(map(str, grid[across]))),
        [
            (str(low), str(value), _value(places.get((low, value))), marks.get((low, value), ""))
            for low in grid[down]
            for value in grid[across]
        ],
    )


def _value(cell: Cell | None) -> float | str:
    if cell is None:
        return "not trained"
    return cell.mean_j if cell.always else f"reached by {cell.reached} of {len(cell.rows)}"
