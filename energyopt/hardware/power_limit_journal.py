"""What was changed of GPUs' power limits, on the disk before it is changed.

One small file a GPU, in the folder that all users share. Only one's own and root's are followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from energyopt.errors import PowerLimitRefusedError
from energyopt.hardware.host import user_name
from energyopt.hardware.lease import make_run_dir, open_plain, run_dir
from energyopt.utils.process import boot_id

_SUFFIX = ".limit.json"


class Limited(Protocol):
    """A GPU with a power limit."""

    uuid: str
    name: str

    def limit_w(self) -> float:
        """The limit in force, in W."""

    def limits_w(self) -> tuple[float, float]:
        """The lowest and the highest that it takes, in W."""

    def set_limit_w(self, limit_w: float) -> None:
        """Set the limit, in W, and read it back."""


@dataclass(frozen=True, slots=True)
class LeftLimit:
    """A power limit that a process has changed and not put back (perhaps yet).

    Attributes:
        uuid: The GPU's.
        user: Whose process.
        previous_w: The limit from before, in W; None where this user cannot put it back.
    """

    uuid: str
    user: str
    previous_w: float | None


def left_limits() -> list[LeftLimit]:
    """All power limits that are told of as changed, other users' included."""
    found = []
    for path in sorted(run_dir().glob(f"*{_SUFFIX}")):
        uuid = path.name.removesuffix(_SUFFIX)
        entry = Entry.read(uuid)
        if entry is not None:
            found.append(LeftLimit(uuid, entry.user, entry.previous_w))
        elif (user := left_by_other(uuid)) is not None:
            found.append(LeftLimit(uuid, user, None))
    return found


def left_by_other(uuid: str) -> str | None:
    """The user whose run has changed a limit, where this one's word does not count for it."""
    try:
        owner = _path(uuid).lstat().st_uid
    except OSError:
        return None
    if owner in (0, os.geteuid()):
        return None  # a damaged one of ours
    entry = Entry.read(uuid, told=True)
    return _name_of(owner) if entry is not None else None


def stale_limits() -> list[str]:
    """UUIDs of the GPUs whose limit a process changed and has not put back (perhaps yet)."""
    return [left.uuid for left in left_limits() if left.previous_w is not None]


def not_ours(user: str) -> str:
    """Say that a changed limit is another user's to put back."""
    return (
        f"a run of {user} that was killed left the power limit changed, and only {user} or root "
        "may put it back: energyopt restore"
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """The journal of one GPU.

    Attributes:
        uuid: The GPU's.
        previous_w: Its limit before we changed it, in W.
        held_w: The limits that we have set since, in W.
        boot_id: Of the running kernel: a reboot sets limits back by itself.
        pid: The process that changed it.
        user: Its user.
    """

    uuid: str
    previous_w: float
    held_w: tuple[float, ...]
    boot_id: str
    pid: int
    user: str

    @classmethod
    def begin(cls, board: Limited) -> Entry:
        """That of a GPU, or a new one; one that a dead process left keeps what was before it.

        Raises:
            PowerLimitRefusedError: If another user's run left one, which only that user may undo.
        """
        known = cls.read(board.uuid)
        if known is not None:
            return known
        foreign = left_by_other(board.uuid)
        if foreign is not None:
            raise PowerLimitRefusedError(not_ours(foreign))
        return cls(board.uuid, board.limit_w(), (), boot_id(), os.getpid(), user_name())

    @classmethod
    def read(cls, uuid: str, *, asked: bool = False, told: bool = False) -> Entry | None:
        """The journal of a GPU; None if there is none that counts.

        Args:
            uuid: The GPU's.
            asked: Whether root follows another user's.
            told: Whether to read what nobody will follow.
        """
        try:
            with os.fdopen(open_plain(_path(uuid))) as file:
                owner = os.fstat(file.fileno()).st_uid
                data = json.load(file)
            entry = cls(**{**data, "held_w": tuple(data["held_w"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        # In a folder that all may write, anybody could leave a "previous" limit for us to set.
        trusted = owner in (0, os.geteuid()) or told or (asked and os.geteuid() == 0)
        if not trusted or entry.uuid != uuid:
            return None
        if entry.boot_id != boot_id():
            entry.remove()
            return None
        return entry

    def write(self, held_w: float) -> None:
        """Put it on the disk, with a limit that is about to be set.

        Raises:
            PowerLimitRefusedError: If it cannot be written: then no limit may be changed.
        """
        make_run_dir()
        path = _path(self.uuid)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        data = {**asdict(self), "held_w": [*self.held_w, held_w]}
        try:
            fresh.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o644), "w") as file:
                os.fchmod(file.fileno(), 0o644)  # whatever the umask: others are told of it
                json.dump(data, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise PowerLimitRefusedError(
                f"no power limit is changed, because {path}, which would tell of it after a crash, "
                f"cannot be written: {error.strerror}"
            ) from error

    def remove(self) -> None:
        """The limit is as it was."""
        with contextlib.suppress(OSError):
            _path(self.uuid).unlink(missing_ok=True)
            _sync_folder(run_dir())


def _path(uuid: str) -> Path:
    return run_dir() / f"{uuid}{_SUFFIX}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user has no name
        return f"user {uid}"
