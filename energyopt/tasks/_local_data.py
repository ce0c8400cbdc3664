"""Data that its user has fetched: where it may lie, and what to say where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import ConfigError

VARIABLE = "ENERGYOPT_DATA"
"""Names the folder of data sets where `task.root` is null."""


@dataclass(frozen=True, slots=True)
class LocalData:
    """A data set in a local folder; nothing is ever downloaded.

    Attributes:
        name: As people call it.
        folders: Where it may lie below a root, in the order of looking; "" is the root itself.
        files: What must be there, files or folders: each the names that it may have.
        expects: These in words, for the message.
        page: Where it is to be had, with its licence or terms of use.
        remedy: How to get it, for the message.
        installed: Where a package puts it, if there is one.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    expects: str
    page: str
    remedy: str = "fetch it"
    installed: str | None = None

    def find(self, root: str | Path | None) -> list[Path]:
        """Find the data set.

        Args:
            root: Where to look; None asks the environment, then the place of the package.

        Returns:
            A path for each of `files`, all in one folder.

        Raises:
            ConfigError: If they are not together in any of the folders.
        """
        roots = [Path(root).expanduser()] if root is not None else list(self._usual_roots())
        places = [place / folder for place in roots for folder in self.folders]
        for place in places:
            found = [next(_existing(place, names), None) for names in self.files]
            whole = [path for path in found if path is not None]
            if len(whole) == len(self.files):
                return whole
        raise ConfigError(
            f"{self._where(root)} the {self.name} files {self.expects}{_looked_in(places)}. "
            f"Nothing is downloaded: {self.remedy} (the page with its terms is {self.page}), and "
            f"let task.root or {VARIABLE} name the folder that holds it."
        )

    def _usual_roots(self) -> Iterator[Path]:
        if os.environ.get(VARIABLE):
            yield Path(os.environ[VARIABLE]).expanduser()
        if self.installed is not None:
            yield Path(self.installed)

    def _where(self, root: str | Path | None) -> str:
        """Begin the message: who was to say where the data is."""
        given = os.environ.get(VARIABLE)
        if root is not None:
            return f"task.root={root} does not hold"
        if given:
            return f"{VARIABLE}={given} does not hold"
        return f"task.root is null and {VARIABLE} is not set, so nothing says where to find"


def _existing(place: Path, names: tuple[str, ...]) -> Iterator[Path]:
    return (path for name in names if (path := place / name).exists())


def _looked_in(places: Iterable[Path]) -> str:
    looked = ", ".join(map(str, dict.fromkeys(places)))
    return f"; looked in {looked}" if looked else ""
