"""Files that nobody else reads, and files that a user asks for by name."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from energyopt.errors import ConfigError, StorageError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def private_files() -> Iterator[None]:
    """What is made here, and by processes started here, is for its owner alone."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def written_whole(path: Path, *, force: bool) -> Iterator[Path]:
    """A new file beside another, which takes its place in the end: all of it or nothing.

    It is made under a name that nobody could foresee, and follows no link. Its folder is made, too.

    Args:
        path: What is to be written.
        force: Whether it may be there.

    Yields:
        Where to write.

    Raises:
        ConfigError: If it is there.
        OSError: If it cannot be written.
    """
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    os.close(descriptor)
    fresh = Path(name)
    try:
        yield fresh
        fresh.chmod(0o666 & ~umask())  # as any file of this user's
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse a file that is there, be it a link that leads nowhere.

    Raises:
        ConfigError: If it is there, unless by force.
    """
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists; add --force to overwrite it, or give another file")


def refuse_shared(folder: Path, what: str) -> None:
    """Make a folder private, or refuse one in which others may put files.

    Args:
        folder: Made if it is not there.
        what: The config key that names it.

    Raises:
        StorageError: If others own it or may write it, or it cannot be made.
    """
    try:
        with private_files():
            folder.mkdir(parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise StorageError(f"{what}={folder} cannot be made: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise StorageError(
            f"{what}={folder} is another user's, who could put programs (pickles) there that run "
            "as you; give a folder of your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"{what}={folder} may be written by others, who could put programs (pickles) there "
            f"that run as you; chmod go-w {folder}, or give another folder"
        )


def umask() -> int:
    """The rights that this user's new files do not have."""
    before = os.umask(_OTHERS)
    os.umask(before)
    return before
