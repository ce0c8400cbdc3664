"""Energy to the target over two searched parameters, cell by cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.core.number_checks import is_number
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import setting

_MAX_VALUES = 8  # of an axis; with more values, it is divided into bins
_BINS = 6
_FIRST = ("lr", "batch_size")


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and its values or bins.

    Attributes:
        key: The config key.
        labels: Its values, or the ranges of its bins, in order.
        binned: True if they are bins.
    """

    key: str
    labels: tuple[str, ...]
    binned: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """The training runs in a cell.

    Attributes:
        across: Index of its column.
        down: Index of its row.
        energy_j: Lowest energy to the target, in J; None if all runs missed it.
        spent_j: Highest energy that a run used without reaching it, in J.
        trainings: Number of training runs.
        reached: Number of runs that reached the target.
        trial: The trial with the lowest energy; if all missed, the one that used most.
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
    """The lowest energy to a target in each cell of two parameters."""

    across: Axis
    down: Axis
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A training run on an axis of one parameter.

    Attributes:
        value: The parameter's value.
        energy_j: Energy to the target, in J; None if missed.
        spent_j: Energy of the whole training, in J.
        trial: Number of the trial.
    """

    value: Any
    energy_j: float | None
    spent_j: float
    trial: int


def searched(study: StudyRecord) -> tuple[str, ...]:
    """Return the parameters with more than one value: learning rate and batch size first."""
    values: dict[str, set[str]] = {}
    for trial, _ in study.results:
        for key, value in without_seeds(trial.params).items():
            values.setdefault(key, set()).add(repr(value))
    keys = [key for key, texts in values.items() if len(texts) > 1]
    return tuple(sorted(keys, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)))


def heat_map(study: StudyRecord, target: float, across: str, down: str) -> HeatMap:
    """Arrange the training runs of a study by two parameters."""
    marks_by_key = {key: list(strip(study, target, key)) for key in (across, down)}
    columns, column_of = _axis(across, [mark.value for mark in marks_by_key[across]])
    rows, row_of = _axis(down, [mark.value for mark in marks_by_key[down]])
    by_trial = {mark.trial: mark.value for mark in marks_by_key[down]}
    groups: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks_by_key[across]:
        if mark.trial in by_trial:
            indices = (column_of(mark.value), row_of(by_trial[mark.trial]))
            groups.setdefault(indices, []).append(mark)
    cells = tuple(_cell(*indices, marks) for indices, marks in sorted(groups.items()))
    return HeatMap(columns, rows, cells)


def strip(study: StudyRecord, target: float, key: str) -> Iterator[Mark]:
    """Yield the energy to a target of each training run, with its value of a parameter."""
    for trial, result in study.results:
        if key in trial.params and len(result.curve):
            hit = result.first_at(target)
            energy_j = None if hit is None else hit.training_j
            yield Mark(trial.params[key], energy_j, result.curve.training_j[-1], trial.number)


def _cell(across: int, down: int, marks: Sequence[Mark]) -> Cell:
    hits = [(mark.energy_j, mark.trial) for mark in marks if mark.energy_j is not None]
    missed = [(mark.spent_j, -mark.trial) for mark in marks if mark.energy_j is None]
    energy_j, trial = min(hits, default=(None, None))
    spent_j, negated = max(missed, default=(0.0, 0))  # of equal energies, the first trial
    return Cell(
        across=across,
        down=down,
        energy_j=energy_j,
        spent_j=spent_j,
        trainings=len(marks),
        reached=len(hits),
        trial=-negated if trial is None else trial,
    )


def _axis(key: str, values: Sequence[Any]) -> tuple[Axis, Any]:
    """Return an axis, and a function that returns the index of a value on it."""
    distinct = {repr(value): value for value in values}
    are_numbers = all(is_number(value) for value in distinct.values())
    if not are_numbers or len(distinct) <= _MAX_VALUES:
        order = sorted(distinct, key=(lambda text: distinct[text]) if are_numbers else str)
        indices = {text: i for i, text in enumerate(order)}
        labels = tuple(setting(distinct[text]) for text in order)
        return Axis(key, labels, binned=False), lambda value: indices[repr(value)]
    edges = _edges([float(value) for value in distinct.values()])
    ranges = itertools.pairwise(edges)
    labels = tuple(f"{low:.2g} to {high:.2g}" for low, high in ranges)
    return Axis(key, labels, binned=True), lambda value: _bin(edges, float(value))


def _edges(values: Sequence[float]) -> list[float]:
    """Return edges of bins: of equal ratio over more than a decade, else of equal width."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 10:  # noqa: PLR2004  # a decade
        step = (high / low) ** (1 / _BINS)
        return [low * step**i for i in range(_BINS)] + [high]
    return [low + (high - low) * i / _BINS for i in range(_BINS)] + [high]


def _bin(edges: Sequence[float], value: float) -> int:
    return next((i for i, edge in enumerate(edges[1:-1]) if value < edge), len(edges) - 2)
