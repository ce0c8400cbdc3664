"""`energyopt retrain`: train a configuration of a study again and save its model."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from energyopt.cli.commands._arguments import add_study, add_target, command_parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of `energyopt retrain`."""
    command = command_parser(
        "retrain",
        "Train the answer of a study, or another configuration of it, report its test value, and "
        "keep the model. What reached the target is trained up to it. Further words override the "
        "configuration.",
        [
            "demo --out model.safetensors",
            "demo --trial 7 --seed 1",
            "demo objective=energy_vs_accuracy",
        ],
    )
    add_study(command)
    command.add_argument(
        "overrides", nargs="*", default=[], help="key=value words, as for a training"
    )
    command.add_argument(
        "--trial", type=int, metavar="N", help="another trial (default: the answer)"
    )
    add_target(command, "reach")
    command.add_argument("--seed", type=int, metavar="N", help="another seed than the study's")
    command.add_argument("--out", type=Path, metavar="FILE", help="keep the model (.safetensors)")
    command.add_argument("--force", action="store_true", help="overwrite FILE")
    command.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="folder of your own configs"
    )
    return command


def run(args: argparse.Namespace) -> None:
    """Train one configuration of the study again, and save its model if --out is given."""
    from energyopt.storage.exchange.reader import study_at
    from energyopt.workflows.retrain import RetrainRequest, retrain

    request = RetrainRequest(
        overrides=tuple(args.overrides),
        trial=args.trial,
        target=args.target,
        seed=args.seed,
        out=args.out,
        force=args.force,
        config_dir=args.config_dir,
    )
    retrain(study_at(args.storage, args.study), request, Console())
