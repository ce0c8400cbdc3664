"""`energyopt confirm`: compare the best configurations of a study over new seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import add_target, command_parser, positive_int


def parser() -> argparse.ArgumentParser:
    """Return the parser of `energyopt confirm`."""
    command = command_parser(
        "confirm",
        "Train the best setups of a study and its default again, with seeds that its search has "
        "not seen: the same ones for all, one seed after the other. It says who wins only where "
        "the 95 % interval of the ratio of their energies excludes 1, and reports test accuracy. "
        "What it burns counts as the study's search energy. Stopped, it goes on where it was; "
        "more --seeds add to those before.",
        ["demo", "demo --seeds 10 --top 1", "demo --target 0.9"],
    )
    command.add_argument("study", help="the study's name")
    command.add_argument("overrides", nargs="*", help="key=value words that change all setups")
    command.add_argument(
        "--seeds", type=positive_int, default=5, metavar="N", help="trainings a setup (default: 5)"
    )
    command.add_argument(
        "--top",
        type=positive_int,
        default=3,
        metavar="N",
        help="setups beside the default (default: 3)",
    )
    add_target(command, "reach")
    command.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="folder of your own configs"
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Retrain the best configurations and the default with new seeds, and compare them."""
    from energyopt.workflows.confirm import ConfirmRequest, confirm

    request = ConfirmRequest(
        seeds=args.seeds,
        top=args.top,
        target=args.target,
        overrides=tuple(args.overrides),
        config_dir=args.config_dir,
    )
    confirm(args.storage, args.study, request, Console())
