"""Measure what a study costs in addition to its training: whole processes, trivial jobs (x**2).

    python benchmarks/overhead.py [--jobs 100] [--repeat 3]

Compares Hydra's own sweeper, ours as a plugin in the same app, and bare Optuna; and the
start-up of `python -m energyopt --help` with that of the app. CPU time is user + system of
the process and all its children. The programs take turns, since machines have moods; each
number is the best of its repeats.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "zeus", "optuna", "sklearn", "sqlalchemy", "numpy")
START_UP_GOAL = 2.0
START_UPS = 5

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(cfg):
    return float(cfg.x) ** 2

from hydra.core.config_store import ConfigStore
ConfigStore.instance().store("config", {"x": 0})
main()
"""

OPTUNA = """
import sys
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(
    storage=f"sqlite:///{sys.argv[2]}", sampler=optuna.samplers.RandomSampler()
)
for _ in range(int(sys.argv[1])):
    trial = study.ask()
    study.tell(trial, trial.suggest_float("x", 0, 100) ** 2)
"""


@dataclass(frozen=True)
class Cost:
    """The cost of a process, in s."""

    wall_s: float
    cpu_s: float


def environment() -> dict[str, str]:
    """Return this program; a bare checkout is put on the path of its Python."""
    if importlib.util.find_spec("energyopt"):
        return dict(os.environ)
    paths = [str(ROOT), str(ROOT / "energyopt" / "_hydra"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(words: Sequence[str], folder: Path) -> Cost:
    """Run a Python program to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def best(programs: Mapping[str, Sequence[str]], repeat: int) -> dict[str, Cost]:
    """Return the least that each program costs in some runs, each in a folder of its own."""
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for _ in range(repeat):
        for name, words in programs.items():
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made)
                (folder / "app.py").write_text(APP)
                (folder / "bare.py").write_text(OPTUNA)
                costs[name].append(run(words, folder))
    return {
        name: Cost(min(cost.wall_s for cost in of), min(cost.cpu_s for cost in of))
        for name, of in costs.items()
    }


def sweeps(jobs: int) -> dict[str, list[str]]:
    """Return the programs to compare, by name; the first is the yardstick."""
    ours = [
        *("app.py", "-m", "hydra/sweeper=energyopt", "hydra/launcher=energyopt"),
        *("hydra/sweeper/sampler=random", "hydra.sweeper.storage=study.db"),
        *(f"hydra.sweeper.n_trials={jobs}", "x=interval(0,100)"),
    ]
    return {
        "Hydra, basic sweeper": ["app.py", "-m", f"x=range(0,{jobs})"],
        "energyopt, n_jobs=1": [*ours, "hydra.sweeper.n_jobs=1"],
        "energyopt, n_jobs=2": [*ours, "hydra.sweeper.n_jobs=2"],
        "Optuna, bare": ["bare.py", str(jobs), "study.db"],
    }


def compare_sweeps(jobs: int, repeat: int) -> None:
    """Print the cost of a job under each sweeper."""
    print(f"{jobs} jobs, best of {repeat}:")
    costs = best(sweeps(jobs), repeat)
    yardstick = next(iter(costs.values()))
    for name, cost in costs.items():
        print(
            f"  {name:22} {cost.wall_s / jobs:.4f} s/job wall, {cost.cpu_s / jobs:.4f} s/job CPU, "
            f"{cost.wall_s / yardstick.wall_s:.2f}x wall, {cost.cpu_s / yardstick.cpu_s:.2f}x CPU"
        )


def compare_start_ups() -> bool:
    """Print how long `--help` takes; whether it is as fast and light as we want."""
    programs = {"ours": ["-m", "energyopt", "--help"], "bare": ["app.py", "--help"]}
    costs = best(programs, START_UPS)
    ours, bare = costs["ours"], costs["bare"]
    ratio = ours.wall_s / bare.wall_s
    print(
        f"--help, best of {START_UPS}: energyopt {ours.wall_s:.3f} s, a bare Hydra app "
        f"{bare.wall_s:.3f} s, ratio {ratio:.2f} (goal: {START_UP_GOAL:g})"
    )
    heavy = heavy_imports()
    print(f"--help imports {', '.join(heavy) or 'none'} of {', '.join(HEAVY)}")
    return ratio <= START_UP_GOAL and not heavy


def heavy_imports() -> list[str]:
    """Return the heavy packages that `--help` imports, of which there should be none."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "energyopt", "--help"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in imported]


def main() -> None:
    """Run what the command line asks for; exit code 1 if a goal of the start-up is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    compare_sweeps(options.jobs, options.repeat)
    sys.exit(not compare_start_ups())


if __name__ == "__main__":
    main()
