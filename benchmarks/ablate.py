"""Measure the effect of each idea of the joule sampler: the search of `replay.py` without it.

    python benchmarks/ablate.py --data FOLDER [--seeds 10] [--out ablations.csv]

At the end each workload is left out once: of all variants the one that was best on the other
workloads is judged on it. A large difference from the row that was built would say that the
constants were fitted to these workloads.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each search has a process of its own
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from benchmarks.problems import find_problems
from benchmarks.replay import Row, Task, run
from benchmarks.running import parse, run_all, write
from benchmarks.verdicts import UNEQUAL, Verdict, print_table, summarise
from energyopt.errors import EnergyoptError
from energyopt.search import acquisition as choice
from energyopt.search import curve_observations as readings
from energyopt.search import energy_model as model
from energyopt.search import level_model as curves

Change = Callable[[], None]


def _set(module: Any, **values: Any) -> Change:
    """Change constants of a module, in the process of one search."""

    def change() -> None:
        for name, value in values.items():
            setattr(module, name, value)

    return change


def _no_bounds() -> None:
    """Unreached levels say nothing."""
    of = readings.CurveObservations.of

    def reached(*args: Any, **options: Any) -> readings.CurveObservations:
        all_of = of(*args, **options)
        kept = ~all_of.unreached
        return readings.CurveObservations(
            all_of.trial[kept],
            all_of.level[kept],
            all_of.log_epochs[kept],
            all_of.sd[kept],
            all_of.unreached[kept],
        )

    readings.CurveObservations.of = reached  # type: ignore[method-assign]


_SCALES, _LENGTH = curves._SCALES, curves._LENGTH  # noqa: SLF001
VARIANTS: Mapping[str, tuple[Change, Mapping[str, Any]]] = {
    "as built": (lambda: None, {}),
    "no pauses": (lambda: None, {"pause": False}),
    "no law of batch sizes": (_set(model, _LAWS=(math.inf,)), {}),
    "no lower bounds": (_no_bounds, {}),
    "one level a curve": (_set(model, _MAX_PER_TRIAL=1, _MIN_PER_TRIAL=1), {}),
    "no odd setups": (_set(curves, _OUTLIER_Z=-math.inf), {}),
    "no slope of epoch energy": (_set(model, _EPOCH_LAW=0.0), {}),
    "no doubt": (_set(choice, _DOUBT_REACHED=0.0, _DOUBT_UNREACHED=0.0), {}),
    "recommended after one hit": (_set(choice, _MIN_HITS=1), {}),
    "recommended after three hits": (_set(choice, _MIN_HITS=3), {}),
    "looks again at 1.3 x": (_set(choice, _GROWTH=1.3), {}),
    "looks again at 4 x": (_set(choice, _GROWTH=4.0), {}),
    "planned_trainings 30": (lambda: None, {"planned_trainings": 30.0}),
    "planned_trainings 1000": (lambda: None, {"planned_trainings": 1000.0}),
    "scales x 2": (_set(curves, _SCALES=_SCALES + math.log(2)), {}),
    "scales / 2": (_set(curves, _SCALES=_SCALES - math.log(2)), {}),
    "length x 2": (_set(curves, _LENGTH=_LENGTH + math.log(2)), {}),
}


def _run(task: tuple[str, Task]) -> tuple[Row, Verdict]:
    variant, plain = task
    change, options = VARIANTS[variant]
    kept = {module: dict(vars(module)) for module in (choice, curves, model)}
    of = readings.CurveObservations.of
    change()
    try:
        row, verdict = run(replace(plain, options=options))
    finally:
        for module, values in kept.items():
            vars(module).update(values)
        readings.CurveObservations.of = of  # type: ignore[method-assign]
    return replace(row, method=variant), verdict


def main() -> int:
    """Run the variants; 0 where they ran, 2 where they could not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    args = parse(parser, tuple(VARIANTS), "rows of the table", 10)
    try:
        problems = find_problems(args.data, None, None)
        tasks = [
            (variant, Task("joule", {}, problem, seed, 5.0, 0.0))
            for variant in args.methods
            for problem in problems
            for seed in range(args.seeds)
        ]
        done = run_all(_run, tasks, args.jobs)
    except EnergyoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    verdicts: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    workloads: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (variant, task), (_, verdict) in zip(tasks, done, strict=True):
        verdicts[variant][task.problem.name].append(verdict)
        workloads[variant][task.problem.recorded.workload].append(verdict.j5)
    show({name: dict(verdict) for name, verdict in verdicts.items()}, workloads)
    if args.out is not None:
        write(args.out, Row, (row for row, _ in done))
    return 0


def show(
    verdicts: Mapping[str, Mapping[str, Sequence[Verdict]]],
    workloads: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Print the table, and what leaving workloads out says."""
    rows = []
    for name, of in verdicts.items():
        each = summarise(of)
        mean = float(np.mean([verdict.j5 for all_of in of.values() for verdict in all_of]))
        rows.append(
            (name, f"{each.j5:.2f}", f"{mean:.2f}", f"{each.censored:.1%}", f"{each.worst:.1f}")
        )
    print_table(("variant", "J5", "mean J5", "censored", "worst problem"), rows)
    print(
        "J5: geometric mean over problems of medians; mean J5: over all searches, 40 if censored."
    )
    print(UNEQUAL)
    names = list(next(iter(workloads.values())))
    left_out = []
    for workload in names:
        rest = {
            variant: np.mean([j for name in names if name != workload for j in of[name]])
            for variant, of in workloads.items()
        }
        best = min(rest, key=lambda variant: float(rest[variant]))
        left_out += [
            (
                workload,
                best,
                f"{np.mean(workloads[best][workload]):.2f}",
                f"{np.mean(workloads['as built'][workload]):.2f}"
                if "as built" in workloads
                else "-",
            )
        ]
    print("\nEach workload left out")
    print_table(("workload", "best on the others", "its mean J5 here", "as built"), left_out)


if __name__ == "__main__":
    sys.exit(main())
