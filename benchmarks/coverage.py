"""Simulate how often the intervals of a study hold the truth, and how wide they are.

    python benchmarks/coverage.py [--studies 400] [--sizes 5 15 50] [--noise 0.1 0.25 0.4]

Each simulated study has configurations with true log energies that are all equal, all equal but
one that is 20 % better, or spread (standard deviation 0.3). They are trained once, twice, or once
with the repeats of a search (the default three times more, the cheapest once more), with log-normal
noise. The configuration with the lowest posterior mean is selected, as a user would, and compared
with the default. Printed is how often the nominal 95 % intervals of its energy, of its ratio to the
default and of the break-even hold the truth, and the median width of the first two, in units of the
interval of the same model if it knew the noise.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from energyopt.analysis.noise_model import NoiseModel, Repetitions
from energyopt.core.estimate import Estimate

TRUTHS = ("equal", "one better", "spread")
DESIGNS = ("once", "once+", "twice")
_BETTER = math.log(0.8)
_SPREAD = 0.3
_DEFAULT_REPEATS, _CHEAPEST_REPEATS = 3, 1  # of the design "once+"
_CANDIDATES = 3
_SEARCH_J = 20.0  # for the break-even: that of 20 trainings with the mean configuration


@dataclass(frozen=True, slots=True)
class Cell:
    """A kind of study.

    Attributes:
        design: How often each configuration is trained.
        truth: Their true energies.
        size: Number of configurations.
        noise: Standard deviation of the log energy of repetitions.
    """

    design: str
    truth: str
    size: int
    noise: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held in the simulated studies of a cell, and their widths.

    Attributes:
        energy: Share of studies whose interval of the selected energy held the truth.
        ratio: The same for its ratio to the default's energy.
        break_even: The same for the break-even.
        energy_width: Median width of the first interval, over that with known noise.
        ratio_width: The same for the second.
    """

    energy: float
    ratio: float
    break_even: float
    energy_width: float
    ratio_width: float


def coverage(cell: Cell, studies: int, seed: int = 0) -> Coverage:
    """Simulate the studies of a cell."""
    rng = np.random.default_rng([seed, int(1000 * cell.noise), cell.size])
    hits, widths = [], []
    for _ in range(studies):
        truth = _truth(cell, rng)
        observed = _trained(cell, truth, rng)
        model, knowing = NoiseModel(observed), NoiseModel(observed, known_sd=cell.noise)
        selected = selected_of(model, observed)
        hits.append(list(_hits(model, selected, truth)))
        known_best = selected_of(knowing, observed)
        widths.append([*_widths(model, selected), *_widths(knowing, known_best)])
    energy, ratio, break_even = np.mean(hits, axis=0)
    width, ratio_width, known, known_ratio = np.median(widths, axis=0)
    return Coverage(energy, ratio, break_even, width / known, ratio_width / known_ratio)


def selected_of(model: NoiseModel, observed: Mapping[int, Repetitions]) -> int:
    """Return the configuration with the lowest posterior mean, except the default, which is 0.

    It is one of those with the lowest means; only these are drawn, which is the slow part.
    """
    means = {index: statistics.fmean(runs.search) for index, runs in observed.items() if index}
    lowest = sorted(means, key=means.__getitem__)[:_CANDIDATES]
    return min(lowest, key=lambda index: float(model.log_energy(index).mean()))


def _truth(cell: Cell, rng: np.random.Generator) -> np.ndarray:
    if cell.truth == "spread":
        return rng.normal(0.0, _SPREAD, cell.size)
    truth = np.zeros(cell.size)
    if cell.truth == "one better":
        truth[rng.integers(1, cell.size)] = _BETTER
    return truth


def _trained(cell: Cell, truth: np.ndarray, rng: np.random.Generator) -> dict[int, Repetitions]:
    n_runs = 2 if cell.design == "twice" else 1
    logs = [list(mean + rng.normal(0.0, cell.noise, n_runs)) for mean in truth]
    if cell.design == "once+":
        cheapest = min(range(cell.size), key=lambda index: logs[index][0])
        for index, repeats in ((0, _DEFAULT_REPEATS), (cheapest, _CHEAPEST_REPEATS)):
            logs[index] += list(truth[index] + rng.normal(0.0, cell.noise, repeats))
    return {index: Repetitions(tuple(runs)) for index, runs in enumerate(logs)}


def _hits(model: NoiseModel, selected: int, truth: np.ndarray) -> Iterator[bool]:
    default_j, selected_j = math.exp(truth[0]), math.exp(truth[selected])
    yield _holds(model.energy_j(selected), selected_j)
    yield _holds(model.ratio(selected, 0), selected_j / default_j)
    saved = model.saved_j(selected, 0)
    soonest, latest = (_SEARCH_J / j if j > 0 else math.inf for j in (saved.high, saved.low))
    saved_j = default_j - selected_j
    yield soonest <= (_SEARCH_J / saved_j if saved_j > 0 else math.inf) <= latest


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def _widths(model: NoiseModel, selected: int) -> tuple[float, float]:
    estimates = model.energy_j(selected), model.ratio(selected, 0)
    energy, ratio = (math.log(estimate.high / estimate.low) for estimate in estimates)
    return energy, ratio


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for each cell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--studies", type=int, default=400, help="simulated studies a cell")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 15, 50])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    arguments = parser.parse_args(words)
    print("| trained | truth | setups | noise | energy | ratio | break-even | width | of ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    grid = itertools.product(DESIGNS, TRUTHS, arguments.sizes, arguments.noise)
    cells = [Cell(*values) for values in grid]
    results = []
    for cell in cells:
        result = coverage(cell, arguments.studies)
        results.append(result)
        shares = (f"{100 * x:.1f} %" for x in (result.energy, result.ratio, result.break_even))
        widths = (f"{x:.2f}" for x in (result.energy_width, result.ratio_width))
        row = (cell.design, cell.truth, str(cell.size), f"{cell.noise:g}", *shares, *widths)
        print(f"| {' | '.join(row)} |", flush=True)
    means = [statistics.fmean((r.energy, r.ratio, r.break_even)) for r in results]
    print(f"\nmean coverage {100 * statistics.fmean(means):.1f} %")


if __name__ == "__main__":
    main()
