"""Energy to the target over two searched parameters, cell by cell."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.core.number_checks import is_number
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import setting

_MAX_VALUES = 8  # of an axis; with more values, it is divided into bins
_BINS = 6
_FIRST = ("lr", "batch_size")

_Training = tuple[TrialRecord, TrialResult]


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


def searched(study: StudyRecord) -> tuple[str, ...]:
    """Return the parameters with more than one value: learning rate and batch size first."""
    values: dict[str, set[str]] = {}
    for trial, _ in study.results:
        for key, value in without_seeds(trial.params).items():
            values.setdefault(key, set()).add(repr(value))
    keys = [key for key, texts in values.items() if len(texts) > 1]
    return tuple(sorted(keys, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)))


def on_grid(study: StudyRecord, keys: Sequence[str]) -> bool:
    """Return True if two parameters took few values, each of which with several of the other."""
    rows = {tuple(repr(t.params[key]) for key in keys) for t, _ in study.results
            if set(keys) <= set(t.params)}  # fmt: skip
    if len(keys) != 2 or not rows:  # noqa: PLR2004  # axes
        return False
    counts = [Counter(column) for column in zip(*rows, strict=True)]
    return all(len(c) <= _MAX_VALUES and min(c.values()) > 1 for c in counts)


def heat_map(study: StudyRecord, target: float, across: str, down: str) -> HeatMap:
    """Arrange the training runs of a study by two parameters."""
    trainings = [
        (trial, result)
        for trial, result in study.results
        if {across, down} <= set(trial.params) and len(result.curve)
    ]
    columns, column_of = _axis(across, [trial.params[across] for trial, _ in trainings])
    rows, row_of = _axis(down, [trial.params[down] for trial, _ in trainings])
    groups: dict[tuple[int, int], list[_Training]] = {}
    for trial, result in trainings:
        indices = (column_of(trial.params[across]), row_of(trial.params[down]))
        groups.setdefault(indices, []).append((trial, result))
    cells = (_cell(*indices, group, target) for indices, group in sorted(groups.items()))
    return HeatMap(columns, rows, tuple(cells))


def _cell(across: int, down: int, trainings: Sequence[_Training], target: float) -> Cell:
    hits, missed = [], []
    for trial, result in trainings:
        hit = result.first_at(target)
        if hit is not None:
            hits.append((hit.training_j, trial.number))
        else:
            missed.append((result.curve.training_j[-1], -trial.number))
    energy_j, trial_number = min(hits, default=(None, None))
    spent_j, negated = max(missed, default=(0.0, 0))  # of equal energies, the first trial
    return Cell(
        across=across,
        down=down,
        energy_j=energy_j,
        spent_j=spent_j,
        trainings=len(trainings),
        reached=len(hits),
        trial=-negated if trial_number is None else trial_number,
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
