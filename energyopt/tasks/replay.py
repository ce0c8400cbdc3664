"""Recorded trainings instead of data: their accuracy, time and energy, from tables.

A folder holds three kinds of tables, as the traces of Zeus (You et al., NSDI 2023) do:

- `problems.csv`: dataset, target, max_epochs, default_batch_size, higher_is_better; a row per
  workload.
- `summary_train.csv`: dataset, network, batch_size, optimizer, run, target_metric, target_epoch;
  the epoch at which a run first reached a level of its metric, empty or nan if it never did.
- `summary_power_GPU.csv`, one per GPU: dataset, network, batch_size, optimizer, power_limit (W),
  time_per_epoch (s), average_power (W).

Metrics are converted to accuracies in [0, 1], higher being better: percentages are divided by 100,
and a metric that is better when lower, such as an error rate, is subtracted from 1.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from energyopt.core.traces import AccuracyTrace, Clock, Costs, Pace
from energyopt.errors import ConfigError

PROBLEMS, TRAIN, POWER = "problems.csv", "summary_train.csv", "summary_power_*.csv"
_TRAINING_COLUMNS = ("dataset", "network", "optimizer")

TrainingKey = tuple[str, str, str]
"""Dataset, network and optimizer of a recorded training."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded trainings of one workload on one GPU."""

    workload: str  # the data set, with network and optimizer if several were recorded
    gpu: str  # as in the file's name
    target: float  # accuracy to reach, in [0, 1]
    max_epochs: int  # after which a training has missed the target
    default_batch_size: int  # the usual one, or the largest recorded one below it
    runs: Mapping[int, tuple[AccuracyTrace, ...]]  # accuracy curves, by batch size
    costs: Mapping[int, Costs]  # time and energy of an epoch, by batch size

    @property
    def limits_w(self) -> tuple[float, ...]:
        """All recorded power limits in ascending order, in W."""
        return tuple(sorted({limit for costs in self.costs.values() for limit in costs.limits_w}))


class Replay:
    """The recorded trainings of one workload on one GPU, as a task.

    Args:
        folder: Folder of the tables.
        workload: Name of the workload in `problems.csv`.
        gpu: GPU of a `summary_power_GPU.csv`; not needed if there is only one.

    Attributes:
        clock: Virtual clock of the replayed trainings.
        name: Workload and GPU, for messages.
        recorded: All recorded trainings of the workload on the GPU.
    """

    def __init__(self, folder: str, workload: str, gpu: str | None = None) -> None:
        available = read_recorded(Path(folder))
        matches = [r for r in available if r.workload == workload and gpu in (None, r.gpu)]
        if len(matches) != 1:
            names = ", ".join(f"{recorded.workload} on {recorded.gpu}" for recorded in available)
            raise ConfigError(
                f"task.workload={workload} task.gpu={gpu} names {len(matches)} of the recorded "
                f"trainings in {folder}: {names}"
            )
        self.recorded = matches[0]
        self.runs = self.recorded.runs
        self.costs = self.recorded.costs
        self.clock = Clock()
        self.name = f"{workload} on {self.recorded.gpu}"


def read_recorded(folder: Path) -> list[Recorded]:
    """Return the workloads of a folder, once for each GPU that they were recorded on.

    Raises:
        ConfigError: If a table is missing or damaged, or no workload was recorded.
    """
    curves = _read_train(folder / TRAIN)
    powers = {
        path.stem.removeprefix("summary_power_"): _read_power(path)
        for path in sorted(folder.glob(POWER))
    }
    workloads = [
        _to_recorded(row, (name, gpu), curves[key], costs[key])
        for row in _rows(folder / PROBLEMS)
        for name, key in _named_keys(row.text("dataset"), curves)
        for gpu, costs in powers.items()
        if curves[key].keys() & costs.get(key, {}).keys()
    ]
    if not workloads:
        raise ConfigError(
            f"{folder} holds no workload of {PROBLEMS} that {TRAIN} and a {POWER} both know"
        )
    return workloads


