"""Which setups of an arm are trained again with new seeds, from the trainings of its grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.experiments.plan import Experiment
from energyopt.experiments.rows import Row

PARADIGM = "paradigm"


@dataclass(frozen=True)
class Cell:
    """A setup with its trainings.

    Attributes:
        setup: Its values by key.
        rows: Its trainings, one a seed.
    """

    setup: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def reached(self) -> int:
        """With how many seeds it reached the target."""
        return sum(row.reached for row in self.rows)

    @property
    def always(self) -> bool:
        """Whether it did with each."""
        return self.reached == len(self.rows)

    @property
    def mean_j(self) -> float:
        """Mean energy of its trainings, in J: to the target, or spent in vain."""
        return math.fsum(row.energy_j for row in self.rows) / len(self.rows)

    @property
    def mean_steps(self) -> float:
        """Mean optimizer steps likewise."""
        return sum(row.steps for row in self.rows) / len(self.rows)


def cells(rows: Iterable[Row]) -> list[Cell]:
    """Trainings by setup, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.setup.items()), []).append(row)
    return [Cell(each[0].setup, tuple(each)) for each in found.values()]


def chosen(experiment: Experiment, grid: Sequence[Row]) -> dict[str, Mapping[str, Any]]:
    """The setups that are trained again, by the role for which they were chosen.

    The best is the cheapest of those that reach the target with all seeds; without one that with
    which most seeds do. What no seed reaches is not trained again.

    Args:
        experiment: What is asked.
        grid: The trainings of an arm's grid.
    """
    there = cells(grid)
    if experiment.kind == "paradigms":
        options = dict.fromkeys(cell.setup[PARADIGM] for cell in there)
        best = {o: _best([c for c in there if c.setup[PARADIGM] == o]) for o in options}
        return {str(option): cell.setup for option, cell in best.items() if cell is not None}
    found = _best(there)
    if found is None:
        return {}
    if experiment.kind != "training":
        return {"best": found.setup}
    default = next((c for c in there if c.setup == dict(experiment.default)), None)
    worst = max((cell for cell in there if cell.always), key=_cost, default=None)
    roles = {"best": found, "default": default, "worst": worst}
    return {role: cell.setup for role, cell in roles.items() if cell is not None}


def _best(there: Sequence[Cell]) -> Cell | None:
    best = min(there, key=lambda cell: (-cell.reached / len(cell.rows), cell.mean_j), default=None)
    return best if best is not None and best.reached else None


def _cost(cell: Cell) -> float:
    return cell.mean_j
