"""`energyopt summarize`: print and write the summary of an experiment."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import command_parser, spare_cpu
from energyopt.errors import ConfigError


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "summarize",
        "What an experiment found: its table, with intervals and what missed its target. Writes "
        "the table, a figure, csv, json, and the trainings that they are computed from.",
        [
            "power_of_training",
            "power_of_training --out results",
            "--from studies/paradigms",
            "paradigms --against studies/paradigms",
            "paradigms --against studies/paradigms --margin 1.1",
            "--machines server/power_of_training laptop/summary",
        ],
    )
    command.add_argument("name", nargs="?", help="the experiment, or the study=name it was given")
    command.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="a folder that this command has written, instead of studies",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write to it (default: studies/summaries/NAME)"
    )
    command.add_argument("--force", action="store_true", help="overwrite the files in --out")
    command.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="a folder of the same experiment, run before: test whether the energies of the same "
        "configurations are equivalent (exit code 1 if they are not shown to be, or nothing is "
        "compared)",
    )
    command.add_argument(
        "--machines",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of the same grid from several machines, written by this command or by "
        "`energyopt export`: one table of cells and machines, and whether their ranks agree",
    )
    command.add_argument(
        "--margin",
        type=_margin,
        default=1.25,
        metavar="RATIO",
        help="with --against: energies are alike within this factor (default: 1.25, by which "
        "single runs vary on a busy machine)",
    )
    return command


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 1 < margin < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio above 1, such as 1.25")
    return margin


def run(args: argparse.Namespace) -> None:
    """Print the summary of an experiment, write its files, and compare it with an older run.

    Raises:
        ConfigError: If not exactly one of NAME, --from and --machines is given.
    """
    if args.machines is not None:
        _compare_machines(args)
        return
    if (args.name is None) == (args.folder is None):
        raise ConfigError("summarize takes the NAME of an experiment, --from DIR or --machines DIR")
    spare_cpu()
    from energyopt.experiments import reproduction
    from energyopt.experiments.collect import gather, summary_dir
    from energyopt.experiments.rows import read_raw
    from energyopt.experiments.summary import show_and_write, summarize

    older = None if args.against is None else summarize(read_raw(args.against))
    if args.folder is not None:
        raw, out, force = read_raw(args.folder), args.out, args.force
    else:
        raw = gather(args.name, args.storage)
        out = summary_dir(args.name) if args.out is None else args.out
        force = args.force or args.out is None
    console = Console()
    summary = show_and_write(raw, out, console, force=force)
    if older is not None:
        comparison = reproduction.compare(older, summary, args.margin)
        console.print(reproduction.screen(comparison, str(args.against)))
        sys.exit(0 if comparison.finding == "equivalent" else 1)


def _compare_machines(args: argparse.Namespace) -> None:
    """Print the table of several machines, and write it if a folder is given."""
    if (args.name, args.folder, args.against) != (None, None, None):
        raise ConfigError("--machines compares its own folders: leave out NAME, --from, --against")
    if len(args.machines) < 2:  # noqa: PLR2004  # two machines are compared
        raise ConfigError("--machines takes two folders or more")
    spare_cpu()
    from energyopt.experiments import machines

    comparison = machines.compare_machines(args.machines)
    console = Console()
    console.print(machines.screen(comparison))
    if args.out is not None:
        for path in machines.write(comparison, args.out, force=args.force):
            console.print(str(path))
    sys.exit(0 if comparison.is_compared else 1)
