"""One trial a GPU: leases by UUID, as locked files that all users of a machine share.

An energy counter belongs to a board: two trials on one GPU would each be told the joules of
both. The lock is held by the process and dies with it, however it dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware.host import user_name

_POLL_S = 0.2
_LOOKS = 3  # somebody who asks who holds a lease holds it for a moment
_LOOK_S = 0.01
_ENVIRONMENT = "ENERGYOPT_RUN_DIR"


def run_dir() -> Path:
    """The folder of leases and power limit journals, one for all users of this machine.

    Not the user's TMPDIR: others must find it. ENERGYOPT_RUN_DIR names another.
    """
    return Path(os.environ.get(_ENVIRONMENT, "/tmp/energyopt"))  # noqa: S108  # see make_run_dir


def make_run_dir() -> Path:
    """The same, made if it is not there.

    Raises:
        HardwareError: If it cannot be made, or is not a plain folder.
    """
    folder = run_dir()
    try:
        # Sticky and writable by all, like /tmp itself; a link could lead anywhere.
        folder.mkdir(exist_ok=True)
        mode = folder.lstat().st_mode
        if stat.S_ISDIR(mode) and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o1777)
    except OSError as error:
        raise HardwareError(
            f"the folder {folder} of GPU leases cannot be made: {error.strerror}; "
            f"set {_ENVIRONMENT} to another that all users of these GPUs may write"
        ) from error
    if not stat.S_ISDIR(mode):
        raise HardwareError(f"{folder}, the place of GPU leases, is not a folder: remove it")
    if folder.stat().st_uid not in (0, os.geteuid()) and not mode & stat.S_ISVTX:
        raise HardwareError(
            f"{folder}, the place of GPU leases, is another user's, who could take leases away; "
            f"let them run chmod +t {folder}, or set {_ENVIRONMENT}"
        )
    return folder


def open_plain(path: Path) -> int:
    """Open a file of the folder to read: no link, and no pipe that would wait for ever.

    Raises:
        OSError: If it is none.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return descriptor


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lease.

    Attributes:
        pid: Its process.
        user: Its user's name.
        what: What it does, such as the folder that it runs in.
    """

    pid: int
    user: str
    what: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} ({self.what})"


class Lease:
    """A GPU held for this process.

    Args:
        uuid: The GPU's.
    """

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self._descriptor: int | None = None

    @property
    def _path(self) -> Path:
        return run_dir() / f"{self.uuid}.lease"

    def take(self) -> bool:
        """Take it, if nobody holds it.

        Raises:
            HardwareError: If its file cannot be opened.
        """
        make_run_dir()
        descriptor = _open(self._path)
        if not _lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(descriptor)
        words = {"pid": os.getpid(), "user": user_name(), "what": str(Path.cwd())}
        # Another user's file in a sticky folder may be locked, but perhaps not written.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(words).encode(), 0)
        return True

    def release(self) -> None:
        """Give it back; its file stays, since a new one would be another lock."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def owner(self) -> Owner | None:
        """Who holds it; None if nobody does."""
        try:
            descriptor = open_plain(self._path)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _read_owner(descriptor)
        finally:
            os.close(descriptor)
        return None


_held: set[int] = set()


def _forget_in_fork() -> None:
    """A fork, such as a data loader's worker, must not hold a lease beyond its parent's death."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_fork)


def _lock(descriptor: int) -> bool:
    for look in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOOK_S if look < _LOOKS - 1 else 0)
        else:
            return True
    return False


def take_some(
    gpus: Mapping[str, str],
    count: int,
    wait_s: float,
    on_wait: Callable[[str], None] | None = None,
) -> list[Lease]:
    """Take leases of the first free ones of some GPUs.

    Args:
        gpus: The GPUs that will do, in the order of preference: UUIDs, with names for people.
        count: How many are needed.
        wait_s: How long to wait for them, in s.
        on_wait: Is told once who is waited for.

    Raises:
        GpusTaken: If they are still held then; it says by whom.
    """
    until_s = time.monotonic() + wait_s
    while True:
        taken: list[Lease] = []
        for uuid in gpus:
            lease = Lease(uuid)
            if len(taken) < count and lease.take():
                taken.append(lease)
        if len(taken) == count:
            return taken
        # All or none: two trials that hold half each would wait for ever.
        for lease in taken:
            lease.release()
        if time.monotonic() >= until_s:
            raise GpusBusyError(
                f"a trial needs {'a GPU' if count == 1 else f'{count} GPUs'} for itself, and "
                f"{_holders(gpus)}: energy counters belong to whole boards; waited {wait_s:g} s, "
                "wait longer with hardware.lease_wait_s=..., or choose others with "
                "hardware.gpus=[...]"
            )
        if on_wait is not None:
            on_wait(f"waiting for a GPU: {_holders(gpus)}")
            on_wait = None
        time.sleep(_POLL_S)


def _holders(gpus: Mapping[str, str]) -> str:
    owners = {name: Lease(uuid).owner() for uuid, name in gpus.items()}
    held = [f"{name} is held by {owner}" for name, owner in owners.items() if owner is not None]
    return " and ".join(held) or "all are held"


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # In a sticky folder Linux refuses O_CREAT on another user's file, so: open, else make.
    refusals: list[OSError] = []
    for attempt in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR):
        try:
            descriptor = os.open(path, flags | attempt, 0o666)
        except OSError as error:
            refusals.append(error)
            continue
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise HardwareError(f"the lease {path} is no plain file: remove it")
        if attempt & os.O_CREAT:
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users write it, too
        return descriptor
    telling = [r for r in refusals if r.errno not in (errno.ENOENT, errno.EEXIST)] or refusals
    raise HardwareError(
        f"the lease {path} cannot be opened: {telling[0].strerror}; all users of these GPUs must "
        f"be able to write its folder (chmod 1777 {path.parent}), or set {_ENVIRONMENT} to another"
    ) from telling[0]


def _read_owner(descriptor: int) -> Owner:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):  # it has just been taken, or could not be written
        return Owner(0, "somebody", "no more is known")
