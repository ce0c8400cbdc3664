"""Finding of data sets that the user has downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import ConfigError

VARIABLE = "ENERGYOPT_DATA"
"""Environment variable with the folder of data sets, used if `task.root` is null."""


@dataclass(frozen=True, slots=True)
class LocalData:
    """A data set in a local folder; nothing is ever downloaded.

    Attributes:
        name: The data set's name, for the message.
        folders: Folders below a root to search, in this order; "" is the root itself.
        files: Required files or folders: the alternative names of each.
        expects: The required files in words, for the message.
        page: Page to get it from, with its licence or terms of use.
        remedy: How to get it, for the message.
        installed: Folder in which a package installs it, if there is such a package.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    expects: str
    page: str
    remedy: str = "fetch it"
    installed: str | None = None

    def find(self, root: str | Path | None) -> list[Path]:
        """Return a path for each of `files`, all in one folder.

        Args:
            root: Folder to search; None takes that of the environment, then that of the package.

        Raises:
            ConfigError: If no folder holds all of them.
        """
        roots = [Path(root).expanduser()] if root is not None else list(self._default_roots())
        folders = [parent / folder for parent in roots for folder in self.folders]
        for folder in folders:
            matches = [next(_existing(folder, names), None) for names in self.files]
            paths = [path for path in matches if path is not None]
            if len(paths) == len(self.files):
                return paths
        raise ConfigError(
            f"{_source_of(root)} the {self.name} files {self.expects}{_searched(folders)}. "
            f"Nothing is downloaded: {self.remedy} (the page with its terms is {self.page}), and "
            f"let task.root or {VARIABLE} name the folder that holds it."
        )

    def _default_roots(self) -> Iterator[Path]:
        if os.environ.get(VARIABLE):
            yield Path(os.environ[VARIABLE]).expanduser()
        if self.installed is not None:
            yield Path(self.installed)


def _source_of(root: str | Path | None) -> str:
    """Return the beginning of the message: which setting named the folder."""
    if root is not None:
        return f"task.root={root} does not hold"
    if os.environ.get(VARIABLE):
        return f"{VARIABLE}={os.environ[VARIABLE]} does not hold"
    return f"task.root is null and {VARIABLE} is not set, so nothing says where to find"


def _existing(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    return (path for name in names if (path := folder / name).exists())


def _searched(folders: Iterable[Path]) -> str:
    names = ", ".join(map(str, dict.fromkeys(folders)))
    return f"; looked in {names}" if names else ""
