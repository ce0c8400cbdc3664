"""Recorded learning curves of many setups: tables, found by their columns, and exported studies.

Known are folders that `energyopt export` wrote of a study with sampler=grid, best with a sweep of
seeds (its joules are the study's own), and two kinds of tables:

- `workload, optimizer, lr, batch_size, seed, epoch, cpu_s, accuracy`; one row an epoch. CPU seconds
  since the first step, times the same watts, stand for energy.
- `space, arch_hash, repeat, adjacency, ops, epoch, training_time_s, cum_energy_kWh,
  validation_accuracy`, as in EC-NAS-Bench: measured energy of architectures, at a few epochs that
  are counted from 0.

What a search suggests is snapped to the nearest recorded setup: of EC-NAS only a part was recorded.
"""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from energyopt.core.traces import AccuracyTrace, Costs, Pace
from energyopt.errors import ConfigError
from energyopt.storage.exchange.folder import STUDY, read_folder
from energyopt.storage.exchange.reader import record_from

WATTS = 4.0  # a CPU core's, as hardware=estimate has it
TARGET = 0.93
_GOOD = 1.05
_FEASIBLE_SHARE = 0.25
_KWH_J = 3.6e6
_CURVES = {"workload", "optimizer", "lr", "batch_size", "seed", "epoch", "cpu_s", "accuracy"}
_ARCHITECTURES = {"space", "arch_hash", "adjacency", "ops", "cum_energy_kWh", "validation_accuracy"}
_UNUSED = "none"
_FAR = 10_000
_FEWEST = 4  # setups

Key = tuple[Any, ...]
"""The values of a setup, in the order of the space."""


class Point(NamedTuple):
    """A setup one could stop at."""

    energy_j: float
    accuracy: float


class Recording(NamedTuple):
    """One recorded training."""

    curve: AccuracyTrace
    costs: Costs

    @property
    def points(self) -> list[Point]:
        """The setups one could stop at."""
        curve = self.curve
        return [
            Point(self.at_j(epoch), accuracy)
            for epoch, accuracy in zip(curve.epochs, curve.accuracy, strict=True)
        ]

    @property
    def end_j(self) -> float:
        """Energy of all of it, in J."""
        return self.at_j(self.curve.epochs[-1])

    def at_j(self, epoch: float) -> float:
        """Energy up to an epoch, in J."""
        return self.costs.pace(None).until(epoch)[1]


