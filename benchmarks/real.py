"""Measure the energy a search uses until its recommendation is good, on real trainings.

    python benchmarks/real.py [--methods joule tpe:stopping=none ...] [--seeds 5] [--trials 20]
        [--objective energy_to_target] [--hardware simulated] [--words model=mlp ...]

A method is a sampler with words of its own: `tpe:stopping=[energy_cap,dominance],n_trials=40`. Each
search is one command line, in a process of its own; nothing else should run on the machine. After
each execution of a trial it recommends the cheapest setup to the target that it has seen. How good
that is, other trainings say, by other seeds, the same for all: the geometric mean of their energy
to the target, over that of the best setup that a method recommends in the end for this seed. A
search that was never so good counts with all its joules, which is less than it takes; one by the
first method with those of the most expensive search of its seed.
"""

from __future__ import annotations

import argparse
import math
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a bare checkout

from benchmarks.overhead import environment
from benchmarks.verdicts import Moment, geometric, interval, judge, print_table
from energyopt.analysis.summary import summarize
from energyopt.core.journal import NAME, JournalReader
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.storage.reader import read_study

SPACE = ("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(16,32,64,128)")
WITHIN = (0.05, 0.1, 0.2, 0.5)
_AGAIN_SEED = 1000  # and up: no search trains by them
_ENDED = re.compile(r"\[\d+/\d+\] trial (\d+): ")

Setup = tuple[str, ...]


class Step(NamedTuple):
    """One execution of a trial: the energy of the search after it, and its cheapest trial then."""

    spent_j: float
    cheapest: int | None


@dataclass(frozen=True, slots=True)
class Search:
    """One search that was run.

    Attributes:
        study: Its record.
        steps: All executions of trials, in order.
        wall_s: Start-up included.
        cpu_s: Of all its processes: what is metered, and what is not.
    """

    study: StudyRecord
    steps: tuple[Step, ...]
    wall_s: float
    cpu_s: float

    @property
    def metered_s(self) -> float:
        """Time in metered windows; the rest is starting processes, and asking what to train."""
        results = [trial.result for trial in self.study.trials if trial.result]
        return sum(energy.time_s for result in results for energy in result.books.values())

    def recommended(self) -> list[Setup | None]:
        """Return the setup that it would recommend after each step."""
        setups = {trial.number: trial.overrides for trial in self.study.trials}
        return [
            None if step.cheapest is None else _plain(setups[step.cheapest]) for step in self.steps
        ]


