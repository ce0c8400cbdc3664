"""Summary of a training experiment: how much more energy a bad configuration needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from energyopt.analysis.paired_ratio import Ratio
from energyopt.core.accounting import Spread, spread
from energyopt.core.units import joules
from energyopt.experiments.life import life_of, life_table
from energyopt.experiments.results import (
    BEST,
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
    rounded,
    setup_text,
    test_data,
    test_text,
)
from energyopt.experiments.rows import GRID, Raw
from energyopt.experiments.selection import GridCell, choose_setups, group_cells

_COLUMNS = ("cell", "energy", "reached", "times the best's", "with evaluation", "test")
_N_AXES = 2  # of a grid that is shown as a table and a heat map


def summarize_training(raw: Raw, caption: str) -> ExperimentSummary:
    """Summarize a grid of two axes."""
    (comparison,) = raw.experiment.comparisons
    (name,) = comparison.arms["cells"]
    arm = raw.experiment.arms_by_name[name]
    cells = group_cells(raw.select(name, GRID))
    roles = choose_setups(raw.experiment, raw.select(name, GRID))
    across = list(arm.grid)[-1] if arm.grid else ""
    energy_spread = spread(
        [[row.energy_j if row.reached else None for row in cell.rows] for cell in cells]
    )
    ratios = corrected([_compared(raw, name, role) for role in roles])
    retrained = [
        _retrained_record(raw, name, role, setup) | {"ratio": ratio}
        for (role, setup), ratio in zip(roles.items(), ratios, strict=True)
    ]
    life = life_of(name, raw.select(name, GRID), raw.select(name, BEST))
    lives = [] if life is None else [life]
    draw = partial(_draw, raw, cells, arm.grid, roles, caption)
    return ExperimentSummary(
        raw=raw,
        tables=(
            _grid_table(raw, cells, arm.grid, across),
            Table(
                f"Trained again with {len(raw.experiment.again)} new seeds",
                *columns_used(_COLUMNS, [*map(_retrained_row, retrained)], ["test"]),
            ),
            *([life_table(lives)] if lives else []),
        ),
        lines=(*_lines(raw, name, energy_spread), *map(_setup_line, retrained)),
        records=(*map(_cell_record, cells), *retrained),
        draw=draw if len(arm.grid) == _N_AXES else None,
        extra={"life": lives},
    )


def _cell_text(cell: GridCell) -> str:
    if cell.always_reached:
        return joules(cell.mean_j)
    return f"{cell.n_reached}/{len(cell.rows)}, >{joules(cell.mean_j)}"


def _grid_table(
    raw: Raw, cells: list[GridCell], grid: Mapping[str, tuple[Any, ...]], across: str
) -> Table:
    seeds = len(raw.experiment.seeds)
    title = f"Mean energy to the target, {seeds} seeds (k/{seeds}: reached by k alone, and spent)"
    if len(grid) != _N_AXES:
        rows = tuple((setup_text(cell.setup), _cell_text(cell)) for cell in cells)
        return Table(title, ("setup", "energy"), rows)
    down = next(iter(grid))
    texts = {(c.setup[down], c.setup[across]): _cell_text(c) for c in cells}
    return Table(
        title,
        (down, *(f"{across} {value:g}" for value in grid[across])),
        tuple(
            (str(row), *(texts.get((row, column), "-") for column in grid[across]))
            for row in grid[down]
        ),
    )


def _cell_record(cell: GridCell) -> dict[str, Any]:
    return {
        "row": "cell",
        "name": "",
        "setup": dict(cell.setup),
        "reached": cell.n_reached,
        "seeds": len(cell.rows),
        "censored": not cell.always_reached,
        "energy_j": rounded(cell.mean_j),
        "steps": [row.steps for row in cell.rows],
        "ratio": ratio_data(None),
        "reason": "",
    }


def _status(raw: Raw, name: str, role: str) -> tuple[str, str]:
    status, reason = find_status(raw, [name], role)
    return find_status(raw, [name]) if status == COMPARED else (status, reason)


def _compared(raw: Raw, name: str, role: str) -> Ratio | None:
    """Return the ratio of a configuration to the best; None if they cannot be compared."""
    if role == BEST or _status(raw, name, role)[0] != COMPARED:
        return None
    return compare_rows(raw.select(name, role), raw.select(name, BEST))


def _retrained_record(raw: Raw, name: str, role: str, setup: Mapping[str, Any]) -> dict[str, Any]:
    rows = raw.select(name, role)
    _, reason = _status(raw, name, role)
    is_compared = _compared(raw, name, role) is not None
    n_reached = sum(row.reached for row in rows)
    return {
        "row": "again",
        "name": role,
        "setup": dict(setup),
        "edges": edges(setup, raw.experiment.arms_by_name[name].grid),
        "reached": n_reached,
        "seeds": len(rows),
        "censored": n_reached < len(rows),
        "energy_j": rounded(mean([row.energy_j for row in rows])),
        "steps": [row.steps for row in rows],
        "ratio_evaluated": ratio_data(
            evaluated_ratio(rows, raw.select(name, BEST)) if is_compared else None
        ),
        **test_data(rows),
        "reason": reason,
    }


def _retrained_row(record: dict[str, Any]) -> tuple[str, ...]:
    reached = f"{record['reached']}/{record['seeds']}"
    ratios = (ratio_text(record[key]) for key in ("ratio", "ratio_evaluated"))
    times = ("1", "1") if record["name"] == BEST else ratios
    return (record["name"], energy_text(record), reached, *times, test_text(record))


def _setup_line(record: dict[str, Any]) -> str:
    return f"{record['name']}: {setup_text(record['setup'], record['edges'])}."


def _lines(raw: Raw, name: str, energy_spread: Spread) -> tuple[str, ...]:
    if name in raw.skipped:
        return (f"{name} was skipped: {raw.skipped[name]}.",)
    if energy_spread.ratio is None:
        return (f"No cell reached the target with all seeds; {energy_spread.censored} did not.",)
    return (
        f"The worst of the {energy_spread.setups} cells that always reach the target needs "
        f"{energy_spread.ratio:.3g}x the best's joules on the seeds that chose both; "
        f"{energy_spread.censored} more are censored: with a seed at least they miss it within "
        "their epochs, and no number says what they would need.",
    )


def _draw(
    raw: Raw,
    cells: list[GridCell],
    grid: Mapping[str, tuple[Any, ...]],
    roles: Mapping[str, Mapping[str, Any]],
    caption: str,
) -> str:
    """Draw a heat map of a grid of two axes."""
    from energyopt.experiments.figures import draw_heat_map

    down, across = grid
    by_position = {(c.setup[down], c.setup[across]): c for c in cells}
    marks = {tuple(setup.values()): role for role, setup in reversed(list(roles.items()))}
    return draw_heat_map(
        raw.experiment.about,
        f"{caption}; means of {len(raw.experiment.seeds)} seeds",
        (down.replace("_", " "), tuple(map(str, grid[down]))),
        ("learning rate" if across == "lr" else across, tuple(map(str, grid[across]))),
        [
            (
                str(row),
                str(column),
                _value(by_position.get((row, column))),
                marks.get((row, column), ""),
            )
            for row in grid[down]
            for column in grid[across]
        ],
    )


def _value(cell: GridCell | None) -> float | str:
    if cell is None:
        return "not trained"
    return (
        cell.mean_j if cell.always_reached else f"reached by {cell.n_reached} of {len(cell.rows)}"
    )
