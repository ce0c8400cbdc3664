"""The subcommands, such as `energyopt show`.

A command is a module of that name in this package, with `parser()` and `run(args)`. `import` is a
Python keyword, so its module is `import_`. Other distributions may add commands
(`energyopt.cli.foreign_commands`).
"""

from __future__ import annotations

import argparse
import importlib
import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from energyopt.errors import ConfigError

if TYPE_CHECKING:
    from energyopt.cli.foreign_commands import Command, ForeignCommand

COMMANDS = (
    "search",
    "studies",
    "show",
    "trials",
    "compare",
    "pareto",
    "report",
    "recommend",
    "confirm",
    "retrain",
    "summarize",
    "export",
    "import",
    "dashboard",
    "check",
    "doctor",
    "restore",
    "completion",
)

COMMAND_NAME = re.compile(r"[a-z][a-z-]*")
"""Names that a command may have; any other first argument is an override for Hydra."""

_HELP = "help"


def run(arguments: Sequence[str]) -> None:
    """Run a command.

    Args:
        arguments: The name of the command, then its own arguments.

    Raises:
        EnergyoptError: If the arguments are invalid or the command fails.
    """
    name, *rest = arguments
    if name == _HELP:
        _help(rest)
        return
    command = _command(name)
    parser = command.parser()
    # Foreign commands may have subparsers, which parse_intermixed_args() does not support.
    parse = parser.parse_intermixed_args if name in COMMANDS else parser.parse_args
    command.run(parse(rest))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Raises:
        ConfigError: If there is no such command, or it is a broken one of another distribution.
    """
    return _command(name).parser()


def other_commands() -> Mapping[str, ForeignCommand]:
    """Return the commands of other distributions; they cannot replace a built-in one."""
    from energyopt.cli.foreign_commands import foreign_commands

    return foreign_commands({*COMMANDS, _HELP})


def is_command(word: str) -> bool:
    """Return True if a word is the name of a command, built-in or of another distribution."""
    return word in COMMANDS or word in other_commands()


def _command(name: str) -> Command:
    if name in COMMANDS:
        basename = f"{name}_" if keyword.iskeyword(name) else name
        module: Any = importlib.import_module(f"energyopt.cli.commands.{basename}")
        return cast("Command", module)
    foreign = other_commands()
    if name not in foreign:
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join((*COMMANDS, *foreign))}; "
            f"to set a config key write {name}=value"
        )
    return foreign[name].load()


def _help(arguments: Sequence[str]) -> None:
    """Run `energyopt help [command]`."""
    if arguments and is_command(arguments[0]):
        parser_of(arguments[0]).parse_args(["--help"])
    names = ", ".join((*COMMANDS, *other_commands()))
    sys.stdout.write(f"commands: {names}; energyopt COMMAND --help explains each\n")
