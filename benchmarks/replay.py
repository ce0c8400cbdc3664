"""Measure the energy a search uses until its recommendation is good, on recorded trainings.

    python benchmarks/replay.py --data FOLDER [--workloads ...] [--gpus ...] [--methods ...]
        [--seeds 30] [--set KEY=VALUE ...] [--out results.csv]

The folder, or folders in it, hold the tables of `energyopt/tasks/replay.py`; each workload on each
GPU is a problem. A method that is named `joule:key=value,key=value` gets those options, all get
those of --set. The same seed meets the same recorded runs, whatever the method.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each search has a process of its own
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout


from benchmarks.methods import DEFAULTS, METHODS, method
from benchmarks.problems import Problem, find_problems
from benchmarks.running import options_of, parse, run_all, split_name, write
from benchmarks.session import Session
from benchmarks.verdicts import (
    CAP,
    MARKS,
    UNEQUAL,
    Moment,
    Summary,
    Verdict,
    compare,
    judge,
    print_table,
    summarise,
)
from energyopt.errors import EnergyoptError

OURS = "joule"
GOAL, GOAL_CENSORED, GOAL_WORST = 3.0, 0.02, 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """One search to run."""

    method: str
    options: Mapping[str, Any]
    problem: Problem
    seed: int
    slice_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One search that was run, as written to --out; first_hit and j5 in E*."""

    method: str
    gpu: str
    workload: str
    seed: int
    e_star_j: float
    first_hit: float
    j5: float
    censored: int
    search_energy_j: float
    profiling_energy_j: float


def run(task: Task) -> tuple[Row, Verdict]:
    """Run one search until its cap, or until it ends by itself."""
    problem = task.problem
    session = Session(problem, task.seed, task.slice_s, task.settle_s)
    moments = []
    for recommended in method(split_name(task.method)[0])(session, **task.options):
        spent = session.spent_j / problem.best_j
        moments.append(Moment(spent, problem.good(recommended)))
        if spent >= CAP:
            break
    verdict = judge(moments)
    row = Row(
        task.method,
        problem.recorded.gpu,
        problem.recorded.workload,
        task.seed,
        problem.best_j,
        verdict.first_hit,
        verdict.j5,
        int(verdict.censored),
        session.spent_j,
        session.profiling_j,
    )
    return row, verdict


# What is printed ---------------------------------------------------------------------------------


def show(summaries: Mapping[str, Summary], problems: Sequence[Problem]) -> None:
    """Print the table, and how far the goal is."""
    baselines = [name for name in summaries if not name.startswith(OURS)] or list(summaries)
    best = min(baselines, key=lambda name: summaries[name].j5)
    versus = compare({name: summary.medians for name, summary in summaries.items()}, best)
    rows = [
        (
            name,
            f"{summary.first_hit:.1f}",
            f"{summary.j5:.2f}",
            f"{summary.low:.1f}-{summary.high:.1f}",
            f"{summary.censored:.1%}",
            " / ".join(f"{share:.0%}" for share in summary.good_at),
            f"{summary.worst:.1f} {summary.worst_problem}",
            *(
                (f"{versus[name].p_value:.2g}", f"{versus[name].wins}:{versus[name].losses}")
                if name in versus
                else ("-", "-")
            ),
        )
        for name, summary in summaries.items()
    ]
    good = "good after " + " / ".join(f"{mark:g}" for mark in MARKS)
    columns = (
        "method",
        "first hit",
        "J5",
        "95 % CI",
        "censored",
        good,
        "worst problem",
        "p",
        "won",
    )
    print(f"Search joules in E*, {len(problems)} problems, cap {CAP:g} E*")
    print_table(columns, rows)
    print(
        "J5 and first hit: geometric mean over problems of the median over seeds; CI: problems\n"
        "resampled; p: Wilcoxon over problems with Holm's correction, and problems won and lost,\n"
        f"against {best}.\n{UNEQUAL}"
    )
    default = math.exp(sum(math.log(problem.default_cost) for problem in problems) / len(problems))
    print(f"Floor: the default once costs {default:.2f} E*, default and optimum {default + 1:.2f}.")
    for name in [name for name in summaries if name.startswith(OURS)]:
        each = summaries[name]
        met = each.j5 <= GOAL and each.censored <= GOAL_CENSORED and each.worst <= GOAL_WORST
        print(
            f"Goal of {name}: J5 at most {GOAL:g}, censored at most {GOAL_CENSORED:.0%}, worst "
            f"problem at most {GOAL_WORST:g}: {'met' if met else 'missed'}"
        )


def show_problems(summaries: Mapping[str, Summary]) -> None:
    """Each problem's median J5."""
    print("\nMedian J5 by problem")
    problems = list(next(iter(summaries.values())).medians)
    print_table(
        ("problem", *summaries),
        [
            (problem, *(f"{summary.medians[problem]:.2f}" for summary in summaries.values()))
            for problem in problems
        ],
    )


# The command -------------------------------------------------------------------------------------


def main() -> int:
    """Run the benchmark; 0 where it ran, 2 where it could not."""
    args = _arguments()
    began_s = time.perf_counter()
    try:
        problems = find_problems(args.data, args.workloads, args.gpus)
        options = options_of(args.set)
        tasks = []
        for name in args.methods:
            plain, own = split_name(name)
            method(plain)
            tasks += [
                Task(name, options | own, problem, seed, args.slice_s, args.settle_s)
                for problem in problems
                for seed in range(args.seeds)
            ]
        done = run_all(run, tasks, args.jobs)
    except EnergyoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    verdicts: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for task, (_, verdict) in zip(tasks, done, strict=True):
        verdicts[task.method][task.problem.name].append(verdict)
    summaries = {name: summarise(verdict) for name, verdict in verdicts.items()}
    show(summaries, problems)
    if args.per_problem:
        show_problems(summaries)
    print(f"{len(tasks)} searches took {time.perf_counter() - began_s:.0f} s.")
    if args.out is not None:
        write(args.out, Row, (row for row, _ in done))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workloads", nargs="+", help="all by default")
    parser.add_argument("--gpus", nargs="+", help="all by default")
    parser.add_argument("--per-problem", action="store_true", help="print each problem's J5, too")
    parser.add_argument("--slice-s", type=float, default=5.0, help="how long a limit is tried")
    parser.add_argument("--settle-s", type=float, default=0.0, help="how long before that")
    return parse(parser, DEFAULTS, f"of {', '.join(METHODS)}", 30)


if __name__ == "__main__":
    sys.exit(main())
