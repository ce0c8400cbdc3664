"""Energy to the target over two searched parameters: what was seen in each cell, or why not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.core.study_record import StudyRecord
from energyopt.core.units import setting

_MOST_VALUES = 8  # of an axis; those of more are put into bins
_BINS = 6
_FIRST = ("lr", "batch_size")


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and its values or bins.

    Attributes:
        key: The config key.
        labels: Its values, or the ranges of its bins, in order.
        binned: Whether they are bins.
    """

    key: str
    labels: tuple[str, ...]
    binned: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """What was seen of the trainings in a cell.

    Attributes:
        across: Number of its column.
        down: Number of its row.
        energy_j: The least energy to the target of its trainings, in J; None if all missed it.
        spent_j: The most that one of its trainings used without reaching it, in J.
        trainings: How many there are.
        reached: How many reached the target.
        trial: The trial of that energy; where all missed, the one that used most.
    """

    across: int
    down: int
    energy_j: float | None
    spent_j: float
    trainings: int
    reached: int
    trial: int


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Energy to a target over two parameters: the least of each cell's trainings."""

    across: Axis
    down: Axis
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A training on a strip of one parameter.

    Attributes:
        value: The parameter's value.
        energy_j: Energy to the target, in J; None if missed.
        spent_j: What its training used in all, in J.
        trial: Its number.
    """

    value: Any
    energy_j: float | None
    spent_j: float
    trial: int


def searched(study: StudyRecord) -> tuple[str, ...]:
    """Parameters that took more than one value: learning rate and batch size first."""
    values: dict[str, set[str]] = {}
    for trial, _ in study.results:
        for key, value in trial.params.items():
            values.setdefault(key, set()).add(repr(value))
    found = [key for key, of in values.items() if len(of) > 1 and key != "seed"]
    return tuple(sorted(found, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)))


def heat_map(study: StudyRecord, target: float, across: str, down: str) -> HeatMap:
    """Lay the trainings of a study out over two parameters.

    Args:
        study: The study.
        target: Accuracy to reach.
        across: The parameter of the columns.
        down: That of the rows.
    """
    marks = {key: list(strip(study, target, key)) for key in (across, down)}
    columns, column_of = _axis(across, [mark.value for mark in marks[across]])
    rows, row_of = _axis(down, [mark.value for mark in marks[down]])
    by_trial = {mark.trial: mark.value for mark in marks[down]}
    groups: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks[across]:
        if mark.trial in by_trial:
            at = (column_of(mark.value), row_of(by_trial[mark.trial]))
            groups.setdefault(at, []).append(mark)
    return HeatMap(columns, rows, tuple(_cell(*at, of) for at, of in sorted(groups.items())))


def strip(study: StudyRecord, target: float, key: str) -> Iterator[Mark]:
    """What each training needed to a target, with the value of a parameter that it had."""
    for trial, result in study.results:
        if key in trial.params and len(result.curve):
            hit = result.first_at(target)
            energy_j = None if hit is None else hit.training_j
            yield Mark(trial.params[key], energy_j, result.curve.training_j[-1], trial.number)


def _cell(across: int, down: int, marks: Sequence[Mark]) -> Cell:
    hits = [(mark.energy_j, mark.trial) for mark in marks if mark.energy_j is not None]
    missed = [(mark.spent_j, -mark.trial) for mark in marks if mark.energy_j is None]
    energy_j, trial = min(hits, default=(None, None))
    spent_j, last = max(missed, default=(0.0, 0))
    return Cell(
        across=across,
        down=down,
        energy_j=energy_j,
        spent_j=spent_j,
        trainings=len(marks),
        reached=len(hits),
        trial=-last if trial is None else trial,
    )


def _axis(key: str, values: Sequence[Any]) -> tuple[Axis, Any]:
    """An axis, and what tells the number of a value on it."""
    distinct = {repr(value): value for value in values}
    numbers = all(_is_number(value) for value in distinct.values())
    if not numbers or len(distinct) <= _MOST_VALUES:
        order = sorted(distinct, key=(lambda text: distinct[text]) if numbers else str)
        places = {text: at for at, text in enumerate(order)}
        labels = tuple(setting(distinct[text]) for text in order)
        return Axis(key, labels, binned=False), lambda value: places[repr(value)]
    edges = _edges([float(value) for value in distinct.values()])
    ranges = itertools.pairwise(edges)
    labels = tuple(f"{low:.2g} to {high:.2g}" for low, high in ranges)
    return Axis(key, labels, binned=True), lambda value: _bin(edges, float(value))


def _edges(values: Sequence[float]) -> list[float]:
    """Edges of bins: of equal ratio where the values span more than a decade, else equally wide."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 10:  # noqa: PLR2004  # a decade
        step = (high / low) ** (1 / _BINS)
        return [low * step**at for at in range(_BINS)] + [high]
    return [low + (high - low) * at / _BINS for at in range(_BINS)] + [high]


def _bin(edges: Sequence[float], value: float) -> int:
    return next((at for at, edge in enumerate(edges[1:-1]) if value < edge), len(edges) - 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
