"""Compare the cost of searches whose trainings report other metrics than the accuracy.

    python benchmarks/any_metric.py --data FOLDER [--metrics error nats ...] [--seeds 20]

Searches for a target on recorded learning curves (see `curve_sets`), once as they were recorded and
once for each metric that is a monotone function of the accuracy. The recorded trainings, what they
cost and which setups are good stay the same, so a difference is the search's own: it knows the
range of an accuracy, and has to learn those of other metrics. J5 is as in `verdicts`, with a cap
of 200 E*.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from benchmarks.curve_search import OURS, CurveSession, Search, search
from benchmarks.curve_sets import TARGET, CurveSet, find_sets
from benchmarks.session import Training
from benchmarks.verdicts import Moment, Verdict, judge, print_table
from energyopt.core.metric import ACCURACY, Monitor

CAP = 200.0  # E*
_CHANCE = 0.02  # added to each accuracy, so that that of 0 has a finite loss
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is a monotone function of the accuracy.

    Attributes:
        monitor: Its name and direction.
        value: The function.
    """

    monitor: Monitor
    value: Callable[[float], float]


def nats(accuracy: float) -> float:
    """Something like a cross-entropy: the negative log of the accuracy."""
    return -math.log((accuracy + _CHANCE) / (1 + _CHANCE))


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(ACCURACY, float),
    "share": Metric(Monitor("share", "max"), float),
    "percent": Metric(Monitor("percent", "max"), lambda a: 100 * a),
    "error": Metric(Monitor("error", "min"), lambda a: 1 - a),
    "nats": Metric(Monitor("nats", "min"), nats),
    "perplexity": Metric(Monitor("perplexity", "min"), lambda a: math.exp(nats(a))),
    "shifted": Metric(Monitor("shifted", "max"), lambda a: 7 * a - 1000),
    "squared": Metric(Monitor("squared", "min"), lambda a: (1 - a) ** 2),
}


class MetricSession(CurveSession):
    """One search on one set of curves, whose trainings report a metric."""

    def __init__(self, curves: CurveSet, seed: int, metric: Metric) -> None:
        super().__init__(curves, seed, front=False)
        assert curves.target is not None
        self._value = metric.value
        self.monitor = metric.monitor
        self.target = self._target = metric.value(curves.target)
        self._start = replace(self._start, target=self._target, monitor=metric.monitor)

    def begin_setup(self, setup: Mapping[str, Any]) -> Training:
        """Return a new trial, which reports the metric."""
        training = super().begin_setup(setup)
        values = tuple(map(self._value, training.curve.accuracy))
        training.curve = replace(training.curve, accuracy=values)
        return training


def run(curves: CurveSet, metric: Metric, seed: int, method: str = OURS) -> Verdict:
    """Judge one search."""
    session = MetricSession(curves, seed, metric)
    moments = []
    for recommended in search(session, Search.of(method, {})):
        spent = session.spent_j / curves.best_j
        moments.append(Moment(spent, curves.good(recommended)))
        if spent > CAP:
            break
    return judge(moments, CAP)


def ratios(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[tuple[str, ...]]:
    """Rows of the table: mean J5 of each metric, over that of the accuracy."""
    base = np.array([verdict.j5 for verdict in verdicts["accuracy"]])
    for name, of in verdicts.items():
        j5 = np.array([verdict.j5 for verdict in of])
        spread = float(np.std(j5 - base, ddof=min(len(base) - 1, 1)))
        half = _Z * spread / math.sqrt(len(base))
        yield (
            name,
            f"{j5.mean():.2f}",
            f"{j5.mean() / base.mean():.3f}",
            f"±{half / base.mean():.3f}",
            f"{np.median(j5):.2f}",
            f"{np.mean([verdict.censored for verdict in of]):.0%}",
        )


def main(words: Sequence[str] | None = None) -> None:
    """Run the searches, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recorded curves")
    parser.add_argument("--target", type=float, default=TARGET, help="accuracy to reach")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", type=int, default=20, help="searches of each metric")
    args = parser.parse_args(words)
    sets = [found for found in find_sets(args.data, None, args.target) if found.target is not None]
    verdicts = {
        name: [run(curves, METRICS[name], seed) for curves in sets for seed in range(args.seeds)]
        for name in dict.fromkeys(["accuracy", *args.metrics])
    }
    print(f"{len(sets)} sets of curves, {args.seeds} seeds each; J5 in E*")
    print_table(
        ("metric", "mean J5", "over accuracy", "95 %", "median J5", "censored"),
        list(ratios(verdicts)),
    )


if __name__ == "__main__":
    main()
