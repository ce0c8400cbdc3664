"""Commands that other installed distributions bring, by entry points of `energyopt.commands`.

An entry point leads to a module or an object with `parser()` and `run(args)`, as our own commands
are. They are looked up where a word is no command of ours, and where all are listed: reading what
is installed takes time. They are imported where one is used, so a broken one breaks itself alone.
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
    """What a command's module, or object, has."""

    def parser(self) -> argparse.ArgumentParser:
        """Return what reads its words."""

    def run(self, args: argparse.Namespace) -> None:
        """Run it."""


@dataclass(frozen=True, slots=True)
class ForeignCommand:
    """A command by its name, and who brings it.

    Attributes:
        name: What is typed.
        entries: The entry points of that name; one, unless distributions disagree.
    """

    name: str
    entries: tuple[EntryPoint, ...]

    @property
    def origin(self) -> str:
        """The distributions that bring it."""
        return " and ".join(sorted(_distribution(entry) for entry in self.entries))

    def load(self) -> Command:
        """Import it.

        Raises:
            ConfigError: If it cannot be, is no command, or is brought twice.
        """
        if len(self.entries) > 1:
            raise ConfigError(
                f"the command {self.name!r} is brought by {self.origin}; uninstall one of them"
            )
        what = f"the command {self.name!r} of the package {self.origin}"
        (entry,) = self.entries
        try:
            loaded = entry.load()
        except _BROKEN as error:
            raise ConfigError(
                f"{what} cannot be imported ({type(error).__name__}: {error}); update the package "
                "or uninstall it"
            ) from error
        for part in ("parser", "run"):
            if not callable(getattr(loaded, part, None)):
                raise ConfigError(
                    f"{what} has no {part}(): {entry.value} needs parser() and run(args)"
                )
        return cast(Command, loaded)


def foreign_commands(own: Iterable[str]) -> dict[str, ForeignCommand]:
    """Find the commands of other distributions, by name, without importing any.

    Args:
        own: Names that are taken: nobody replaces these.
    """
    taken = set(own)
    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if COMMAND_NAME.fullmatch(entry.name) and entry.name not in taken:
            entries.setdefault(entry.name, []).append(entry)
    return {name: ForeignCommand(name, tuple(entries[name])) for name in sorted(entries)}


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
