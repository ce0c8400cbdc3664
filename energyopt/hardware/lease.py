"""One trial per GPU: leases by UUID, as locked files that all users of a machine share.

An energy counter belongs to a board: two trials on one GPU would each read the energy of both. So
it is with the CPU packages, which have one lease together: a process runs on any of them. The lock
is held by the process, so the kernel releases it however the process ends.
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
from energyopt.utils.locks import try_lock

_POLL_S = 0.2
_LOCK_RETRIES = 2  # a process that reads a lease's owner locks it for a moment
_LOCK_RETRY_S = 0.01
_ENVIRONMENT = "ENERGYOPT_RUN_DIR"
PACKAGES = "cpu-packages"
"""Name of the lease of all CPU packages of this machine, in place of a UUID."""


def run_dir() -> Path:
    """Return the folder of leases and power limit journals, one for all users of this machine.

    Not the user's TMPDIR: other users must find it. ENERGYOPT_RUN_DIR names another folder.
    """
    return Path(os.environ.get(_ENVIRONMENT, "/tmp/energyopt"))  # noqa: S108  # see make_run_dir


def make_run_dir() -> Path:
    """Return the folder of leases and power limit journals; create it if it does not exist.

    Raises:
        HardwareError: If it cannot be created, or is not a plain folder.
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
    """Open a regular file for reading; refuse links, and pipes, on which open() could hang.

    Raises:
        OSError: If it is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return descriptor


@dataclass(frozen=True, slots=True)
class Owner:
    """The holder of a lease."""

    pid: int
    user: str
    what: str  # its activity, such as the folder that it runs in

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} ({self.what})"


class Lease:
    """A GPU, of this UUID, or the CPU packages (`PACKAGES`), held for this process."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self._descriptor: int | None = None

    @property
    def _path(self) -> Path:
        return run_dir() / f"{self.uuid}.lease"

    def take(self) -> bool:
        """Take the lease, if it is free; return True if it was.

        Raises:
            HardwareError: If its file cannot be opened or locked.
        """
        make_run_dir()
        descriptor = _open(self._path)
        try:
            is_taken = _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise HardwareError(
                f"the lease {self._path} cannot be locked: {error.strerror}; set {_ENVIRONMENT} to "
                "a folder on a local disk that all users of these GPUs may write"
            ) from error
        if not is_taken:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(descriptor)
        owner = {"pid": os.getpid(), "user": user_name(), "what": str(Path.cwd())}
        # Another user's file in a sticky folder can be locked, but perhaps not written.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        return True

    def release(self) -> None:
        """Release the lease; its file stays, since a new file would be another lock."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a fork may still have the file open
            os.close(self._descriptor)
            self._descriptor = None

    def owner(self) -> Owner | None:
        """Return its holder; None if it is free."""
        try:
            descriptor = open_plain(self._path)
        except OSError:
            return None
        try:
            return None if try_lock(descriptor, shared=True) else _read_owner(descriptor)
        finally:
            os.close(descriptor)


_held: set[int] = set()


def _close_in_fork() -> None:
    """Close leases in a fork, such as a data loader's worker, which may outlive its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_fork)


def _lock(descriptor: int) -> bool:
    for _ in range(_LOCK_RETRIES):
        if try_lock(descriptor):
            return True
        time.sleep(_LOCK_RETRY_S)
    return try_lock(descriptor)


def take_some(
    gpus: Mapping[str, str],
    count: int,
    wait_s: float,
    on_wait: Callable[[str], None] | None = None,
) -> list[Lease]:
    """Lease the first free GPUs of a list.

    Args:
        gpus: The acceptable GPUs in order of preference: names for people, by UUID.
        count: Number of GPUs needed.
        wait_s: How long to wait for them, in s.
        on_wait: Called once with the holders of the GPUs if it has to wait.

    Raises:
        GpusBusyError: If too few are free by then; it names the holders.
    """

    def say_waiting() -> None:
        if on_wait is not None:
            on_wait(f"waiting for a GPU: {_holders(gpus)}")

    leases = _wait_for(lambda: _take_free(gpus, count), wait_s, say_waiting)
    if leases is None:
        raise GpusBusyError(
            f"a trial needs {'a GPU' if count == 1 else f'{count} GPUs'} for itself, and "
            f"{_holders(gpus)}: energy counters belong to whole boards; waited {wait_s:g} s, "
            "wait longer with hardware.lease_wait_s=..., or choose others with hardware.gpus=[...]"
        )
    return leases


def take_packages(
    wait_s: float, on_wait: Callable[[str], None] | None = None, *, on_gpus: bool = False
) -> Lease:
    """Lease the CPU packages of this machine.

    Args:
        wait_s: How long to wait for them, in s.
        on_wait: Called once with their holder if it has to wait.
        on_gpus: Whether GPUs are metered as well, which an estimate would miss.

    Raises:
        GpusBusyError: If they are not free by then; it names the holder.
    """
    advice = "set hardware.cpu=false" if on_gpus else "choose hardware=estimate"
    names = {PACKAGES: "the CPU's counter (RAPL)"}

    def say_waiting() -> None:
        if on_wait is not None:
            on_wait(f"waiting for the CPU: {_holders(names)}")

    leases = _wait_for(lambda: _take_free(names, 1), wait_s, say_waiting)
    if leases is None:
        raise GpusBusyError(
            f"a trial needs the CPU packages for itself, and {_holders(names)}: energy counters "
            f"belong to whole packages; waited {wait_s:g} s, wait longer with "
            f"hardware.lease_wait_s=..., or {advice}"
        )
    return leases[0]


def _take_free(names: Mapping[str, str], count: int) -> list[Lease] | None:
    """Take the first free ones; None, and none is taken, if there are too few."""
    leases: list[Lease] = []
    for uuid in names:
        lease = Lease(uuid)
        if len(leases) < count and lease.take():
            leases.append(lease)
    if len(leases) == count:
        return leases
    # All or none: two trials that hold half each would wait forever.
    for lease in leases:
        lease.release()
    return None


def _wait_for(
    take: Callable[[], list[Lease] | None], wait_s: float, say_waiting: Callable[[], None]
) -> list[Lease] | None:
    """Try to take leases until a time has passed; None if they are not free by then."""
    deadline_s = time.monotonic() + wait_s
    leases = take()
    if leases is None and wait_s > 0:
        say_waiting()
    while leases is None and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        leases = take()
    return leases


def _holders(gpus: Mapping[str, str]) -> str:
    owners = {name: Lease(uuid).owner() for uuid, name in gpus.items()}
    holders = [f"{name} is held by {owner}" for name, owner in owners.items() if owner is not None]
    return " and ".join(holders) or "all are held"


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # In a sticky folder Linux refuses O_CREAT on another user's file, so: open, else create.
    errors: list[OSError] = []
    for access in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR):
        try:
            descriptor = os.open(path, flags | access, 0o666)
        except OSError as error:
            errors.append(error)
            continue
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise HardwareError(f"the lease {path} is no plain file: remove it")
        if access & os.O_CREAT:
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users write it, too
        return descriptor
    causes = [e for e in errors if e.errno not in (errno.ENOENT, errno.EEXIST)] or errors
    raise HardwareError(
        f"the lease {path} cannot be opened: {causes[0].strerror}; all users of these GPUs must "
        f"be able to write its folder (chmod 1777 {path.parent}), or set {_ENVIRONMENT} to another"
    ) from causes[0]


def _read_owner(descriptor: int) -> Owner:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):  # it has just been taken, or could not be written
        return Owner(0, "another user", "no more is known")
