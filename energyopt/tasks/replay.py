"""Recorded trainings instead of data: what they reached and cost, from tables.

A folder holds three kinds of tables, as the traces of Zeus (You et al., NSDI 2023) do:

- `problems.csv`: dataset, target, max_epochs, default_batch_size, higher_is_better; a row a
  workload.
- `summary_train.csv`: dataset, network, batch_size, optimizer, run, target_metric, target_epoch;
  the epoch at which a run first reached a level of its metric, empty or nan where it never did.
- `summary_power_GPU.csv`, one a GPU: dataset, network, batch_size, optimizer, power_limit (W),
  time_per_epoch (s), average_power (W).

Accuracy is a metric that is the better the higher, in [0, 1]: percentages are divided by 100, and
of a metric that is the better the lower, such as an error rate, 1 minus it is taken.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from energyopt.core.traces import Clock, Costs, Curve, Pace
from energyopt.errors import ConfigError

PROBLEMS, TRAIN, POWER = "problems.csv", "summary_train.csv", "summary_power_*.csv"
_WORK = ("dataset", "network", "optimizer")

Work = tuple[str, str, str]
"""Dataset, network and optimizer of a workload."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded trainings of one workload on one GPU.

    Attributes:
        workload: Its name: the data set, with network and optimizer where there are several.
        gpu: The GPU's, as the file is named.
        target: Accuracy to reach, in [0, 1].
        max_epochs: After so many a training has missed it.
        default_batch_size: Its user's, or the largest recorded one below.
        runs: What the recorded runs reached, by batch size.
        costs: What an epoch costs, by batch size.
    """

    workload: str
    gpu: str
    target: float
    max_epochs: int
    default_batch_size: int
    runs: Mapping[int, tuple[Curve, ...]]
    costs: Mapping[int, Costs]

    @property
    def limits_w(self) -> tuple[float, ...]:
        """All recorded power limits, rising, in W."""
        return tuple(sorted({limit for costs in self.costs.values() for limit in costs.limits_w}))


class Replay:
    """The recorded trainings of one workload on one GPU, as a task.

    Args:
        folder: Where the tables are.
        workload: Its name in `problems.csv`.
        gpu: Which `summary_power_GPU.csv`; may be left out where there is one.

    Attributes:
        clock: Where what is played passes.
        name: Of what is played.
        recorded: All that was recorded of it.

    Raises:
        ConfigError: If a table is missing or damaged, or holds no such workload.
    """

    def __init__(self, folder: str, workload: str, gpu: str | None = None) -> None:
        there = read_recorded(Path(folder))
        found = [each for each in there if each.workload == workload and gpu in (None, each.gpu)]
        if len(found) != 1:
            names = ", ".join(f"{each.workload} on {each.gpu}" for each in there)
            raise ConfigError(
                f"task.workload={workload} task.gpu={gpu} names {len(found)} of the recorded "
                f"trainings in {folder}: {names}"
            )
        self.recorded = found[0]
        self.runs = self.recorded.runs
        self.costs = self.recorded.costs
        self.clock = Clock()
        self.name = f"{workload} on {self.recorded.gpu}"


def read_recorded(folder: Path) -> list[Recorded]:
    """All workloads of a folder on each GPU that they were recorded on.

    Raises:
        ConfigError: If a table is missing or damaged, or nothing was recorded of any.
    """
    curves = _read_train(folder / TRAIN)
    powers = {
        path.stem.removeprefix("summary_power_"): _read_power(path)
        for path in sorted(folder.glob(POWER))
    }
    found = [
        _recorded(row, (name, gpu), curves[work], costs[work])
        for row in _rows(folder / PROBLEMS)
        for name, work in _works(row.text("dataset"), curves)
        for gpu, costs in powers.items()
        if curves[work].keys() & costs.get(work, {}).keys()
    ]
    if not found:
        raise ConfigError(
            f"{folder} holds no workload of {PROBLEMS} that {TRAIN} and a {POWER} both know"
        )
    return found


def _works(dataset: str, curves: Mapping[Work, object]) -> list[tuple[str, Work]]:
    works = [work for work in curves if work[0] == dataset]
    return [(dataset if len(works) == 1 else "/".join(work), work) for work in works]


def _recorded(
    row: _Row,
    names: tuple[str, str],
    levels: Mapping[int, list[_Levels]],
    costs: Mapping[int, Costs],
) -> Recorded:
    target, default = row.number("target"), int(row.number("default_batch_size"))
    higher = row.number("higher_is_better") != 0
    scale = 100.0 if target > 1 else 1.0

    def accuracy(metric: float) -> float:
        share = min(max(metric / scale, 0.0), 1.0)
        return share if higher else 1.0 - share

    sizes = sorted(levels.keys() & costs.keys())
    return Recorded(
        workload=names[0],
        gpu=names[1],
        target=accuracy(target),
        max_epochs=int(row.number("max_epochs")),
        default_batch_size=max((size for size in sizes if size <= default), default=sizes[0]),
        runs={size: tuple(_curve(run, accuracy) for run in levels[size]) for size in sizes},
        costs={size: costs[size] for size in sizes},
    )


# Tables ------------------------------------------------------------------------------------------

_Levels = dict[float, float]  # epoch by level of the metric


def _curve(levels: _Levels, accuracy: Callable[[float], float]) -> Curve:
    """The highest level reached by each epoch at which one was."""
    best: dict[float, float] = {}
    highest = 0.0
    for epoch, level in sorted((epoch, accuracy(metric)) for metric, epoch in levels.items()):
        highest = max(highest, level)
        best[epoch] = highest
    return Curve(tuple(best), tuple(best.values()))


def _read_train(path: Path) -> dict[Work, dict[int, list[_Levels]]]:
    """The levels of each run, by batch size and workload."""
    runs: dict[Work, dict[int, dict[tuple[str, str], _Levels]]] = defaultdict(dict)
    for row in _rows(path):
        key = (row.text("learning_rate", ""), row.text("run"))
        levels = runs[row.work].setdefault(row.batch_size, {}).setdefault(key, {})
        epoch = row.number("target_epoch", missing=math.nan)
        if not math.isnan(epoch):
            levels[row.number("target_metric")] = epoch
    return {
        work: {size: list(each.values()) for size, each in sizes.items()}
        for work, sizes in runs.items()
    }


def _read_power(path: Path) -> dict[Work, dict[int, Costs]]:
    """What an epoch costs at each limit, by batch size and workload."""
    paces: dict[Work, dict[int, dict[float, Pace]]] = defaultdict(lambda: defaultdict(dict))
    for row in _rows(path):
        pace = Pace.steady(row.number("time_per_epoch"), row.number("average_power"))
        paces[row.work][row.batch_size][row.number("power_limit")] = pace
    return {
        work: {size: Costs(each) for size, each in sizes.items()} for work, sizes in paces.items()
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table, which says where it is where it is wrong."""

    path: Path
    line: int
    cells: Mapping[str, str | None]

    @property
    def work(self) -> Work:
        dataset, network, optimizer = (self.text(key) for key in _WORK)
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
