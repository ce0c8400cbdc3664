"""`energyopt export`: write a study to a folder of plain files."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import command_parser, spare_cpu


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "export",
        "Write all of a study into a folder of plain files: JSON that `energyopt import` reads "
        "back, and tables for pandas. show, pareto and recommend take the folder in place of a "
        "name. Folders of paths, hosts, users and passwords are left out. docs/exports.md "
        "describes the files.",
        ["demo", "demo --out results/demo --force"],
    )
    command.add_argument("study", help="the study's name")
    command.add_argument("--out", type=Path, metavar="DIR", help="where to (default: STUDY-export)")
    command.add_argument("--force", action="store_true", help="replace an export that is there")
    return command


def run(args: argparse.Namespace) -> None:
    """Write the study to a folder, and print how many trials that were."""
    spare_cpu()
    from energyopt.report.console import say
    from energyopt.report.export.study_folder import write_folder
    from energyopt.storage.exchange.plain import plain_study
    from energyopt.storage.identity import file_name

    out = Path(f"{file_name(args.study)}-export") if args.out is None else args.out
    study = write_folder(plain_study(args.storage, args.study), out, force=args.force)
    say(Console(), f"{out}: {len(study.trials)} trials")
