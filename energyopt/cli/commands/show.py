"""Say again what a study found."""

from __future__ import annotations

import argparse

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_reuse,
    add_study,
    add_target,
    collect_nothing,
    command_parser,
)


def parser() -> argparse.ArgumentParser:
    """The words that it takes."""
    made = command_parser(
        "show",
        "What a study found and what it cost: the summary that its run ended with.",
        ["demo", "demo --target 0.9", "demo --reuse 300"],
    )
    add_study(made)
    add_target(made, "look at")
    add_reuse(made)
    return made


def run(args: argparse.Namespace) -> None:
    """Run it."""
    collect_nothing()
    from energyopt.analysis.summary import summarize
    from energyopt.report.tables import summary_panel
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    summary = summarize(study, args.target, reuse=args.reuse)
    Console().print(summary_panel(summary), crop=False)  # a command must stay whole
