"""`energyopt import`: read an exported study back into a database."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import command_parser, spare_cpu


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "import",
        "Read a study that `energyopt export` wrote into a database, which is created if there is "
        "none: all of it or nothing. The overrides that it was created with continue it there.",
        ["demo-export", "demo-export --study theirs --storage other.db"],
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="the exported study")
    command.add_argument("--study", metavar="NAME", help="its new name (default: the one it had)")
    return command


def run(args: argparse.Namespace) -> None:
    """Insert the exported study into the storage."""
    spare_cpu()
    from energyopt.report.console import say
    from energyopt.storage.exchange.importer import import_study

    with Console(stderr=True).status(f"reading {args.folder} ..."):
        study = import_study(args.folder, args.storage, args.study)
    text = f"study {args.study or study.name}: {len(study.trials)} trials from {args.folder}"
    say(Console(), text)
