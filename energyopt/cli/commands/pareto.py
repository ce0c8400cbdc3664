"""`energyopt pareto`: print or write the Pareto front of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_json,
    add_reuse,
    add_study,
    command_parser,
    metric_value,
    print_json,
    spare_cpu,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "pareto",
        "The front of a study: configurations that no other beats in both energy and the metric. "
        "Each point comes with the overrides that reproduce it.",
        ["demo", "demo --target 0.9", "demo --out front.csv", "demo --points final --out f.json"],
    )
    add_study(command)
    command.add_argument(
        "--points",
        choices=("curve", "final"),
        default="curve",
        help="curve: all checkpoints of all trials, each a point to stop at; final: energy "
        "to target and best value of the trials that reached it (default: curve)",
    )
    command.add_argument(
        "--target", type=metric_value, metavar="VALUE", help="only points at this value or better"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write to a .csv, .json or .md file"
    )
    command.add_argument("--force", action="store_true", help="overwrite FILE")
    add_reuse(command)
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the Pareto front of the study, or write it to a file."""
    spare_cpu()
    from energyopt.analysis.pareto import check_target, curve_front, final_front, front_of
    from energyopt.analysis.summary import summarize
    from energyopt.core.metric import ACCURACY
    from energyopt.report.answer_view import answer_text
    from energyopt.report.console import say
    from energyopt.report.export.front_file import write_front
    from energyopt.report.json_data import front_data
    from energyopt.report.tables import front_table
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    check_target(study, args.target)
    monitor = study.monitor
    points = (curve_front if args.points == "curve" else final_front)(study)
    description = front_of(points, study)
    if args.target is not None:
        points = tuple(point for point in points if monitor.reaches(point.accuracy, args.target))
        wording = "from accuracy" if monitor == ACCURACY else monitor.at_or_better
        description += f", {wording} {args.target:g}"
    console = Console(stderr=args.json)
    if args.json:
        print_json("pareto", front_data(points, study, description))
    elif args.out is None:
        summary = summarize(study, args.target, reuse=args.reuse)
        table = front_table(
            points,
            description,
            study=study.name,
            answer=summary.recommended,
            monitor=monitor,
            limit=None,
        )
        console.print(table)
        for line in answer_text(summary).lines:
            say(console, line)
    if args.out is None:
        return
    write_front(points, study, args.out, force=args.force)
    console.print(
        f"{args.out}: {len(points)} points, {description}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
