"""Parsers and argument types that the commands share."""

from __future__ import annotations

import argparse
import gc
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from energyopt.errors import ConfigError
from energyopt.storage import DEFAULT_STORAGE
from energyopt.utils.paths import STORAGE_VARIABLE

_MAX_WATCH_S = 60.0
_MAX_HELP_WIDTH = 100  # characters; longer lines are hard to read


class Parser(argparse.ArgumentParser):
    """Raises usage errors, so that they are printed like all other errors."""

    def error(self, message: str) -> NoReturn:
        """Raise the error, with a pointer to the help."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")


class HelpFormatter(argparse.HelpFormatter):
    """Wraps text to the terminal, but to no more than 100 characters.

    Paragraphs with indented lines, such as examples, keep their line breaks.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(shutil.get_terminal_size().columns, _MAX_HELP_WIDTH) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            part if "\n " in part else textwrap.fill(part, width, initial_indent=indent)
            for part in paragraphs
        )


class _StorageAction(argparse.Action):
    """Stores --storage; rejects a URL with a password, which process lists would show."""

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


def plain_parser(
    name: str, description: str, examples: Sequence[str], *, notes: str = ""
) -> Parser:
    """Return a parser for a command.

    Args:
        name: Name of the command.
        description: Paragraphs about what it does, wrapped to the terminal.
        examples: Arguments of example calls.
        notes: Text at the end of the help; its line breaks are kept.
    """
    lines = "\n".join(f"  energyopt {name} {example}".rstrip() for example in examples)
    return Parser(
        prog=f"energyopt {name}",
        description=description,
        epilog="\n\n".join(filter(None, (f"examples:\n{lines}", notes))),
        formatter_class=HelpFormatter,
    )


def command_parser(
    name: str, description: str, examples: Sequence[str], *, notes: str = ""
) -> Parser:
    """Return a parser for a command that takes --storage; see `plain_parser`."""
    parser = plain_parser(name, description, examples, notes=notes)
    parser.add_argument(
        "--storage",
        metavar="FILE_OR_URL",
        action=_StorageAction,
        default=os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE),
        help=f"where studies are (default: {STORAGE_VARIABLE}, else {DEFAULT_STORAGE})",
    )
    return parser


def metric_value(text: str) -> float:
    """Parse a value of a study's metric; `check_target` knows which are possible."""
    return _checked_float(text, math.isfinite, "a finite number")


def spare_cpu() -> None:
    """Turn off what costs CPU time in a command that reads a study, prints and ends.

    Such a command leaves little garbage, and scanning all records for it again and again takes a
    fifth of the time. Its matrices have some hundred rows: several threads of linear algebra wait
    for each other for five times as long as one thread computes.
    """
    gc.disable()
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # read when numpy is first imported


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the STUDY argument: a name in the storage, or the folder of an export."""
    parser.add_argument("study", help="the study's name, or the folder of an export")


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Add the --config-dir option."""
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="folder of your own configs")


def add_target(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the --target option; `purpose` completes "value to ..." in its help."""
    parser.add_argument(
        "--target",
        type=metric_value,
        metavar="VALUE",
        help=f"value of the metric to {purpose} (default: the study's)",
    )


def add_reuse(parser: argparse.ArgumentParser) -> None:
    """Add the --planned-trainings option: the number of planned trainings."""
    parser.add_argument(
        "--planned-trainings",
        "--reuse",  # its name until 0.1.0
        dest="reuse",
        type=trainings,
        metavar="N",
        help="trainings that you plan: says what they save beyond the search (default: what the "
        "search was told)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the --json option."""
    parser.add_argument(
        "--json", action="store_true", help="one JSON object, for programs: docs/reference/json.md"
    )


def print_json(command: str, data: Mapping[str, Any]) -> None:
    """Print the output of a command as JSON: nothing else goes to stdout."""
    from energyopt.report.json_text import json_text

    sys.stdout.write(json_text(command, data))


def trainings(text: str) -> float:
    """Parse a number of trainings, finite and above 0."""
    return _checked_float(text, lambda value: 0 < value < math.inf, "a finite number above 0")


def number(text: str) -> float:
    """Parse any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text}") from None


def share(text: str) -> float:
    """Parse a share, in [0, 1]."""
    return _checked_float(text, lambda value: 0 <= value <= 1, "at least 0 and at most 1")


def seconds(text: str) -> float:
    """Parse how long to watch the sensors, in (0, 60] s."""
    allowed = f"above 0 and at most {_MAX_WATCH_S:g} s"
    return _checked_float(text, lambda value: 0 < value <= _MAX_WATCH_S, allowed)


def positive_int(text: str) -> int:
    """Parse a count of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def _checked_float(text: str, is_allowed: Callable[[float], bool], allowed: str) -> float:
    """Parse a number; a text that is none becomes NaN, which no range allows."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_allowed(value):
        raise argparse.ArgumentTypeError(f"must be {allowed}, got {text}")
    return value
