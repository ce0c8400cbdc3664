"""The folders of leases and power limit journals, which the users of a machine show each other.

A user's own files are in a folder that is theirs or root's: whoever owns a folder may delete what
is in it, whatever its sticky bit says. In the folders of other users files are only looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import HardwareError

ENVIRONMENT = "ENERGYOPT_RUN_DIR"
_SYSTEM = Path("/run/energyopt")  # made by an administrator, for all users
_FIRST = Path("/tmp/energyopt")  # noqa: S108  # of whoever came first; checked when opened
_FOR_ALL, _FOR_ONE = 0o1777, 0o755


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that may hold leases and journals.

    Attributes:
        folder: The folder.
        safe: Whether it is root's or this user's, so that no other user can replace what is in it.
    """

    folder: Path
    safe: bool


def run_dir() -> Path:
    """Return the folder of this user's files.

    Not the user's TMPDIR: other users must find it. ENERGYOPT_RUN_DIR names another folder.
    """
    named = os.environ.get(ENVIRONMENT)
    if named is not None:
        return Path(named)
    if _is_usable(_SYSTEM):
        return _SYSTEM
    if not os.path.lexists(_FIRST) or _is_usable(_FIRST):
        return _FIRST
    return _of_user(os.geteuid())


def places() -> list[Place]:
    """Return the folders that exist, this user's first."""
    first = run_dir()
    folders = [first]
    if ENVIRONMENT not in os.environ:
        of_users = sorted(_FIRST.parent.glob(f"{_FIRST.name}-[0-9]*"))
        folders += [folder for folder in (_SYSTEM, _FIRST, *of_users) if folder != first]
    return [Place(folder, safe) for folder in folders if (safe := _is_safe(folder)) is not None]


@contextlib.contextmanager
def opened_run_dir() -> Iterator[int]:
    """Open the folder of this user's files, which is made if it does not exist.

    Yields:
        Its descriptor: what is opened through it is in the folder that was checked.

    Raises:
        HardwareError: If it cannot be made, is a link or no folder, or others may delete files in
            it.
    """
    folder = run_dir()
    try:
        descriptor = _open(folder)
        if run_dir() != folder:  # another user has made it at the same moment
            os.close(descriptor)
            folder = run_dir()
            descriptor = _open(folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EEXIST):
            raise HardwareError(
                f"{folder}, the place of GPU leases, is not a folder (a link is not followed): "
                f"remove it with `rm {folder}`{_OTHERWISE}"
            ) from error
        raise HardwareError(
            f"the folder {folder} of GPU leases cannot be made or opened: {error.strerror}; set "
            f"{ENVIRONMENT} to another that all users of these GPUs may write"
        ) from error
    try:
        _check(folder, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def make_run_dir() -> Path:
    """Return the folder of this user's files; make it if it does not exist.

    Raises:
        HardwareError: See `opened_run_dir`.
    """
    with opened_run_dir():
        return run_dir()


_OTHERWISE = (
    f", or set {ENVIRONMENT} to a folder of your own or of root's (those who share GPUs need the "
    "same one, or trials of two users measure each other)"
)


def _of_user(uid: int) -> Path:
    return _FIRST.with_name(f"{_FIRST.name}-{uid}")


def _open(folder: Path) -> int:
    try:
        folder.mkdir()
        is_new = True
    except FileExistsError:
        is_new = False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if is_new:
        try:
            # Whatever the umask; root's serves all users.
            os.fchmod(descriptor, _FOR_ALL if os.geteuid() == 0 else _FOR_ONE)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _check(folder: Path, status: os.stat_result) -> None:
    """Check that only root and this user may delete files of this user in a folder."""
    if status.st_uid not in (0, os.geteuid()):
        raise HardwareError(
            f"{folder}, the place of GPU leases, belongs to another user (uid {status.st_uid}), "
            f"who could take leases away: let an administrator run "
            f"`chown root {folder} && chmod 1777 {folder}`{_OTHERWISE}"
        )
    if _is_loose(status.st_mode):
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        raise HardwareError(
            f"{folder}, the place of GPU leases, has mode {mode}, so that others could take leases "
            f"away: `chmod +t {folder}`, as its owner or root{_OTHERWISE}"
        )


def _is_loose(mode: int) -> bool:
    return bool(mode & (stat.S_IWGRP | stat.S_IWOTH)) and not mode & stat.S_ISVTX


def _is_safe(folder: Path) -> bool | None:
    """Return whether only root and this user can replace files in it; None without one."""
    try:
        status = folder.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    return status.st_uid in (0, os.geteuid()) and not _is_loose(status.st_mode)


def _is_usable(folder: Path) -> bool:
    return bool(_is_safe(folder)) and os.access(folder, os.W_OK | os.X_OK)
