"""`energyopt studies`: list the studies of a storage."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import add_json, command_parser, print_json, spare_cpu


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "studies", "List the studies of a storage.", ["", "--json | jq '.studies[].study'"]
    )
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print a table of all studies in the storage."""
    spare_cpu()
    from energyopt.report.json_data import studies_data
    from energyopt.report.tables import studies_table
    from energyopt.storage.reader import read_studies

    studies = read_studies(args.storage)
    if args.json:
        print_json("studies", studies_data(studies))
        return
    Console().print(studies_table(studies))
