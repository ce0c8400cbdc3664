"""Say which setup of a study is expected to be the cheapest."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_study,
    add_target,
    collect_nothing,
    command_parser,
    share,
)


def parser() -> argparse.ArgumentParser:
    """The words that it takes."""
    made = command_parser(
        "recommend",
        "The setup of a study that is expected to reach the target with the least energy. Unlike "
        "the cheapest training it need not have been lucky: what others say of it counts, too. "
        "Each setup comes with the probability that no other is better by more than --within.",
        ["demo", "demo --target 0.9", "demo --within 0.1 --json | jq '.setups[0].overrides'"],
    )
    add_study(made)
    add_target(made, "reach")
    made.add_argument(
        "--within",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="how much dearer than the best is as good (default: 0.05)",
    )
    made.add_argument("--json", action="store_true", help="one JSON object, for programs")
    return made


def run(args: argparse.Namespace) -> None:
    """Run it."""
    collect_nothing()
    from energyopt.report.recommendation_view import advised, recommended_data, recommended_screen
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    found, target = advised(study, args.target, within=args.within)
    if args.json:
        data = recommended_data(study, found, target, args.within)
        sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")
        return
    screen = recommended_screen(study, found, target, args.within)
    Console().print(screen, crop=False, soft_wrap=False)  # a command must stay whole