@dataclass(frozen=True)
class CurveSet:
    """The recorded setups of one workload.

    Attributes:
        dataset: The table's name.
        workload: What was trained, or the space of architectures.
        space: The values of each key that is searched.
        recordings: Of each recorded setup.
        target: Accuracy to reach, in [0, 1]; None where the curves are too short to ask that.
        part: Which energy was recorded.
        simplest: Of setups that are the same in other words, the one that is recorded.
    """

    dataset: str
    workload: str
    space: Mapping[str, Sequence[Any]]
    recordings: Mapping[Key, Sequence[Recording]]
    target: float | None
    part: str
    simplest: Callable[[Key], Key] = tuple

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.dataset} {self.workload}"

    @cached_property
    def epochs(self) -> float:
        """The most that was recorded."""
        return max(each.curve.epochs[-1] for group in self.recordings.values() for each in group)

    @cached_property
    def unit_j(self) -> float:
        """U: a full training of the median setup, in J."""
        means = [
            statistics.fmean(each.end_j for each in group) for group in self.recordings.values()
        ]
        return statistics.median(means)

    @cached_property
    def energy_j(self) -> Mapping[Key, float]:
        """Mean energy to the target of each setup that always reaches it, in J."""
        found = {}
        for key, group in self.recordings.items():
            hits = [(each, each.curve.first_at(self.target or 1.0)) for each in group]
            reached = [each.at_j(hit) for each, hit in hits if hit is not None]
            if len(reached) == len(group):
                found[key] = statistics.fmean(reached)
        return found

    @property
    def best_j(self) -> float:
        """E*: the least mean energy to the target, in J."""
        return min(self.energy_j.values())

    def good(self, key: Key | None) -> bool:
        """Return True if a configuration's mean energy to target is within 5 % of the least."""
        energy_j = None if key is None else self.energy_j.get(key)
        return energy_j is not None and energy_j <= _GOOD * self.best_j

    def snap(self, setup: Mapping[str, Any]) -> Key:
        """Return the recorded setup that differs in the fewest keys; ties go to the nearest."""
        wanted = self.simplest(tuple(setup[key] for key in self.space))
        if wanted in self.recordings:
            return wanted
        steps = np.abs(self._places - np.array(self._place(wanted)))
        apart = (steps > 0).sum(axis=1) * _FAR + steps.sum(axis=1)
        return list(self.recordings)[int(apart.argmin())]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Where each setup lies on the grid."""
        return np.array([self._place(key) for key in self.recordings])

    def _place(self, key: Key) -> list[int]:
        return [values.index(v) for values, v in zip(self.space.values(), key, strict=True)]


def find_sets(data: Path, datasets: Sequence[str] | None, target: float) -> list[CurveSet]:
    """All sets whose tables lie in a folder, or in folders in it.

    Args:
        data: The folder.
        datasets: Names of tables, without their ending, or of exported folders, to take; None
            takes all.
        target: Accuracy to reach, in [0, 1]; lowered where too few setups always reach it.

    Raises:
        ConfigError: If there is none, or a study is no grid.
        StorageError: If an export is damaged.
    """
    found = []
    for path in sorted(data.rglob("*.csv")):
        if datasets is None or path.stem in datasets:
            rows = _read(path)
            columns = set(rows[0]) if rows else set()
            if columns >= _CURVES:
                found += list(_curves(path.stem, rows, target))
            elif columns >= _ARCHITECTURES:
                found += list(_architectures(path.stem, rows))
    for path in sorted(data.rglob(STUDY)):
        if datasets is None or path.parent.name in datasets:
            found.append(_study(path.parent, target))
    if not found:
        wanted = f" named {', '.join(datasets)}" if datasets else ""
        raise ConfigError(f"--data {data} holds no table of learning curves{wanted}")
    return found


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error


# Learning rate x batch size x optimizer ----------------------------------------------------------


def _curves(dataset: str, rows: Iterable[Mapping[str, str]], target: float) -> Iterator[CurveSet]:
    for workload, of in _grouped(rows, lambda row: row["workload"]).items():
        runs = _grouped(
            of,
            lambda row: (row["optimizer"], float(row["lr"]), int(row["batch_size"]), row["seed"]),
        )
        recordings: dict[Key, list[Recording]] = defaultdict(list)
        for (*key, _), points in runs.items():
            recordings[tuple(key)].append(
                _recording(
                    [float(row["epoch"]) for row in points],
                    [float(row["accuracy"]) for row in points],
                    [float(row["cpu_s"]) for row in points],
                    [WATTS * float(row["cpu_s"]) for row in points],
                )
            )
        names = ("optimizer", "lr", "batch_size")
        space = _space(names, recordings)
        asked = min(target, _reachable(recordings.values()))
        yield CurveSet(dataset, workload, space, dict(recordings), asked, "cpu_j")


def _reachable(recordings: Iterable[Sequence[Recording]]) -> float:
    """Return the accuracy that a quarter of the configurations always reach."""
    always = sorted(
        (min(max(each.curve.accuracy) for each in group) for group in recordings), reverse=True
    )
    return always[int(_FEASIBLE_SHARE * (len(always) - 1))]


# Studies ------------------------------------------------------------------------------------------


def _study(folder: Path, target: float) -> CurveSet:
    """Read a grid that was trained; trainings that differ only in the seed are of one setup."""
    study = record_from(read_folder(folder), folder)
    recordings: dict[Key, list[Recording]] = defaultdict(list)
    names = [key for key in study.results[0][0].params if key != "seed"] if study.results else []
    for trial, result in study.results:
        curve = result.curve
        if result.end == "stopped" or not len(curve):
            raise ConfigError(
                f"{folder}: trial {trial.number} did not train to its end, so that a search cannot "
                "be played on it; run the study with sampler=grid stopping=none"
            )
        if trial.params.keys() - {"seed"} != set(names):
            raise ConfigError(f"{folder}: trial {trial.number} has other keys than the first")
        recordings[tuple(trial.params[name] for name in names)].append(
            _recording(
                list(curve.epoch),
                list(curve.accuracy),
                list(curve.training_s),
                list(curve.training_j),
            )
        )
    if len(recordings) < _FEWEST:
        raise ConfigError(f"{folder}: {len(recordings)} setups are no grid to search in")
    space = _space(names, recordings)
    asked = min(target, _reachable(recordings.values()))
    part = "cpu_j"  # whatever was metered: sums alone are looked at
    return CurveSet(folder.name, study.name, space, dict(recordings), asked, part)


# Architectures ------------------------------------------------------------------------------------


def _architectures(dataset: str, rows: Iterable[Mapping[str, str]]) -> Iterator[CurveSet]:
    for workload, of in _grouped(rows, lambda row: row["space"]).items():
        vertices = max(len(row["ops"].split("|")) for row in of)
        runs = _grouped(of, lambda row: (row["arch_hash"], row["repeat"]))
        recordings: dict[Key, list[Recording]] = defaultdict(list)
        for points in runs.values():
            recordings[_architecture(points[0], vertices)].append(
                _recording(  # an epoch later: the energy at epoch 0 is about an epoch's
                    [float(row["epoch"]) + 1 for row in points],
                    [float(row["validation_accuracy"]) for row in points],
                    [float(row["training_time_s"]) for row in points],
                    [_KWH_J * float(row["cum_energy_kWh"]) for row in points],
                )
            )
        names = [
            *(f"edge_{a}_{b}" for a in range(vertices) for b in range(a + 1, vertices)),
            *(f"op_{vertex}" for vertex in range(1, vertices - 1)),
        ]
        space = _space(names, recordings)
        simplest = partial(_without_dead_ends, vertices=vertices)
        yield CurveSet(dataset, workload, space, dict(recordings), None, "gpu_j", simplest)


def _architecture(row: Mapping[str, str], vertices: int) -> Key:
    ops = row["ops"].split("|")[1:-1]
    count = len(ops) + 2
    bits = enumerate(row["adjacency"])
    return _key({divmod(at, count) for at, bit in bits if bit == "1"}, ops, vertices)


def _key(edges: set[tuple[int, int]], ops: Sequence[str], vertices: int) -> Key:
    """Edges above the diagonal, then operations; unused vertices come before the last one."""
    count = len(ops) + 2
    places = [*range(count - 1), vertices - 1]
    placed = {(places[a], places[b]) for a, b in edges}
    bits = [int((a, b) in placed) for a in range(vertices) for b in range(a + 1, vertices)]
    return (*bits, *ops, *[_UNUSED] * (vertices - count))


def _without_dead_ends(key: Key, vertices: int) -> Key:
    """Remove the vertices that are on no path from the first to the last."""
    pairs = [(a, b) for a in range(vertices) for b in range(a + 1, vertices)]
    ops = dict(enumerate(key[len(pairs) :], start=1))
    edges = {pair for pair, bit in zip(pairs, key, strict=False) if bit}
    edges = {(a, b) for a, b in edges if _UNUSED not in (ops.get(a), ops.get(b))}
    begun = {0}
    for a, b in sorted(edges):
        begun |= {b} if a in begun else set()
    leads = {vertices - 1}
    for a, b in sorted(edges, reverse=True):
        leads |= {a} if b in leads else set()
    used = sorted(begun & leads)
    if not used:
        return key
    places = {vertex: index for index, vertex in enumerate(used)}
    kept = {(places[a], places[b]) for a, b in edges if a in places and b in places}
    return _key(kept, [ops[vertex] for vertex in used[1:-1]], vertices)


def _recording(
    epochs: list[float], accuracy: list[float], time_s: list[float], energy_j: list[float]
) -> Recording:
    order = sorted(range(len(epochs)), key=epochs.__getitem__)

    def column(values: list[float]) -> tuple[float, ...]:
        return tuple(values[at] for at in order)

    pace = Pace((0.0, *column(epochs)), (0.0, *column(time_s)), (0.0, *column(energy_j)))
    return Recording(AccuracyTrace(column(epochs), column(accuracy)), Costs({0.0: pace}))


def _space(names: Sequence[str], recordings: Iterable[Key]) -> dict[str, list[Any]]:
    """Return the values of each key among recorded setups."""
    columns = zip(*recordings, strict=True)
    return {name: sorted(set(column)) for name, column in zip(names, columns, strict=True)}


def _grouped(
    rows: Iterable[Mapping[str, str]], key: Callable[[Mapping[str, str]], Any]
) -> dict[Any, list[Mapping[str, str]]]:
    groups: dict[Any, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups
