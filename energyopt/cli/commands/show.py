"""`energyopt show`: print the summary of a study."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_reuse,
    add_study,
    add_target,
    command_parser,
    disable_gc,
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `energyopt show`."""
    command = command_parser(
        "show",
        "What a study found and what it cost: the summary that its run ended with.",
        ["demo", "demo --target 0.9", "demo --reuse 300"],
    )
    add_study(command)
    add_target(command, "look at")
    add_reuse(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the summary of the study."""
    disable_gc()
    from energyopt.analysis.summary import summarize
    from energyopt.report.tables import summary_panel
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    summary = summarize(study, args.target, reuse=args.reuse)
    Console().print(summary_panel(summary), crop=False)  # a command must stay whole
