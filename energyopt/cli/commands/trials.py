"""`energyopt trials`: list the trials of a study."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from energyopt.cli.commands._arguments import (
    add_json,
    add_study,
    add_target,
    command_parser,
    print_json,
    spare_cpu,
)


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "trials",
        "The trials of a study, one a line: state, configuration, best value of the metric, energy "
        "to the target (or what came instead), epochs and seed.",
        [
            "demo",
            "demo --sort energy",
            "demo --sort accuracy --reverse --filter complete",
            "demo --filter 'lr<0.01' --filter model=mlp",
            "demo --json | jq '.trials[].energy_to_target_j'",
        ],
        notes="keys:\n"
        "  number, state, outcome, metric or its name, energy (J), time (s), spent (J),\n"
        "  epochs, seed, and each searched key. Trials without a value come last.",
    )
    add_study(command)
    add_target(command, "look at")
    command.add_argument("--sort", metavar="KEY", default="number", help="default: number")
    command.add_argument("--reverse", action="store_true", help="the largest first")
    command.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITION",
        help="a state, an outcome (reached, missed, stopped, failed, lost), or a comparison of a "
        "key with <, <=, >, >=, = or !=; of several all must hold",
    )
    add_json(command)
    return command


def run(args: argparse.Namespace) -> None:
    """Print the trials of the study that meet all conditions, in the order asked for."""
    spare_cpu()
    from energyopt.analysis.pareto import check_target
    from energyopt.report.json_data import head_data, trial_data
    from energyopt.report.trial_list import Row, TrialKeys
    from energyopt.storage.exchange.reader import study_at

    study = study_at(args.storage, args.study)
    check_target(study, args.target)
    target = study.target if args.target is None else args.target
    rows: Sequence[Row] = [trial_data(study, trial, target) for trial in study.trials]
    keys = TrialKeys(rows, study.monitor)
    n_all = len(rows)
    for condition in args.filter:
        rows = keys.filtered(rows, condition)
    rows = keys.sorted(rows, args.sort, reverse=args.reverse)
    if args.json:
        print_json("trials", {**head_data(study, target), "trials": rows})
        return
    from energyopt.report.console import say
    from energyopt.report.sentences import source
    from energyopt.report.tables import trials_table

    console = Console()
    if rows:
        console.print(trials_table(rows, study.monitor))
    note = f"{len(rows)} of {n_all} trials"
    note += "" if target is None else f", to {target:g}"
    note += "" if study.provenance is None else f"; joules are {source(study.provenance)}"
    say(console, note, style="dim")