def _named_keys(
    dataset: str, curves: Mapping[TrainingKey, object]
) -> list[tuple[str, TrainingKey]]:
    """Return the trainings of a data set, each with its workload's name."""
    keys = [key for key in curves if key[0] == dataset]
    return [(dataset if len(keys) == 1 else "/".join(key), key) for key in keys]


def _to_recorded(
    row: _Row,
    names: tuple[str, str],
    levels: Mapping[int, list[_Levels]],
    costs: Mapping[int, Costs],
) -> Recorded:
    target, usual_size = row.number("target"), int(row.number("default_batch_size"))
    is_higher_better = row.number("higher_is_better") != 0
    scale = 100.0 if target > 1 else 1.0

    def to_accuracy(metric: float) -> float:
        share = min(max(metric / scale, 0.0), 1.0)
        return share if is_higher_better else 1.0 - share

    sizes = sorted(levels.keys() & costs.keys())
    return Recorded(
        workload=names[0],
        gpu=names[1],
        target=to_accuracy(target),
        max_epochs=int(row.number("max_epochs")),
        default_batch_size=max((size for size in sizes if size <= usual_size), default=sizes[0]),
        runs={size: tuple(_to_curve(run, to_accuracy) for run in levels[size]) for size in sizes},
        costs={size: costs[size] for size in sizes},
    )


# Tables ------------------------------------------------------------------------------------------

_Levels = dict[float, float]  # epoch by level of the metric


def _to_curve(levels: _Levels, to_accuracy: Callable[[float], float]) -> AccuracyTrace:
    """Return the highest accuracy up to each epoch at which a level was reached."""
    best: dict[float, float] = {}
    highest = 0.0
    for epoch, level in sorted((epoch, to_accuracy(metric)) for metric, epoch in levels.items()):
        highest = max(highest, level)
        best[epoch] = highest
    return AccuracyTrace(tuple(best), tuple(best.values()))


def _read_train(path: Path) -> dict[TrainingKey, dict[int, list[_Levels]]]:
    """Return the levels of each run, by batch size and training."""
    runs: dict[TrainingKey, dict[int, dict[tuple[str, str], _Levels]]] = defaultdict(dict)
    for row in _rows(path):
        run = (row.text("learning_rate", ""), row.text("run"))
        levels = runs[row.training_key].setdefault(row.batch_size, {}).setdefault(run, {})
        epoch = row.number("target_epoch", missing=math.nan)
        if not math.isnan(epoch):
            levels[row.number("target_metric")] = epoch
    return {
        key: {size: list(by_run.values()) for size, by_run in by_size.items()}
        for key, by_size in runs.items()
    }


def _read_power(path: Path) -> dict[TrainingKey, dict[int, Costs]]:
    """Return the cost of an epoch at each power limit, by batch size and training."""
    paces: dict[TrainingKey, dict[int, dict[float, Pace]]] = defaultdict(lambda: defaultdict(dict))
    for row in _rows(path):
        pace = Pace.steady(row.number("time_per_epoch"), row.number("average_power"))
        paces[row.training_key][row.batch_size][row.number("power_limit")] = pace
    return {
        key: {size: Costs(by_limit) for size, by_limit in by_size.items()}
        for key, by_size in paces.items()
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table; its errors name the file and line."""

    path: Path
    line: int
    cells: Mapping[str, str | None]

    @property
    def training_key(self) -> TrainingKey:
        dataset, network, optimizer = map(self.text, _TRAINING_COLUMNS)
        return dataset, network, optimizer

    @property
    def batch_size(self) -> int:
        return int(self.number("batch_size"))

    def text(self, key: str, missing: str | None = None) -> str:
        cell = self.cells.get(key)
        if cell is not None:
            return cell
        if missing is None:
            raise ConfigError(f"{self.path}, line {self.line}: there is no {key}")
        return missing

    def number(self, key: str, missing: float | None = None) -> float:
        text = self.text(key)
        if not text and missing is not None:
            return missing
        try:
            return float(text)
        except ValueError:
            raise ConfigError(
                f"{self.path}, line {self.line}: {key}={text} is not a number"
            ) from None


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(newline="") as file:
            for line, cells in enumerate(csv.DictReader(file), start=2):
                yield _Row(path, line, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error
