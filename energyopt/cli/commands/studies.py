"""`energyopt studies`: list the studies of a storage."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import command_parser, spare_cpu


def parser() -> argparse.ArgumentParser:
    return command_parser("studies", "List the studies of a storage.", [""])


def run(args: argparse.Namespace) -> None:
    """Print a table of all studies in the storage."""
    spare_cpu()
    from energyopt.report.tables import studies_table
    from energyopt.storage.reader import read_studies

    Console().print(studies_table(read_studies(args.storage)))
