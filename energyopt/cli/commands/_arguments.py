"""What the commands have in common: how their words are read."""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from energyopt.errors import ConfigError
from energyopt.storage import DEFAULT_STORAGE

_LONGEST_WATCH_S = 60.0
_WIDEST = 100  # characters of a line of help


class Parser(argparse.ArgumentParser):
    """Raises its complaints, so that they are said like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise it, with where to look."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")


class HelpFormatter(argparse.HelpFormatter):
    """Wraps text to the terminal, and not wider than is read well.

    Lines of a paragraph that begin with blanks, such as examples, are kept.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(shutil.get_terminal_size().columns, _WIDEST) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            part if "\n " in part else textwrap.fill(part, width, initial_indent=indent)
            for part in paragraphs
        )


class _Storage(argparse.Action):
    """Takes a storage that is typed: without a password, which process lists would show."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        if "://" in values:
            from energyopt.storage.credentials import refuse_password

            refuse_password(values)
        namespace.storage = values


def plain_parser(name: str, description: str, examples: Sequence[str], *, more: str = "") -> Parser:
    """A parser for a command.

    Args:
        name: The command's.
        description: What it does, in paragraphs that are wrapped to the terminal.
        examples: The words after its name.
        more: What its help ends with, its lines kept.
    """
    lines = "\n".join(f"  energyopt {name} {example}".rstrip() for example in examples)
    return Parser(
        prog=f"energyopt {name}",
        description=description,
        epilog="\n\n".join(filter(None, (f"examples:\n{lines}", more))),
        formatter_class=HelpFormatter,
    )


def command_parser(
    name: str, description: str, examples: Sequence[str], *, more: str = ""
) -> Parser:
    """A parser for a command that reads a storage; else as `plain_parser`."""
    parser = plain_parser(name, description, examples, more=more)
    parser.add_argument(
        "--storage",
        metavar="FILE_OR_URL",
        action=_Storage,
        default=os.environ.get("ENERGYOPT_STORAGE", DEFAULT_STORAGE),
        help=f"where studies are (default: ENERGYOPT_STORAGE, else {DEFAULT_STORAGE})",
    )
    return parser


def accuracy(text: str) -> float:
    """An accuracy as typed."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no accuracy above 0 and at most 1")
    return value


def collect_nothing() -> None:
    """Leave garbage alone in a command that reads a study, prints and ends: it makes little.

    Looking for it again and again among all that was read takes a fifth of the time.
    """
    gc.disable()


def add_study(parser: argparse.ArgumentParser) -> None:
    """Let it take a study, from the storage or from an export."""
    parser.add_argument("study", help="the study's name, or the folder of an export")


def add_target(parser: argparse.ArgumentParser, does: str) -> None:
    """Let it take another target than the study's; `does` is what it does with it."""
    parser.add_argument(
        "--target",
        type=accuracy,
        metavar="ACCURACY",
        help=f"accuracy to {does} (default: the study's)",
    )


def add_reuse(parser: argparse.ArgumentParser) -> None:
    """Let it take the trainings that are planned."""
    parser.add_argument(
        "--reuse",
        type=trainings,
        metavar="N",
        help="trainings that you plan: says what they save beyond the search (default: what the "
        "search was told)",
    )


def trainings(text: str) -> float:
    """A number of trainings as typed."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of trainings above 0")
    return value


def number(text: str) -> float:
    """A number as typed."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number") from None


def share(text: str) -> float:
    """A share as typed."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share of at least 0 and at most 1")
    return value


def seconds(text: str) -> float:
    """A time to watch for, as typed."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _LONGEST_WATCH_S:
        raise argparse.ArgumentTypeError(
            f"{text} is no time above 0 and at most {_LONGEST_WATCH_S:g} s"
        )
    return value


def whole(text: str) -> int:
    """A count as typed."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)
