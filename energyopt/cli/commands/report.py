"""`energyopt report`: write the HTML report of a study."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
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
from energyopt.core.study_record import StudyRecord

_RELOAD_S = 10
_WATCH_SHARE = 0.05  # of the time of a study that runs on the same machine


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
    command.add_argument(
        "--watch",
        action="store_true",
        help="write it again while the study changes, until Ctrl-C; the page reloads itself",
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
    folder = report_dir(study.name) if args.out is None else args.out
    check_empty(folder, force=args.force or args.out is None)

    def write(study: StudyRecord, *, reload_s: int | None = None) -> None:
        factors = Factors.of(study.plans, vars(args))
        content = report(study, args.target, reuse=args.reuse, factors=factors, over=args.over)
        content = replace(content, reload_s=reload_s)
        page = write_report(content, folder, force=True, remove_older=args.out is None)
        counts = f"{len(content.figures)} figures and {len(content.grids)} tables beside it"
        say(Console(), f"{page}  ({counts})")

    if args.watch:
        _watch(study, lambda: study_at(args.storage, args.study), write)
    else:
        write(study)


def _watch(study: StudyRecord, read: Callable[[], StudyRecord], write: Callable[..., None]) -> None:
    """Write a report when its study has changed, until interrupted; it takes little of the time."""
    try:
        while True:
            began_s = time.monotonic()
            write(study, reload_s=_RELOAD_S)
            written = study
            while study == written:
                took_s = time.monotonic() - began_s
                time.sleep(max(_RELOAD_S, took_s / _WATCH_SHARE))
                began_s, study = time.monotonic(), read()
    except KeyboardInterrupt:
        write(read())  # the last state, in a page that does not reload any more
