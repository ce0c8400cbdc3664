"""Choose the configurations of an arm's grid that are trained again with new seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.experiments.plan import Experiment
from energyopt.experiments.rows import Row

PARADIGM = "paradigm"


@dataclass(frozen=True)
class GridCell:
    """A configuration of a grid, by key, with its trainings, one per seed."""

    setup: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def n_reached(self) -> int:
        """Number of seeds with which it reached the target."""
        return sum(row.reached for row in self.rows)

    @property
    def always_reached(self) -> bool:
        """True if it reached the target with every seed."""
        return self.n_reached == len(self.rows)

    @property
    def mean_j(self) -> float:
        """Mean training energy, in J: to the target, or in total where it was missed."""
        return math.fsum(row.energy_j for row in self.rows) / len(self.rows)


def group_cells(rows: Iterable[Row]) -> list[GridCell]:
    """Group trainings by configuration, in order of first occurrence."""
    rows_by_setup: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        rows_by_setup.setdefault(tuple(row.setup.items()), []).append(row)
    return [GridCell(group[0].setup, tuple(group)) for group in rows_by_setup.values()]


def choose_setups(experiment: Experiment, grid: Sequence[Row]) -> dict[str, Mapping[str, Any]]:
    """Return the configurations to train again, by their role.

    The best is the one that reaches the target with most seeds; of several, the cheapest. A
    configuration that reaches it with no seed is never the best.
    """
    cells = group_cells(grid)
    if experiment.kind == "paradigms":
        options = dict.fromkeys(cell.setup[PARADIGM] for cell in cells)
        roles: dict[str, GridCell | None] = {
            str(o): _find_best([c for c in cells if c.setup[PARADIGM] == o]) for o in options
        }
    else:
        roles = {"best": _find_best(cells)}
    if experiment.kind == "training" and roles["best"] is not None:
        roles["default"] = next((c for c in cells if c.setup == dict(experiment.default)), None)
        always = (cell for cell in cells if cell.always_reached)
        roles["worst"] = max(always, key=lambda cell: cell.mean_j, default=None)
    return {role: cell.setup for role, cell in roles.items() if cell is not None}


def _find_best(cells: Sequence[GridCell]) -> GridCell | None:
    best = min(
        cells, key=lambda cell: (-cell.n_reached / len(cell.rows), cell.mean_j), default=None
    )
    return best if best is not None and best.n_reached else None
