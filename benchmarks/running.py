"""Shared by the benchmarks of searches: options, running many searches, writing tables."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from energyopt.errors import ConfigError

Task = TypeVar("Task")
Done = TypeVar("Done")
_MOST_AT_A_TIME = 8


def run_all(run: Callable[[Task], Done], tasks: Sequence[Task], jobs: int) -> list[Done]:
    """Run all tasks, several at a time; the answers in their order."""
    if jobs == 1:
        return list(map(run, tasks))
    chunk = max(1, min(_MOST_AT_A_TIME, len(tasks) // (_MOST_AT_A_TIME * jobs)))
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(run, tasks, chunksize=chunk))


def split_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return a method's name without its own options, and these: `name:key=value,key=value`."""
    plain, _, own = name.partition(":")
    return plain, options_of(filter(None, own.split(",")))


def options_of(words: Iterable[str]) -> dict[str, Any]:
    """Options, from KEY=VALUE.

    Raises:
        ConfigError: If a word is none.
    """
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"{word} is no KEY=VALUE, such as --set pause=false")
        options[key] = yaml.safe_load(value)
    return options


def write(path: Path, kind: Any, rows: Iterable[Any]) -> None:
    """Write one row a search.

    Args:
        path: The file.
        kind: The class of the rows, for the columns.
        rows: Dataclass instances.
    """
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([field.name for field in fields(kind)])
        out.writerows(astuple(row) for row in rows)


def parse(
    parser: argparse.ArgumentParser, methods: Sequence[str], says: str, seeds: int
) -> argparse.Namespace:
    """Add the options that all have, and read the command line.

    Args:
        parser: With its own options.
        methods: Run if none are named.
        says: Which there are.
        seeds: Searches a method and problem.
    """
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--methods", nargs="+", default=list(methods), help=says)
    parser.add_argument("--seeds", type=int, default=seeds, help="searches a method and problem")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="options of the methods"
    )
    parser.add_argument("--out", type=Path, help="a table of all searches")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    args = parser.parse_args()
    if args.seeds < 1 or args.jobs < 1:
        parser.error("--seeds and --jobs are at least 1")
    return args
