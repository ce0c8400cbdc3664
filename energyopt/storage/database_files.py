"""The file of an SQLite database: made as a whole, and known by its content, not by its name.

SQLite keeps its log next to the name by which a file was opened, and follows symbolic links to find
it. Under another name of the same file (a hard link) it would look for another log.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from energyopt.errors import StorageError
from energyopt.utils import failpoints

_LOGS = ("-wal", "-shm", "-journal")
# Bytes that no database has: SQLite's own locks are at 2**30.
_FIRST_LOCK, _N_LOCKS = 1 << 61, 1 << 48
_LOCK = "hhqqi4x"  # struct flock of Linux: type, whence, start, length, pid


def followed(file: Path) -> Path:
    """Return the file that a symbolic link names, also one that does not exist yet."""
    return Path(os.path.realpath(file)) if file.is_symlink() else file


def make_whole(file: Path, make: Callable[[Path], None]) -> None:
    """Make a database under another name, and give it its own when it is complete.

    Whoever is killed meanwhile leaves no half-made database. If another process was faster, its
    database stays.

    Args:
        file: The database, which does not exist.
        make: Makes it at a path, and closes it.
    """
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
    try:
        make(new)
        failpoints.hit("made")
        with suppress(FileExistsError):
            _name(new, file)
        failpoints.hit("named")
    finally:
        for path in (new, *(new.with_name(f"{new.name}{log}") for log in _LOGS)):
            path.unlink(missing_ok=True)


def remove_half_made(file: Path) -> None:
    """Remove what processes that were killed left of making a database; none may make it now."""
    logs = "|".join(_LOGS)
    half_made = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{8}}\.new({logs})?")
    for path in file.parent.iterdir():
        if half_made.fullmatch(path.name):
            path.unlink(missing_ok=True)


def check_no_other_log(file: Path) -> None:
    """Check that a file is not open, or was left, under another name in its folder.

    Raises:
        StorageError: If it is: without that name's log, it is not the database.
    """
    if file.stat().st_nlink == 1 or not os.access(file.parent, os.R_OK):
        return
    for link in file.parent.iterdir():
        try:
            is_other_name = link.name != file.name and link.is_file() and link.samefile(file)
        except OSError:  # it is gone meanwhile
            continue
        if not is_other_name:
            continue
        for log in ("-wal", "-journal"):
            if link.with_name(f"{link.name}{log}").exists():
                raise StorageError(
                    f"storage={file} is the same file as {link}, whose log {link.name}{log} is "
                    "in use or was left by a run that was killed; give it by that name"
                )


@contextmanager
def locked_study(file: Path, study: str) -> Iterator[bool]:
    """Hold the lock of a study on the database itself, whatever the name by which it is opened.

    Closing a file gives up all locks that SQLite has on it in this process, so nothing of it may
    be open at the end. A file system without such locks has none.

    Yields:
        False if another process holds the lock.
    """
    digest = hashlib.sha256(study.encode()).digest()
    start = _FIRST_LOCK + int.from_bytes(digest[:8], "big") % _N_LOCKS
    lock = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # it may not be written: opening it says so
        yield True
        return
    try:
        yield _try_lock(descriptor, lock)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, lock: bytes) -> bool:
    if not sys.platform.startswith("linux"):  # another struct flock
        return True
    try:
        # A lock of the open file, not of the process: others of this process do not release it.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    except (OSError, AttributeError):
        return True
    return True


def _name(new: Path, file: Path) -> None:
    """Give a new file its name.

    Raises:
        FileExistsError: If another file has it.
    """
    try:
        file.hardlink_to(new)  # unlike renaming, it never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if file.exists():
            raise FileExistsError(file) from None
        new.rename(file)
