"""Files that only their owner reads, and files that are written as a whole."""

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
    """Create files for their owner only, also in processes that are started here."""
    old_umask = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(old_umask)


def write_atomically(path: Path, text: str, permissions: int | None = None) -> None:
    """Write a file so that at each moment either the old or the new one exists, complete.

    The new file is on disk before it replaces the old one: a power failure loses neither. No link
    is followed. Its permissions are those of any new file of this user if None.

    Raises:
        OSError: If it cannot be written; the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("x") as file:  # fails for a link that another user creates meanwhile
            if permissions is not None:
                os.fchmod(file.fileno(), permissions)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def written_whole(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` at the end: all of it or nothing.

    It has a random name, does not follow symlinks, and missing parent folders are created.

    Raises:
        ConfigError: If the file exists, without `force`.
        OSError: If it cannot be written.
    """
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())  # as any new file of this user
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Check that a file does not exist, not even as a dangling symlink.

    Raises:
        ConfigError: If it exists, without `force`.
    """
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists; add --force to overwrite it, or give another file")


def refuse_shared(folder: Path, what: str) -> None:
    """Create a private folder, or check that only this user may write to an existing one.

    Raises:
        StorageError: If another user owns it or may write to it, or it cannot be created.
    """
    try:
        with private_files():
            folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise StorageError(f"{what}={folder} cannot be made: {error.strerror}") from error
    if status.st_uid != os.geteuid():
        raise StorageError(
            f"{what}={folder} is another user's, who could put programs (pickles) there that run "
            "as you; give a folder of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"{what}={folder} may be written by others, who could put programs (pickles) there "
            f"that run as you; chmod go-w {folder}, or give another folder"
        )


def umask() -> int:
    """Return the permissions that new files of this user do not get."""
    value = os.umask(_OTHERS)
    os.umask(value)
    return value
