"""One trial a GPU: leases by UUID, as locked files that all users of a machine share.

An energy counter belongs to a board: two trials on one GPU would each be told the joules of
both. The lock is held by the process and dies with it, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from energyopt.errors import GpusTaken, HardwareError
from energyopt.hardware.host import user_name

_POLL_S = 0.2
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
    return folder


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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        words = {"pid": os.getpid(), "user": user_name(), "what": str(Path.cwd())}
        # Another user's file in a sticky folder may be locked, but perhaps not written.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(words).encode(), 0)
        return True

    def release(self) -> None:
        """Give it back; its file stays, since a new one would be another lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def owner(self) -> Owner | None:
        """Who holds it; None if nobody does."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return _read_owner(descriptor)
        finally:
            os.close(descriptor)
        return None


def take_some(uuids: Sequence[str], count: int, wait_s: float) -> list[Lease]:
    """Take leases of the first free ones of some GPUs.

    Args:
        uuids: The GPUs that will do, in the order of preference.
        count: How many are needed.
        wait_s: How long to wait for them, in s.

    Raises:
        GpusTaken: If they are still held then; it says by whom.
    """
    until_s = time.monotonic() + wait_s
    while True:
        taken: list[Lease] = []
        for uuid in uuids:
            lease = Lease(uuid)
            if len(taken) < count and lease.take():
                taken.append(lease)
        if len(taken) == count:
            return taken
        # All or none: two trials that hold half each would wait for ever.
        for lease in taken:
            lease.release()
        if time.monotonic() >= until_s:
            raise GpusTaken(_all_held(uuids, count, wait_s))
        time.sleep(_POLL_S)


def _all_held(uuids: Sequence[str], count: int, wait_s: float) -> str:
    owners = [(uuid, Lease(uuid).owner()) for uuid in uuids]
    held = ", ".join(f"{uuid} by {owner}" for uuid, owner in owners if owner is not None)
    return (
        f"a trial needs {count} of {len(uuids)} GPUs for itself, and {held or 'all'} are taken: "
        f"energy counters belong to whole boards; waited {wait_s:g} s, wait longer with "
        "hardware.lease_wait_s=..., or choose others with hardware.gpus=[...]"
    )


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    # In a sticky folder Linux refuses O_CREAT on another user's file, so: open, else make.
    for attempt in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR):
        try:
            descriptor = os.open(path, flags | attempt, 0o666)
        except OSError as error:
            refusal = error
            continue
        if attempt & os.O_CREAT:
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users write it, too
        return descriptor
    raise HardwareError(f"the lease {path} cannot be opened: {refusal.strerror}") from refusal


def _read_owner(descriptor: int) -> Owner:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):  # it has just been taken, or could not be written
        return Owner(0, "somebody", "no more is known")
