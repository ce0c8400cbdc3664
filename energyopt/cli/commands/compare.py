"""`energyopt compare`: show studies side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_json,
    add_target,
    command_parser,
    print_json,
    spare_cpu,
)
from energyopt.errors import ConfigError


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "compare",
        "Studies side by side: the recommended configuration of each, its energy to the target, "
        "the metric, the energy of the search, the hardware and where the joules come from. "
        "Joules of different meters do not compare, and are refused.",
        [
            "demo longer",
            "demo results/exported --target 0.9 --out compared.svg",
            "laptop server --mixed",
        ],
    )
    command.add_argument(
        "studies", nargs="+", metavar="study", help="a study's name, or the folder of an export"
    )
    add_target(command, "look at")
    command.add_argument("--out", type=Path, metavar="FILE", help="a figure: .svg, .png or .html")
    command.add_argument("--force", action="store_true", help="overwrite FILE")
    command.add_argument(
        "--mixed", action="store_true", help="show joules of different meters side by side"
    )
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the studies side by side, and write their figure.

    Raises:
        ConfigError: If there are fewer than two, or their joules come from different meters.
    """
    if len(args.studies) < 2:  # noqa: PLR2004  # two are compared
        raise ConfigError("compare takes two studies or more, such as `energyopt compare a b`")
    spare_cpu()
    from energyopt.analysis.comparison import compared
    from energyopt.analysis.pareto import check_target
    from energyopt.report.comparison_view import (
        check_format,
        check_meters,
        comparison_data,
        comparison_notes,
        comparison_view,
    )
    from energyopt.storage.exchange.reader import study_at

    if args.out is not None:
        check_format(args.out)
    studies = [study_at(args.storage, name) for name in args.studies]
    for study in studies:
        check_target(study, args.target)
    if not args.mixed:
        check_meters(studies)
    names = [study.name for study in studies]
    labels = names if len(set(names)) == len(names) else args.studies
    rows = [
        compared(label, study, args.target) for label, study in zip(labels, studies, strict=True)
    ]
    if args.json:
        print_json("compare", comparison_data(rows))
    else:
        Console().print(comparison_view(rows))
    if args.out is not None:
        from energyopt.report.html.comparison_figure import write_comparison

        write_comparison(rows, comparison_notes(rows), args.out, force=args.force)
        Console(stderr=args.json).print(str(args.out), highlight=False, soft_wrap=True)
