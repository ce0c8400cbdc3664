"""List the studies of a storage."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import collect_nothing, command_parser


def parser() -> argparse.ArgumentParser:
    """The words that it takes."""
    return command_parser("studies", "List the studies of a storage.", [""])


def run(args: argparse.Namespace) -> None:
    """Run it."""
    collect_nothing()
    from energyopt.report.tables import studies_table, study_row
    from energyopt.storage.reader import read_studies

    Console().print(studies_table(study_row(study) for study in read_studies(args.storage)))
