"""`energyopt recommend`: find the configuration with the lowest expected energy."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_json,
    add_study,
    add_target,
    command_parser,
    print_json,
    share,
    spare_cpu,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "recommend",
        "All configurations of a study by the energy to the target that is expected of them, the "
        "answer first. Unlike the cheapest training, that does not depend on one seed: similar "
        "trainings count, too. Each configuration comes with the probability that no other is "
        "better by more than --within.",
        ["demo", "demo --target 0.9", "demo --within 0.1 --json | jq '.setups[0].overrides'"],
    )
    add_study(command)
    add_target(command, "reach")
    command.add_argument(
        "--within",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="how much more energy than the best is as good (default: 0.05)",
    )
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the recommended configurations, as a table or as JSON."""
    spare_cpu()
    from energyopt.analysis.pareto import check_target
    from energyopt.report.recommendation_view import (
        rank_setups,
        ranking_view,
        recommendation_data,
    )
    from energyopt.report.study_output import print_answer, storage_options
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    check_target(study, args.target)
    ranked, summary = rank_setups(study, args.target, within=args.within)
    if args.json:
        print_json("recommend", recommendation_data(study, ranked, summary, args.within))
        return
    console = Console()
    console.print(ranking_view(study, ranked, summary, args.within))
    print_answer(console, study, summary, storage_options(args.storage), args.study)
