"""Commands of other installed distributions: entry points of the group `energyopt.commands`.

An entry point refers to a module or an object with `parser()` and `run(args)`, like the built-in
commands. Entry points are read only for an unknown command and for a list of all commands, because
scanning the installed distributions takes time. A command is imported only when it is used, so a
broken one does not affect the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from energyopt.cli.commands import COMMAND_NAME
from energyopt.errors import ConfigError

ENTRY_POINTS = "energyopt.commands"
"""The group of entry points."""

_BROKEN = (ImportError, AttributeError, SyntaxError, NameError)


class Command(Protocol):
    """Interface of the module or object that implements a command."""

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the command's arguments."""

    def run(self, args: argparse.Namespace) -> None:
        """Run the command with parsed arguments."""


@dataclass(frozen=True, slots=True)
class ForeignCommand:
    """A command of another distribution."""

    name: str
    entries: tuple[EntryPoint, ...]  # of that name; more than one if distributions conflict

    @property
    def origin(self) -> str:
        """Names of the distributions that provide it."""
        return " and ".join(sorted(_distribution(entry) for entry in self.entries))

    def load(self) -> Command:
        """Import the command.

        Raises:
            ConfigError: If the import fails, `parser()` or `run()` is missing, or two distributions
                provide the command.
        """
        if len(self.entries) > 1:
            raise ConfigError(
                f"the command {self.name!r} is brought by {self.origin}; uninstall one of them"
            )
        label = f"the command {self.name!r} of the package {self.origin}"
        (entry,) = self.entries
        try:
            loaded = entry.load()
        except _BROKEN as error:
            raise ConfigError(
                f"{label} cannot be imported ({type(error).__name__}: {error}); update the package "
                "or uninstall it"
            ) from error
        for part in ("parser", "run"):
            if not callable(getattr(loaded, part, None)):
                raise ConfigError(
                    f"{label} has no {part}(): {entry.value} needs parser() and run(args)"
                )
        return cast(Command, loaded)


def foreign_commands(builtin: Iterable[str]) -> dict[str, ForeignCommand]:
    """Find the commands of other distributions by name; they cannot replace a built-in one."""
    reserved = set(builtin)
    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if COMMAND_NAME.fullmatch(entry.name) and entry.name not in reserved:
            entries.setdefault(entry.name, []).append(entry)
    return {name: ForeignCommand(name, tuple(entries[name])) for name in sorted(entries)}


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
