"""Which errors say that a disk is full, and which file system it is."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from energyopt.errors import DiskFullError

_WHY = {
    errno.ENOSPC: ("the disk is full", "free space there"),
    errno.EDQUOT: ("the quota of the disk is used up", "free space there"),
    errno.EROFS: ("the disk is read-only", "make it writable"),
    errno.EFBIG: ("files may not grow further", "raise ulimit -f"),
}
"""Errors of the system: what they mean, and what helps."""
_TEXTS = ("database or disk is full", "(os error 28)", "PytorchStreamWriter failed writing")
_TEXTS_OF_TORCH = ("inline_container.cc", "iostream error")
"""Texts of errors that forget the error of the system."""

_MEMORY = Path("/dev/shm")  # noqa: S108  # full of a loader's batches: that is the configuration
_LITTLE_BYTES = 1 << 20


def as_disk_full(error: object, *folders: Path, is_write: bool = True) -> DiskFullError | None:
    """Return an error as that of a full disk; None if it is none.

    Args:
        error: What was raised, also from such an error or while one was handled.
        folders: Where it may have written, the likeliest first.
        is_write: Whether it is of a write to them for sure, and not of any code.
    """
    if isinstance(error, DiskFullError):
        return error
    for link, is_cause in _chain(error):
        if isinstance(link, DiskFullError):
            return link
        if isinstance(link, OSError) and link.errno in _WHY:
            if link.errno == errno.EROFS and not is_cause:
                continue  # handled: whoever tried to write there may do without
            file = Path(str(link.filename)) if link.filename else None
            place = file or _full_one(folders)
            # Without a file: of a lock in memory or a limit of the kernel, unless a disk is full.
            if place is None and (is_write or link.errno != errno.ENOSPC):
                place = _first(folders)
            if place is not None and not place.is_relative_to(_MEMORY):
                return _error(link.errno, place)
        elif not isinstance(link, OSError):
            full = _full_one(folders)
            if full is not None and _is_of_a_write(str(link)):
                return _error(errno.ENOSPC, full)
    return None


def _is_of_a_write(text: str) -> bool:
    return any(part in text for part in (*_TEXTS, *_TEXTS_OF_TORCH))


def _chain(error: object) -> Iterator[tuple[BaseException, bool]]:
    """Yield an error and those that led to it; whether none of them was only being handled."""
    visited_ids: set[int] = set()
    is_cause = True
    while isinstance(error, BaseException) and id(error) not in visited_ids:
        visited_ids.add(id(error))
        yield error, is_cause
        is_cause = is_cause and error.__cause__ is not None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _error(number: int, path: Path | None) -> DiskFullError:
    meaning, remedy = _WHY[number]
    place = "a file" if path is None else f"{path} (file system {_mount(path)})"
    return DiskFullError(
        f"{meaning}: {place} cannot be written; {remedy}, and start the same command again"
    )


def _full_one(folders: tuple[Path, ...]) -> Path | None:
    """Return the first folder whose file system has nearly no space."""
    for folder in (*folders, Path.cwd(), Path(tempfile.gettempdir())):
        try:
            status = os.statvfs(folder)
        except OSError:
            continue
        if status.f_bavail * status.f_frsize < _LITTLE_BYTES:
            return folder
    return None


def _first(folders: tuple[Path, ...]) -> Path | None:
    return folders[0] if folders else None


def _mount(path: Path) -> Path:
    """Return the folder at which the file system of a path is mounted."""
    folder = path.absolute()
    while folder != folder.parent and not (folder.exists() and folder.is_mount()):
        folder = folder.parent
    return folder