def search(words: Sequence[str], folder: Path) -> Search:
    """Run one search in a folder.

    Raises:
        RuntimeError: If it fails, with what it said.
    """
    began_s, before_s = time.perf_counter(), _cpu_s()
    spent_j: dict[int, float] = {}
    to_target_j: dict[int, float] = {}
    steps, said = [], []
    with subprocess.Popen(
        [sys.executable, "-m", "energyopt", "-m", *words, "study=real", "storage=real.db"],
        cwd=folder,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if ended := _ENDED.match(line):
                number = int(ended[1])
                result = _so_far(folder / "studies" / "real" / str(number) / NAME)
                if result is not None:
                    spent_j[number] = result.spent_j
                    if result.energy_to_target_j is not None:
                        to_target_j[number] = result.energy_to_target_j
                cheapest = min(to_target_j, key=to_target_j.__getitem__, default=None)
                steps.append(Step(sum(spent_j.values()), cheapest))
    if process.returncode or not steps:
        raise RuntimeError(f"{' '.join(words)} failed:\n{''.join(said)}")
    wall_s = time.perf_counter() - began_s
    cpu_s = _cpu_s() - before_s
    return Search(read_study(str(folder / "real.db"), "real"), tuple(steps), wall_s, cpu_s)


def _cpu_s() -> float:
    """CPU time of all child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _so_far(journal: Path) -> TrialResult | None:
    """Return the record of a trial that has just paused or ended, before it can resume."""
    return JournalReader(journal).read().result("paused", "")


def _plain(words: Setup) -> Setup:
    """Return a setup's words without the seed, which a repetition has."""
    return tuple(word for word in words if not word.startswith("seed="))


def train_again(setup: Setup, words: Sequence[str], again: int) -> float:
    """Geometric mean of a setup's energy to the target over new seeds, in J; infinite if missed."""
    seeds = ",".join(str(_AGAIN_SEED + index) for index in range(again))
    fixed = ("sampler=grid", "stopping=none", "objective=energy_to_target")
    with tempfile.TemporaryDirectory() as made:
        finished = search([*words, *setup, *fixed, f"seed=choice({seeds})"], Path(made))
    energies = [result.energy_to_target_j for _, result in finished.study.results]
    hits = [energy_j for energy_j in energies if energy_j is not None]
    return geometric(hits) if len(hits) == again else math.inf


def words_of(method: str) -> list[str]:
    """Return a method's words: `sampler:word,word`; commas in brackets belong to a word."""
    sampler, _, own = method.partition(":")
    return [f"sampler={sampler}", *filter(None, re.split(r",(?![^\[]*\])", own))]


# What is printed ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """One search with what it was worth.

    Attributes:
        search: The search.
        final: Energy of what it recommends in the end, over that of the best.
        good_j: Joules until what it recommends was, and stayed, within each of `WITHIN`; a
            stand-in if it never was.
        never: Whether it never was.
    """

    search: Search
    final: float
    good_j: tuple[float, ...]
    never: tuple[bool, ...]


def judged(searches: Mapping[str, Search], energy_j: Mapping[Setup, float]) -> dict[str, Judged]:
    """Judge the searches of one seed by the energy that each setup needs when trained again."""
    best_j = min(_energy_j(search.recommended()[-1], energy_j) for search in searches.values())
    spent_j = {method: search.steps[-1].spent_j for method, search in searches.items()}
    spent_j[next(iter(searches))] = max(spent_j.values())
    found = {}
    for method, each in searches.items():
        needed = [_energy_j(setup, energy_j) for setup in each.recommended()]
        qualities = [of / best_j if math.isfinite(of) else of for of in needed]
        verdicts = [
            judge(
                [
                    Moment(at.spent_j, quality <= 1 + within)
                    for at, quality in zip(each.steps, qualities, strict=True)
                ],
                spent_j[method],
            )
            for within in WITHIN
        ]
        found[method] = Judged(
            each,
            qualities[-1],
            tuple(verdict.j5 for verdict in verdicts),
            tuple(verdict.censored for verdict in verdicts),
        )
    return found


def _energy_j(setup: Setup | None, energy_j: Mapping[Setup, float]) -> float:
    return math.inf if setup is None else energy_j[setup]


def show(runs: Sequence[Mapping[str, Judged]]) -> None:
    """Print the tables: what each method cost, and what it needed until it was good."""
    methods = list(runs[0])
    print(f"\nGeometric means over {len(runs)} seeds; joules of the whole search")
    print_table(
        (
            *("method", "search", "loading", "warmup", "evaluation", "executions", "wall"),
            *("not metered", "CPU", "final", "worst final"),
        ),
        [_cost_row(method, [run[method] for run in runs]) for method in methods],
    )
    marks = [f"within {within:.0%}" for within in WITHIN]
    print("\nJoules until the recommended setup is, and stays, so good (seeds where it never was)")
    print_table(
        ("method", *marks),
        [
            (
                method,
                *(
                    f"{geometric([run[method].good_j[index] for run in runs]):.3g} J "
                    f"({sum(run[method].never[index] for run in runs)})"
                    for index in range(len(WITHIN))
                ),
            )
            for method in methods
        ],
    )
    print(f"\nThe same over that of {methods[0]}, with 95 % of resampled seeds")
    print_table(
        ("method", *marks), [_ratio_row(method, methods[0], runs) for method in methods[1:]]
    )


def _cost_row(method: str, of: Sequence[Judged]) -> tuple[str, ...]:
    searches = [each.search for each in of]
    total_j = sum(search.study.search_energy_j for search in searches)
    parts = [summarize(search.study).energy_by_purpose_j for search in searches]
    wall_s = sum(search.wall_s for search in searches)
    return (
        method,
        f"{geometric([search.study.search_energy_j for search in searches]):.3g} J",
        *(
            f"{sum(part[purpose] for part in parts) / total_j:.0%}"
            for purpose in ("loading", "warmup", "evaluation")
        ),
        f"{np.mean([len(search.steps) for search in searches]):.1f}",
        f"{wall_s / len(of):.0f} s",
        f"{1 - sum(search.metered_s for search in searches) / wall_s:.0%}",
        f"{np.mean([search.cpu_s for search in searches]):.0f} s",
        f"{geometric([each.final for each in of]):.3f}",
        f"{max(each.final for each in of):.3f}",
    )


def _ratio_row(method: str, ours: str, runs: Sequence[Mapping[str, Judged]]) -> tuple[str, ...]:
    cells = []
    for index in range(len(WITHIN)):
        logs = np.log([run[method].good_j[index] / run[ours].good_j[index] for run in runs])
        low, high = interval(logs)
        cells.append(f"{math.exp(logs.mean()):.2f}x ({low:.2f}-{high:.2f})")
    return (method, *cells)


# The command -------------------------------------------------------------------------------------


def run_seed(args: argparse.Namespace, common: Sequence[str], seed: int) -> dict[str, Judged]:
    """All methods by one seed, one after the other; who is first changes from seed to seed."""
    first = seed % len(args.methods)
    asked = [*SPACE, f"n_trials={args.trials}", f"seed={seed}"]
    asked += [f"objective={args.objective}"] if args.objective else []
    searches = {}
    for method in (*args.methods[first:], *args.methods[:first]):
        with tempfile.TemporaryDirectory() as made:
            finished = search([*common, *asked, *words_of(method)], Path(made))
        searches[method] = finished
        spent_j = finished.study.search_energy_j
        print(f"seed {seed}, {method}: {spent_j:.4g} J in {finished.wall_s:.0f} s", flush=True)
    setups = {setup for search in searches.values() for setup in search.recommended() if setup}
    energy_j = {}
    for setup in sorted(setups):
        energy_j[setup] = train_again(setup, common, args.again)
        print(f"  trained again, {' '.join(setup)}: {energy_j[setup]:.3g} J", flush=True)
    return judged({method: searches[method] for method in args.methods}, energy_j)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=["joule", "tpe:stopping=none"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--again", type=int, default=5, help="trainings that say how good one is")
    parser.add_argument("--objective", help="the usual one by default")
    parser.add_argument("--hardware", help="what the machine has by default")
    parser.add_argument("--words", nargs="+", default=[], help="words for all trainings")
    args = parser.parse_args()
    if min(args.seeds, args.trials, args.again) < 1:
        parser.error("--seeds, --trials and --again are at least 1")
    common = [*args.words, *([f"hardware={args.hardware}"] if args.hardware else [])]
    runs = [run_seed(args, common, seed) for seed in range(args.seeds)]
    print(f"\nJoules: {next(iter(runs[0].values())).search.study.provenance}")
    show(runs)


if __name__ == "__main__":
    main()
