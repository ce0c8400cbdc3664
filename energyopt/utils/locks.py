"""Advisory locks on files and folders (flock), which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2
_SILENT_S = 2.0  # of waiting, until it is told what for
_LOCKS = Path("/proc/locks")


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; return False if another process holds it.

    Args:
        descriptor: The open file.
        shared: Allow other shared locks at the same time.

    Raises:
        OSError: If the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked_file(path: Path, on_busy: Callable[[int], None]) -> Iterator[int]:
    """Hold the lock of a file, which is created for its owner only and is never deleted.

    Deleting it would let two processes hold locks on two files of the same name.

    Args:
        path: The lock file; a link is refused.
        on_busy: Called once with the open file if another process holds the lock. If it returns,
            the lock is waited for.

    Yields:
        The open file.

    Raises:
        OSError: If the file cannot be opened or locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not try_lock(descriptor):
            on_busy(descriptor)
            while not try_lock(descriptor):
                time.sleep(_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path, purpose: str) -> Iterator[bool]:
    """Hold the lock of a folder; who waits long for it is told so once, on standard error.

    Args:
        folder: The folder.
        purpose: What its holder does, in words.

    Yields:
        False on a network file system that has no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _is_locked(descriptor, f"{purpose} in {folder}")
    finally:
        os.close(descriptor)


def holder_of(descriptor: int) -> str:
    """Return the process that holds the lock of an open file, in words."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields = line.split()  # 1: FLOCK ADVISORY WRITE 1234 fd:00:56789 0 EOF
        if fields[1] == "FLOCK" and fields[5] == device and int(fields[4]) > 0:
            return f"process {fields[4]}"
    return "another process"  # of another container, or on a file system that numbers otherwise


def _is_locked(descriptor: int, work: str) -> bool:
    told_s = time.monotonic() + _SILENT_S
    is_told = False
    try:
        while not try_lock(descriptor):
            if not is_told and time.monotonic() >= told_s:
                sys.stderr.write(f"waiting for {holder_of(descriptor)}, which {work}\n")
                is_told = True
            time.sleep(_POLL_S)
    except OSError:
        return False
    return True
