"""`energyopt report`: write the HTML report of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_reuse,
    add_study,
    add_target,
    command_parser,
    number,
    spare_cpu,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "report",
        "What a study found, as one HTML page that needs no network, with its figures (SVG) and "
        "tables (CSV) in the same folder.",
        ["demo", "demo --target 0.9 --out demo-report", "demo --pue 1.2 --carbon-g-per-kwh 380"],
    )
    add_study(command)
    add_target(command, "look at")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write to it (default: studies/STUDY/report)"
    )
    command.add_argument("--force", action="store_true", help="write into a DIR that is not empty")
    command.add_argument(
        "--over",
        nargs=2,
        metavar=("ACROSS", "DOWN"),
        help="parameters of the map of energy (default: two that were searched on a grid)",
    )
    add_reuse(command)
    derived = command.add_argument_group(
        "derived numbers",
        "constants of yours, applied to the joules; nothing is looked up. A search that was told "
        "report.pue and its like (in its config, or as words) has them as defaults",
    )
    derived.add_argument(
        "--pue",
        type=number,
        metavar="X",
        help="energy of the data centre over that of its computers, at least 1 (default: 1)",
    )
    derived.add_argument(
        "--carbon-g-per-kwh", type=number, metavar="G", help="greenhouse gas of a kWh, in gCO2e"
    )
    derived.add_argument("--price-per-kwh", type=number, metavar="P", help="price of a kWh")
    derived.add_argument("--currency", metavar="NAME", help="what it is in (default: EUR)")
    return command


def run(args: argparse.Namespace) -> None:
    """Write the HTML report of the study, with its figures and tables."""
    spare_cpu()
    from energyopt.analysis.cost_factors import Factors
    from energyopt.analysis.pareto import check_target
    from energyopt.report.console import say
    from energyopt.report.html.sections import report
    from energyopt.report.html.write import check_empty, report_dir, write_report
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    check_target(study, args.target)
    factors = Factors.of(study.plans, vars(args))
    folder = report_dir(study.name) if args.out is None else args.out
    force = args.force or args.out is None
    check_empty(folder, force=force)
    content = report(study, args.target, reuse=args.reuse, factors=factors, over=args.over)
    page = write_report(content, folder, force=force, remove_older=args.out is None)
    counts = f"{len(content.figures)} figures and {len(content.grids)} tables beside it"
    say(Console(), f"{page}  ({counts})")
