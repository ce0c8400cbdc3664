"""How long the joule sampler takes to say what trains next, by the number of trials.

    python benchmarks/asking.py [--trials 30 100 200] [--asks 15]

Made-up curves over learning rate x batch size x optimizer, a third of them paused; asked is what
reaches the target with the least energy, or what a further point of accuracy costs (a study with
both asks the first, then the second). The first ask looks for the models' scales anew.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from benchmarks.verdicts import print_table
from energyopt.search.joule import JouleSampler
from energyopt.search.schedule import TrialSnapshot

TARGET, EPOCHS = 0.9, 40
SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": CategoricalDistribution([8, 16, 32, 64, 128, 256]),
    "optimizer": CategoricalDistribution(["sgd", "adam"]),
}


def trial(number: int, rng: np.random.Generator) -> TrialSnapshot:
    """Make up a trial whose error falls by a power law."""
    lr, size = 10 ** rng.uniform(-4, -1), int(rng.choice([8, 16, 32, 64, 128, 256]))
    optimizer = str(rng.choice(["sgd", "adam"]))
    slow = abs(np.log10(lr) + 2) + (optimizer == "sgd") + size / 256
    epochs = np.arange(1, int(rng.integers(3, EPOCHS)) + 1)
    accuracy = 1 - 0.8 * (1 + epochs) ** (-1.5 / (1 + slow))
    hit = np.flatnonzero(accuracy >= TARGET)
    end = int(hit[0]) + 1 if len(hit) else len(epochs)
    epoch_j = 1 + 20 / size
    return TrialSnapshot(
        number,
        {"lr": float(lr), "batch_size": size, "optimizer": optimizer},
        tuple(map(float, epochs[:end])),
        tuple(map(float, epochs[:end] * epoch_j)),
        tuple(map(float, accuracy[:end])),
        epoch_j,
        float(epochs[end - 1] * epoch_j),
        "paused" if number % 3 == 1 and not len(hit) else "ended",
        bool(len(hit)),
        number == 0,
    )


def asks_s(count: int, asks: int, target: float | None, seed: int = 0) -> list[float]:
    """How long each ask takes, in s, from `count` trials on.

    Args:
        count: Trials to begin with; one more comes with each ask.
        asks: How often to ask.
        target: Accuracy to reach; None asks for the front.
        seed: Of the trials, and of the sampler.
    """
    rng = np.random.default_rng(seed)
    trials = [trial(number, rng) for number in range(count)]
    sampler = JouleSampler(seed=seed, target=target, epochs=EPOCHS, front=True, space=SPACE)
    took = []
    for _ in range(asks):
        began = time.perf_counter()
        sampler.choose(trials, can_begin=True)
        took.append(time.perf_counter() - began)
        trials.append(trial(len(trials), rng))
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[30, 100, 200])
    parser.add_argument("--asks", type=int, default=15)
    args = parser.parse_args()
    rows = []
    for asked, target in (("target", TARGET), ("front", None)):
        for count in args.trials:
            took = asks_s(count, args.asks, target)
            shown = (took[0], statistics.median(took), max(took))
            rows.append((asked, str(count), *(f"{1e3 * each:.0f}" for each in shown)))
    print_table(("asked", "trials", "first ask, ms", "median, ms", "longest, ms"), rows)


if __name__ == "__main__":
    main()
