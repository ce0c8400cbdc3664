"""The commands: what one types after a study.

A command is a module of its name here: `parser()` and `run(args)`. `import` is Python's own word:
its module is `import_`.
"""

from __future__ import annotations

import argparse
import importlib
import keyword
import sys
from collections.abc import Sequence
from typing import Any

from energyopt.errors import ConfigError

COMMANDS = (
    "studies",
    "show",
    "pareto",
    "report",
    "recommend",
    "confirm",
    "retrain",
    "summarize",
    "export",
    "import",
    "dashboard",
    "doctor",
    "restore",
    "completion",
)


def run(words: Sequence[str]) -> None:
    """Run a command.

    Args:
        words: The command's name and its arguments.

    Raises:
        EnergyoptError: In a sentence, what is wrong.
    """
    name, *rest = words
    if name == "help":
        _help(rest)
        return
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}; "
            f"to set a config key write {name}=value"
        )
    command = _module(name)
    command.run(command.parser().parse_intermixed_args(rest))


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one of the commands."""
    parser: argparse.ArgumentParser = _module(name).parser()
    return parser


def _module(name: str) -> Any:
    own = f"{name}_" if keyword.iskeyword(name) else name
    return importlib.import_module(f"energyopt.cli.commands.{own}")


def _help(words: Sequence[str]) -> None:
    """`energyopt help [command]`, for those who type it."""
    if words and words[0] in COMMANDS:
        parser_of(words[0]).parse_args(["--help"])
    sys.stdout.write(f"commands: {', '.join(COMMANDS)}; energyopt COMMAND --help explains each\n")
