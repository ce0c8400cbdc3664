"""The commands: what one types after a study."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from energyopt.errors import ConfigError
from energyopt.store import DEFAULT_STORAGE


def run(words: Sequence[str]) -> None:
    """Run a command.

    Args:
        words: The command's name and its arguments.

    Raises:
        EnergyoptError: In a sentence, what is wrong.
    """
    name, *rest = words
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}; "
            f"to set a config key write {name}=value"
        )
    COMMANDS[name](rest)


class _Parser(argparse.ArgumentParser):
    """Raises its complaints, so that they are said like all others."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def _parser(name: str, description: str, examples: Sequence[str]) -> _Parser:
    parser = _Parser(
        prog=f"energyopt {name}",
        description=description,
        epilog="examples:\n" + "\n".join(f"  energyopt {name} {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--storage",
        metavar="FILE_OR_URL",
        default=os.environ.get("ENERGYOPT_STORAGE", DEFAULT_STORAGE),
        help=f"where studies are (default: ENERGYOPT_STORAGE, else {DEFAULT_STORAGE})",
    )
    return parser


def _accuracy(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no accuracy above 0 and at most 1")
    return value


def _studies(words: Sequence[str]) -> None:
    parser = _parser("studies", "List the studies of a storage.", [""])
    args = parser.parse_args(words)
    from energyopt.report.tables import studies_table, study_row
    from energyopt.store.studies import read_studies

    Console().print(studies_table(study_row(study) for study in read_studies(args.storage)))


def _show(words: Sequence[str]) -> None:
    parser = _parser(
        "show",
        "What a study found and what it cost: the summary that its run ended with.",
        ["demo", "demo --target 0.9"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument(
        "--target", type=_accuracy, help="accuracy to look at (default: the study's)"
    )
    args = parser.parse_args(words)
    from energyopt.report.summary import summarize
    from energyopt.report.tables import summary_panel
    from energyopt.store.studies import read_study

    summary = summarize(read_study(args.storage, args.study), args.target)
    Console().print(summary_panel(summary), crop=False)  # a command must stay whole


def _pareto(words: Sequence[str]) -> None:
    parser = _parser(
        "pareto",
        "The front of a study: setups that no other beats in both energy and accuracy. Each "
        "point comes with the overrides that reproduce it.",
        ["demo", "demo --target 0.9", "demo --out front.csv", "demo --points final --out f.json"],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument(
        "--points",
        choices=("curve", "final"),
        default="curve",
        help="curve: all checkpoints of all trials, each a setup one could stop at; final: energy "
        "to target and best accuracy of the trials that reached it (default: curve)",
    )
    parser.add_argument("--target", type=_accuracy, help="only points of at least this accuracy")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write to a .csv, .json or .md file"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    args = parser.parse_args(words)
    from energyopt.report.export import write_front
    from energyopt.report.front import curve_front, final_front, front_of
    from energyopt.report.tables import front_table
    from energyopt.store.studies import read_study

    study = read_study(args.storage, args.study)
    points = (curve_front if args.points == "curve" else final_front)(study)
    of = front_of(points, study)
    if args.target is not None:
        points = tuple(point for point in points if point.accuracy >= args.target)
        of += f", from accuracy {args.target:g}"
    console = Console()
    if args.out is None:
        target = study.target if args.target is None else args.target
        console.print(front_table(points, of, study=study.name, target=target, limit=None))
        return
    write_front(points, study, args.out, force=args.force)
    console.print(
        f"{args.out}: {len(points)} points, {of}", highlight=False, markup=False, soft_wrap=True
    )


def _retrain(words: Sequence[str]) -> None:
    parser = _parser(
        "retrain",
        "Train a setup of a study again, report its test accuracy, and keep the model. A setup "
        "that reached the target is trained up to it. Further words override the setup.",
        [
            "demo --out model.safetensors",
            "demo --trial 7 --seed 1",
            "demo objective=energy_vs_accuracy",
        ],
    )
    parser.add_argument("study", help="the study's name")
    parser.add_argument("overrides", nargs="*", help="key=value words, as for a training")
    parser.add_argument("--trial", type=int, help="its number (default: the cheapest setup)")
    parser.add_argument("--seed", type=int, help="another seed than the study's")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the model (.safetensors)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--config-dir", type=Path, help="folder of your own configs")
    args = parser.parse_intermixed_args(words)
    from energyopt.retrain import Request, retrain
    from energyopt.store.studies import read_study

    request = Request(
        overrides=tuple(args.overrides),
        trial=args.trial,
        seed=args.seed,
        out=args.out,
        force=args.force,
        config_dir=args.config_dir,
    )
    retrain(read_study(args.storage, args.study), request, Console())


def _help(words: Sequence[str]) -> None:
    """`energyopt help [command]`, for those who type it."""
    if words and words[0] in COMMANDS:
        COMMANDS[words[0]](["--help"])
    sys.stdout.write(f"commands: {', '.join(COMMANDS)}; energyopt COMMAND --help explains each\n")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "studies": _studies,
    "show": _show,
    "pareto": _pareto,
    "retrain": _retrain,
    "help": _help,
}
