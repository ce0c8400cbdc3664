"""`energyopt show`: print the summary of a study, or the record of one run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_json,
    add_reuse,
    add_study,
    add_target,
    command_parser,
    print_json,
    spare_cpu,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "show",
        "The answer of a study, as its run ended with it: what to train with, how sure that is, "
        "and when the search pays back. --all adds the front, all accounts and how it was "
        "measured.",
        [
            "demo",
            "demo --all",
            "demo --target 0.9",
            "demo --planned-trainings 300",
            "outputs/train/2026-01-31/12-00-00",
            "demo --json | jq .answer",
        ],
    )
    add_study(command)
    add_target(command, "look at")
    add_reuse(command)
    command.add_argument("--all", action="store_true", help="everything that is known of it")
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the summary of the study, or of the run whose folder is given."""
    spare_cpu()
    from energyopt.core.journal import NAME

    if (Path(args.study) / NAME).is_file():
        _show_run(Path(args.study), args.target, as_json=args.json)
        return
    from energyopt.analysis.pareto import check_target
    from energyopt.analysis.summary import summarize
    from energyopt.report.study_output import print_answer, storage_options
    from energyopt.report.tables import summary_panel
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    check_target(study, args.target)
    summary = summarize(study, args.target, reuse=args.reuse)
    if args.json:
        from energyopt.report.json_data import show_data

        print_json("show", show_data(study, summary))
    elif args.all or summary.target is None:
        Console().print(summary_panel(summary), crop=False)
    else:
        print_answer(Console(), study, summary, storage_options(args.storage), args.study)


def _show_run(folder: Path, target: float | None, *, as_json: bool) -> None:
    """Print the record of a run that a program of the user's own left in a folder."""
    from energyopt.core.journal import read_result
    from energyopt.errors import StudyError
    from energyopt.workflows.train import print_result

    result = read_result(folder)
    if result is None:
        raise StudyError(f"the run in {folder} ended before anything was measured")
    if result.end == "lost":
        reason = "unless it is still training: its record has no end yet"
        result = replace(result, reason=reason)
    if target is not None:
        result = replace(result, start=replace(result.start, target=target))
    if as_json:
        from energyopt.report.json_data import run_data

        print_json("show", run_data(result))
        return
    print_result(result, Console())
