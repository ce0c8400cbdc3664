"""Measure what stopping rules save on recorded curves, and which stops were wrong.

    python benchmarks/false_stops.py --data FOLDER [--target 0.93] [--orders 100] [--trials 40]

FOLDER holds `curves/*.csv`, or such files itself: one row an epoch, with the columns workload,
optimizer, lr, batch_size, seed, epoch, cpu_s (since the first step) and accuracy. Each order draws
trials of a workload at random; a rule sees them one after the other, evaluation by evaluation, and
knows of the earlier ones what it let them train. A stop was false if the whole curve would have

    target    reached the target with the least energy of all
    end       ended on the front of the curves' ends (energy, accuracy)
    all       had a point, beyond the stop, on the front of all points of all curves

Regret is how much more the cheapest training to the target costs among what the rule let through.
With --target-alone a trial ends at the target, and accuracy beyond it counts for nothing.
Joules are CPU seconds times a constant, whose value does not matter.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a bare checkout

from energyopt.core.curve import Curve  # noqa: E402
from energyopt.core.history import StudyHistory, TrialProgress, front_of  # noqa: E402
from energyopt.core.protocols import StoppingRule  # noqa: E402
from energyopt.stopping.dominance import Dominance  # noqa: E402
from energyopt.stopping.energy_cap import EnergyCap  # noqa: E402
from energyopt.stopping.extrapolate import Extrapolate  # noqa: E402
from energyopt.stopping.rules import Rules  # noqa: E402
from energyopt.training.plan import Plan  # noqa: E402

_WATTS = 4.0
_COLUMNS = {"workload", "optimizer", "lr", "batch_size", "seed", "epoch", "cpu_s", "accuracy"}

RULES: Mapping[str, Mapping[str, StoppingRule]] = {
    "energy_cap 1": {"energy_cap": EnergyCap(1.0)},
    "energy_cap 2": {"energy_cap": EnergyCap(2.0)},
    "dominance k=1": {"dominance": Dominance(k=1)},
    "dominance k=2": {"dominance": Dominance(k=2)},
    "dominance k=4": {"dominance": Dominance(k=4)},
    "dominance k=2, margin 0.1": {"dominance": Dominance(k=2, margin=0.1)},
    "extrapolate 0.01": {"extrapolate": Extrapolate(0.01)},
    "extrapolate 0.05": {"extrapolate": Extrapolate(0.05)},
    "extrapolate 0.2": {"extrapolate": Extrapolate(0.2)},
    "energy_cap + extrapolate": {"energy_cap": EnergyCap(), "extrapolate": Extrapolate()},
    "all three": {
        "energy_cap": EnergyCap(),
        "dominance": Dominance(),
        "extrapolate": Extrapolate(),
    },
}


@dataclass(frozen=True, slots=True)
class Played:
    """A whole recorded curve, and how far a rule let it train.

    Attributes:
        curve: The whole curve.
        seen: Evaluations until it was stopped; all of them if it was not.
    """

    curve: Curve
    seen: int

    @property
    def stopped(self) -> bool:
        """True if a rule stopped the trial."""
        return self.seen < len(self.curve)

    @property
    def shown(self) -> Curve:
        """Return the trained part of the curve."""
        return self.curve.only([index < self.seen for index in range(len(self.curve))])

    @property
    def missed(self) -> Curve:
        """Return the part that was not trained."""
        return self.curve.only([index >= self.seen for index in range(len(self.curve))])


@dataclass(frozen=True, slots=True)
class Verdict:
    """The effect of a rule on some trials; shares in [0, 1].

    Attributes:
        stopped: Share of the trials that were stopped.
        saved: Share of the joules.
        false_target: Share of the stopped that would have been the cheapest to the target.
        false_end: Share of the stopped whose end would have been on the front of the ends.
        false_all: Share of the stopped with a point beyond the stop on the front of all points.
        regret: Energy of the cheapest training to the target that is left, over that of all;
            infinite if none is left, 1 if there was none.
    """

    stopped: float
    saved: float
    false_target: float
    false_end: float
    false_all: float
    regret: float


def play(
    curves: Sequence[Curve],
    rules: Mapping[str, StoppingRule],
    plan: Plan,
) -> list[Played]:
    """Train along recorded curves, one after the other, until a rule stops each."""
    rivals, played = StudyHistory(), []
    for number, curve in enumerate(curves):
        asked = Rules(rules, rivals)
        stops = (
            index for index in range(1, len(curve)) if asked.stop(_progress(curve, index, plan))
        )
        played.append(Played(curve, next(stops, len(curve))))
        rivals = rivals.updated_with(number, played[-1].shown, plan.target)
    return played


def judge(played: Sequence[Played], target: float) -> Verdict:
    """Compare what was stopped with what the whole curves would have been."""
    stopped = [trial for trial in played if trial.stopped]
    wins = {_cheapest([trial.curve for trial in played], target)}
    ends = set(front_of(_points(trial.curve)[-1] for trial in played))
    points = set(front_of(itertools.chain.from_iterable(_points(t.curve) for t in played)))
    spent_j = sum(trial.shown.training_j[-1] for trial in played)
    left_j = _cheapest([trial.shown for trial in played], target)
    best_j = min(wins)

    def share(false: Sequence[bool]) -> float:
        return sum(false) / len(stopped) if stopped else 0.0

    return Verdict(
        stopped=len(stopped) / len(played),
        saved=1 - spent_j / sum(trial.curve.training_j[-1] for trial in played),
        false_target=share(
            [_cheapest([trial.missed], target) == best_j < left_j for trial in stopped]
        ),
        false_end=share([_points(trial.curve)[-1] in ends for trial in stopped]),
        false_all=share([not points.isdisjoint(_points(trial.missed)) for trial in stopped]),
        regret=1.0 if math.isinf(best_j) else left_j / best_j,
    )


def _progress(curve: Curve, seen: int, plan: Plan) -> TrialProgress:
    return TrialProgress(
        curve.epoch[:seen],
        curve.training_j[:seen],
        curve.accuracy[:seen],
        plan.target,
        plan.epochs,
        beyond=not plan.stop_at_target,
    )


def _points(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.training_j, curve.accuracy, strict=True))


def _cheapest(curves: Sequence[Curve], target: float) -> float:
    hits = (curve.first_at(target) for curve in curves)
    return min((hit.training_j for hit in hits if hit is not None), default=math.inf)


def read_curves(folder: Path) -> dict[str, list[Curve]]:
    """All recorded curves of a folder, by workload."""
    files = sorted((folder / "curves").glob("*.csv")) or sorted(folder.glob("*.csv"))
    trials: dict[str, dict[tuple[str, ...], list[dict[str, str]]]] = {}
    for file in files:
        with file.open(newline="") as lines:
            reader = csv.DictReader(lines)
            if not set(reader.fieldnames or ()) >= _COLUMNS:
                continue
            for row in reader:
                setup = tuple(row[key] for key in ("optimizer", "lr", "batch_size", "seed"))
                trials.setdefault(row["workload"], {}).setdefault(setup, []).append(row)
    return {
        workload: [
            _curve(sorted(rows, key=lambda row: float(row["epoch"]))) for rows in curves.values()
        ]
        for workload, curves in trials.items()
    }


def _curve(rows: Sequence[Mapping[str, str]]) -> Curve:
    cpu_s = tuple(float(row["cpu_s"]) for row in rows)
    return Curve(
        training_j=tuple(_WATTS * second for second in cpu_s),
        training_s=cpu_s,
        accuracy=tuple(float(row["accuracy"]) for row in rows),
        samples=tuple(range(1, len(rows) + 1)),
        steps=tuple(range(1, len(rows) + 1)),
        epoch=tuple(float(row["epoch"]) for row in rows),
        index=tuple(range(len(rows))),
    )


def measure(curves: Sequence[Curve], plan: Plan, orders: int, trials: int) -> dict[str, Verdict]:
    """Return the mean verdict on each rule, over the same random orders."""
    verdicts: dict[str, list[Verdict]] = {name: [] for name in RULES}
    for seed in range(orders):
        drawn = random.Random(seed).sample(curves, min(trials, len(curves)))
        for name, rules in RULES.items():
            verdicts[name].append(judge(play(drawn, rules, plan), plan.target))
    return {name: _mean(verdict) for name, verdict in verdicts.items()}


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    """Means; of the false ones over all that were stopped, of the regret the geometric mean."""
    stops = sum(verdict.stopped for verdict in verdicts) or 1.0

    def of_stopped(name: str) -> float:
        return float(sum(getattr(v, name) * v.stopped for v in verdicts) / stops)

    return Verdict(
        stopped=fmean(v.stopped for v in verdicts),
        saved=fmean(v.saved for v in verdicts),
        false_target=of_stopped("false_target"),
        false_end=of_stopped("false_end"),
        false_all=of_stopped("false_all"),
        regret=math.exp(fmean(math.log(v.regret) for v in verdicts)),
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recorded curves")
    parser.add_argument("--target", type=float, default=0.93, help="accuracy to reach")
    parser.add_argument("--orders", type=int, default=100, help="random orders of trials")
    parser.add_argument("--trials", type=int, default=40, help="trials of an order, at most")
    parser.add_argument("--target-alone", action="store_true", help="trials end at the target")
    words = parser.parse_args()
    workloads = read_curves(words.data)
    if not workloads:
        parser.error(f"--data {words.data} holds no curves: no CSV file with {sorted(_COLUMNS)}")
    for workload, recorded in workloads.items():
        curves = [_until(c, words.target) for c in recorded] if words.target_alone else recorded
        last_epoch = max(curve.epoch[-1] for curve in curves)
        plan = Plan(words.target, last_epoch, stop_at_target=words.target_alone)
        print(
            f"{workload}: {len(curves)} curves, target {words.target:g}, {words.orders} orders of "
            f"{min(words.trials, len(curves))}\n\n"
            "| rule | stopped | joules saved | false: target | false: end | false: all | regret |\n"
            "|---|---|---|---|---|---|---|"
        )
        for name, verdict in measure(curves, plan, words.orders, words.trials).items():
            print(_row(name, verdict))
        print()
    return 0


def _until(curve: Curve, target: float) -> Curve:
    hit = curve.first_at(target)
    return curve if hit is None else curve.only([epoch <= hit.epoch for epoch in curve.epoch])


def _row(name: str, verdict: Verdict) -> str:
    shares = (
        *(verdict.stopped, verdict.saved),
        *(verdict.false_target, verdict.false_end, verdict.false_all),
    )
    cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
    return f"| {name} | {cells} | {verdict.regret:.3f} |"


if __name__ == "__main__":
    sys.exit(main())
