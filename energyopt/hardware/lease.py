"""One trial per GPU: leases by UUID, as locked files that all users of a machine see.

An energy counter belongs to a board: two trials on one GPU would each read the energy of both. So
it is with the CPU packages, which have one lease together: a process runs on any of them. The lock
is held by the process, so the kernel releases it however the process ends.

Each user locks a file of their own, which no other user can delete, and looks at those of all
others.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware.host import user_name
from energyopt.hardware.run_folder import ENVIRONMENT, opened_run_dir, places, run_dir
from energyopt.utils.locks import try_lock

_POLL_S = 0.2
_LOCK_RETRIES = 2  # a process that reads a lease's owner locks it for a moment
_LOCK_RETRY_S = 0.01
_RACES = 4  # two who take a GPU at one moment see each other, and both try again
_RACE_S = 0.02
_SUFFIX = ".lease"
PACKAGES = "cpu-packages"
"""Name of the lease of all CPU packages of this machine, in place of a UUID."""


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

    def take(self) -> bool:
        """Take the lease, if it is free; return True if it was.

        Raises:
            HardwareError: If its file cannot be opened or locked.
        """
        name = f"{self.uuid}.{os.geteuid()}{_SUFFIX}"
        with opened_run_dir() as folder:
            descriptor = _open_own(folder, name)
        status = os.fstat(descriptor)
        for race in range(_RACES):
            try:
                is_locked = _lock(descriptor)
            except OSError as error:
                os.close(descriptor)
                raise HardwareError(
                    f"the lease {run_dir() / name} cannot be locked: {error.strerror}; set "
                    f"{ENVIRONMENT} to a folder on a local disk that all users of these GPUs see"
                ) from error
            if is_locked and not self._is_held_by_others(status):
                self._hold(descriptor)
                return True
            if not is_locked:
                break
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(random.uniform(0, _RACE_S * (race + 1)))  # noqa: S311  # no secret
        os.close(descriptor)
        return False

    def _is_held_by_others(self, status: os.stat_result) -> bool:
        paths = [path for path in _files(self.uuid) if not _is_same(path, status)]
        return any(_is_locked(path) for path in paths)

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(descriptor)
        owner = {"pid": os.getpid(), "user": user_name(), "what": str(Path.cwd())}
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Release the lease; its file stays, since a new file would be another lock."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a fork may still have the file open
            os.close(self._descriptor)
            self._descriptor = None

    def owner(self) -> Owner | None:
        """Return its holder; None if it is free."""
        for path in _files(self.uuid):
            with contextlib.suppress(OSError), os.fdopen(open_plain(path), "rb") as file:
                if not try_lock(file.fileno(), shared=True):
                    return _read_owner(file.fileno())
        return None


def leased() -> list[str]:
    """Return what was ever leased: UUIDs of GPUs, and perhaps the CPU packages."""
    names = set()
    for place in places():
        with contextlib.suppress(OSError):
            names |= {path.name for path in place.folder.iterdir()}
    return sorted({name.partition(".")[0] for name in names if name.endswith(_SUFFIX)})


_held: set[int] = set()


def _close_in_fork() -> None:
    """Close leases in a fork, such as a data loader's worker, which may outlive its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_fork)


def _lock(descriptor: int, *, shared: bool = False) -> bool:
    for _ in range(_LOCK_RETRIES):
        if try_lock(descriptor, shared=shared):
            return True
        time.sleep(_LOCK_RETRY_S)
    return try_lock(descriptor, shared=shared)


def _is_same(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), status)
    except OSError:
        return False


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


def _open_own(folder: int, name: str) -> int:
    """Open the file of this user's lease in an open folder; make it if it does not exist."""
    path = run_dir() / name
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    except OSError as error:
        raise HardwareError(
            f"the lease {path} cannot be opened: {error.strerror}; remove it if another user "
            f"has made it, let its folder be writable (chmod 1777 {path.parent}, as root), or set "
            f"{ENVIRONMENT} to another"
        ) from error
    status = os.fstat(descriptor)
    is_own = status.st_uid == os.geteuid() and status.st_nlink == 1
    if not (stat.S_ISREG(status.st_mode) and is_own):  # a hard link would overwrite its other name
        os.close(descriptor)
        raise HardwareError(
            f"the lease {path} is no plain file of yours, but another user's, a pipe or a link to "
            f"a file: remove it with `rm {path}`, as its owner or root"
        )
    os.fchmod(descriptor, 0o644)  # whatever the umask: others see who holds it
    return descriptor


def _files(uuid: str) -> Iterator[Path]:
    """Yield the lease files of a GPU, of all users; that of earlier versions had no number."""
    for place in places():
        with contextlib.suppress(OSError):
            for path in sorted(place.folder.iterdir()):
                stem = path.name.removesuffix(_SUFFIX)
                if path.name != stem and (stem == uuid or stem.rpartition(".")[0] == uuid):
                    yield path


def _is_locked(path: Path) -> bool:
    """Return True if a process holds the lock of a file; one that is no plain file has none."""
    try:
        descriptor = open_plain(path)
    except OSError:
        return False
    try:
        return not _lock(descriptor, shared=True)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)


def _read_owner(descriptor: int) -> Owner:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):  # it has just been taken, or could not be written
        return Owner(0, "another user", "no more is known")
