"""The commands: what one types after a study.

A command is a module of its name here: `parser()` and `run(args)`. `import` is Python's own word:
its module is `import_`. Other distributions bring more (`energyopt.cli.foreign_commands`).
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


COMMAND_NAME = re.compile(r"[a-z][a-z-]*")
"""What a command may be called: any other first word is for a training."""

_HELP = "help"


def run(words: Sequence[str]) -> None:
    """Run a command.

    Args:
        words: The command's name and its arguments.

    Raises:
        EnergyoptError: In a sentence, what is wrong.
    """
    name, *rest = words
    if name == _HELP:
        _help(rest)
        return
    command = _command(name)
    parser = command.parser()
    # Commands of others may have commands of their own, which argparse reads in order alone.
    read = parser.parse_intermixed_args if name in COMMANDS else parser.parse_args
    command.run(read(rest))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Raises:
        ConfigError: If there is no such command, or it is somebody else's and broken.
    """
    return _command(name).parser()


def others() -> Mapping[str, ForeignCommand]:
    """Return the commands that other distributions bring; ours are not replaced."""
    from energyopt.cli.foreign_commands import foreign_commands

    return foreign_commands({*COMMANDS, _HELP})


def is_command(word: str) -> bool:
    """Return whether a word that could be one is a command, ours or another distribution's."""
    return word in COMMANDS or word in others()


def _command(name: str) -> Command:
    if name in COMMANDS:
        own = f"{name}_" if keyword.iskeyword(name) else name
        module: Any = importlib.import_module(f"energyopt.cli.commands.{own}")
        return cast("Command", module)
    foreign = others()
    if name not in foreign:
        raise ConfigError(
            f"there is no command {name!r}; the commands are {', '.join((*COMMANDS, *foreign))}; "
            f"to set a config key write {name}=value"
        )
    return foreign[name].load()


def _help(words: Sequence[str]) -> None:
    """`energyopt help [command]`, for those who type it."""
    if words and is_command(words[0]):
        parser_of(words[0]).parse_args(["--help"])
    names = ", ".join((*COMMANDS, *others()))
    sys.stdout.write(f"commands: {names}; energyopt COMMAND --help explains each\n")
