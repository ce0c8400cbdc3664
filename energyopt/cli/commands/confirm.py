"""`energyopt confirm`: compare the best configurations of a study over new seeds."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_config_dir,
    add_target,
    command_parser,
    positive_int,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "confirm",
        "Train the best configurations of a study and its default again, with seeds that its "
        "search has not used: the same ones for all, one seed after the other. It names a winner "
        "only where the 95 % interval of the ratio of energies excludes 1, and reports the test "
        "value. Its energy counts as the study's search energy. Stopped, it resumes where it "
        "was; more --seeds add to those before.",
        ["demo", "demo --seeds 10 --top 1", "demo --target 0.9"],
    )
    command.add_argument("study", help="the study's name")
    command.add_argument(
        "overrides", nargs="*", default=[], help="overrides that change all configurations"
    )
    command.add_argument(
        "--seeds",
        type=positive_int,
        default=5,
        metavar="N",
        help="trainings a configuration (default: 5)",
    )
    command.add_argument(
        "--top",
        type=positive_int,
        default=3,
        metavar="N",
        help="configurations in addition to the default (default: 3)",
    )
    add_target(command, "reach")
    add_config_dir(command)
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
