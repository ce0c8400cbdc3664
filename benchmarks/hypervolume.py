"""Measure the energy a search uses to find the front, on recorded learning curves.

    python benchmarks/hypervolume.py --data FOLDER [--datasets ...] [--methods ...] [--seeds 20]
        [--set KEY=VALUE ...] [--target 0.93] [--out results.csv]

The folder, or folders in it, hold tables or exported studies, as in `benchmarks/curve_sets.py`.
Joules are counted until a search has 90 % and 95 % of the best hypervolume of (error, log energy),
in U: a full training of the median setup. `all` counts every evaluation as a setup one could stop
at, `ends` those alone that ran to the end. J5, in a second search for the target alone, is that of
`benchmarks/replay.py`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each search has a process of its own
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from benchmarks.curve_search import OURS, CurveSession, Search, methods, search
from benchmarks.curve_sets import TARGET, CurveSet, find_sets
from benchmarks.fronts import best_area, joules_to, worst_point
from benchmarks.running import options_of, parse, run_all, split_name, write
from benchmarks.verdicts import UNEQUAL, Moment, judge, print_table
from energyopt.errors import EnergyoptError

CAP = 200.0
SHARES = (0.9, 0.95)
_LOOK = 5  # steps between looks at the front


@dataclass(frozen=True, slots=True)
class Task:
    """One search to run, once for the front, and once for the target."""

    method: str
    options: Mapping[str, Any]
    curves: CurveSet
    seed: int
    ends: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How it did, as written to --out; what is not asked is empty.

    Attributes:
        first_hit: In E*, as j5.
        hv90: In U, as all hypervolumes; the cap where it never was.
    """

    method: str
    gpu: str = ""
    workload: str
    seed: int
    e_star_j: float | None = None
    first_hit: float | None = None
    j5: float | None = None
    censored: int | None = None
    search_energy_j: float
    profiling_energy_j: float = 0.0
    dataset: str
    hv90: float | None
    hv95: float | None
    hv90_ends: float | None
    hv95_ends: float | None
    u_j: float


def run(task: Task) -> Row:
    """Run both searches until their caps, or until they end by themselves."""
    curves = task.curves
    options = dict(task.options)
    pause = bool(options.pop("pause", True))
    how = Search.of(split_name(task.method)[0], options)
    session = CurveSession(curves, task.seed, front=True)
    hv90, hv95, hv90_ends, hv95_ends = _volumes(
        session, search(session, how, pause=pause), ends=task.ends
    )
    row = Row(
        method=task.method,
        workload=curves.workload,
        seed=task.seed,
        search_energy_j=session.spent_j,
        dataset=curves.dataset,
        hv90=hv90,
        hv95=hv95,
        hv90_ends=hv90_ends,
        hv95_ends=hv95_ends,
        u_j=curves.unit_j,
    )
    if curves.target is None:
        return row
    session = CurveSession(curves, task.seed, front=False)
    moments = []
    for recommended in search(session, how, pause=pause):
        moments.append(Moment(session.spent_j / curves.best_j, curves.good(recommended)))
        if moments[-1].spent >= CAP:
            break
    verdict = judge(moments, CAP)
    return replace(
        row,
        e_star_j=curves.best_j,
        first_hit=verdict.first_hit,
        j5=verdict.j5,
        censored=int(verdict.censored),
        search_energy_j=row.search_energy_j + session.spent_j,
    )


def _volumes(session: CurveSession, steps: Iterator[object], *, ends: bool) -> list[float | None]:
    """Search until all shares of the best hypervolume are there, or the cap.

    Returns:
        Joules to each share over all points, then over ends, in U; None where that is not asked.
    """
    curves = session.curves
    worst = worst_point(curves)
    found = [(session.found, best_area(curves, ends=False))]
    if ends:
        found.append((session.ends, best_area(curves, ends=True)))
    for count, _ in enumerate(steps):
        there = count % _LOOK == 0 and all(
            joules_to(SHARES[-1], points, worst, best) is not None for points, best in found
        )
        if there or session.spent_j >= CAP * curves.unit_j:
            break
    reached = [joules_to(share, points, worst, best) for points, best in found for share in SHARES]
    units = [CAP if at_j is None else min(at_j / curves.unit_j, CAP) for at_j in reached]
    return [*units, *[None] * (2 * len(SHARES) - len(units))]


COLUMNS = {
    "hv90": "90 % HV, all (U)",
    "hv95": "95 % HV, all (U)",
    "hv90_ends": "90 % HV, ends",
    "hv95_ends": "95 % HV, ends",
    "j5": "J5 (E*)",
}


def show(rows: Sequence[Row], sets: Sequence[CurveSet]) -> None:
    """Print a table for each set: median / geometric mean / share censored."""
    for curves in sets:
        asked = "" if curves.target is None else f", target {curves.target:g}"
        print(f"\n{curves.name}: {len(curves.recordings)} setups{asked}; cap {CAP:g}")
        here = [r for r in rows if (r.dataset, r.workload) == (curves.dataset, curves.workload)]
        columns = [key for key in COLUMNS if getattr(here[0], key) is not None]
        table = []
        for name in dict.fromkeys(row.method for row in here):
            of = [row for row in here if row.method == name]
            table.append((name, *(_cell([getattr(row, key) for row in of]) for key in columns)))
        print_table(["method", *(COLUMNS[key] for key in columns)], table)
    print("\nCells: median / geometric mean over seeds / share that was not there at the cap.")
    print(
        "Warning: the hypervolume is over linear accuracy from the lowest one, so most of it is\n"
        "that of models of no practical use."
    )
    if any(row.j5 is not None for row in rows):
        print(UNEQUAL)


def _cell(values: Sequence[float]) -> str:
    censored = np.mean([value >= CAP for value in values])
    median, mean = np.median(values), np.exp(np.mean(np.log(np.maximum(values, 1e-3))))
    shown = f">{CAP:g}" if median >= CAP else f"{median:.2g}" if median < 1 else f"{median:.1f}"
    return f"{shown} / {mean:.1f} / {censored:.0%}"


def main() -> int:
    """Run the benchmark; 0 where it ran, 2 where it could not."""
    args = _arguments()
    began_s = time.perf_counter()
    try:
        sets = find_sets(args.data, args.datasets, args.target)
        options = options_of(args.set)
        tasks = []
        for name in args.methods:
            plain, own = split_name(name)
            Search.of(plain, {})
            tasks += [
                Task(name, options | own, curves, seed, not args.all_only)
                for curves in sets
                for seed in range(args.seeds)
            ]
        rows = run_all(run, tasks, args.jobs)
    except EnergyoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, sets)
    print(f"{len(tasks)} searches took {time.perf_counter() - began_s:.0f} s.")
    if args.out is not None:
        write(args.out, Row, rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", help="names of tables; all by default")
    parser.add_argument("--target", type=float, default=TARGET, help="accuracy to reach on curves")
    parser.add_argument("--all-only", action="store_true", help="do not wait for fronts of ends")
    return parse(parser, methods(), f"such as tpe+dominance, {OURS}; see curve_search.py", 20)


if __name__ == "__main__":
    sys.exit(main())
