"""Journal of changed power limits, on disk before a limit is changed.

One small file per GPU, in the folder that all users share. Only the user's own and root's files
are trusted.
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
from energyopt.hardware.lease import open_plain
from energyopt.hardware.run_folder import Place, make_run_dir, places, run_dir
from energyopt.utils.files import write_atomically
from energyopt.utils.process import boot_id

_SUFFIX = ".limit.json"


class PowerLimitedGpu(Protocol):
    """A GPU with a power limit."""

    uuid: str
    name: str

    def limit_w(self) -> float:
        """Return the limit in force, in W."""

    def limits_w(self) -> tuple[float, float]:
        """Return the lowest and the highest limit that it accepts, in W."""

    def set_limit_w(self, limit_w: float) -> None:
        """Set the limit, in W, and read it back."""


@dataclass(frozen=True, slots=True)
class StalePowerLimit:
    """A power limit that a process has changed and not (or not yet) restored."""

    uuid: str  # of the GPU
    user: str  # of the process
    previous_w: float | None  # None if this user cannot restore it
    restorer: str = ""  # who can, then

    def __str__(self) -> str:
        """Say that only another user may restore it."""
        return (
            f"a run of {self.user} that was killed left the power limit changed, and only "
            f"{self.restorer} may put it back: energyopt restore"
        )


def changed_limits() -> list[StalePowerLimit]:
    """Return all power limits that a journal says are changed, other users' included."""
    limits = []
    paths = [path for place in places() for path in place.folder.glob(f"*{_SUFFIX}")]
    for uuid in sorted({path.name.removesuffix(_SUFFIX) for path in paths}):
        entry = PowerLimitEntry.read(uuid)
        if entry is not None:
            limits.append(StalePowerLimit(uuid, entry.user, entry.previous_w))
        elif (limit := untrusted_limit(uuid)) is not None:
            limits.append(limit)
    return limits


def untrusted_limit(uuid: str) -> StalePowerLimit | None:
    """Return the changed limit of a GPU of which only a file tells that is not trusted."""
    for place in places():
        path = _path(uuid, place.folder)
        try:
            owner = path.lstat().st_uid
        except OSError:
            continue
        is_own = owner in (0, os.geteuid())
        # Of a file of our own in a safe folder nothing is left to say: it is damaged.
        if (is_own and place.safe) or PowerLimitEntry.read(uuid, untrusted=True) is None:
            continue
        user = _name_of(owner)
        place_name = f"root (since others may change {place.folder}, where {path.name} tells of it)"
        return StalePowerLimit(uuid, user, None, place_name if is_own else f"{user} or root")
    return None


def stale_limits() -> list[str]:
    """Return the UUIDs of GPUs whose limit was changed and not (or not yet) restored."""
    return [limit.uuid for limit in changed_limits() if limit.previous_w is not None]


@dataclass(frozen=True, slots=True)
class PowerLimitEntry:
    """The journal of one GPU."""

    uuid: str
    previous_w: float  # the limit before we changed it
    held_w: tuple[float, ...]  # the limits that we have set since
    boot_id: str  # a reboot resets limits to their defaults
    pid: int  # the process that changed the limit
    user: str  # of that process

    @classmethod
    def open(cls, board: PowerLimitedGpu) -> PowerLimitEntry:
        """Return the entry of a GPU, or a new one.

        An entry of a dead process stays, with the limit from before that process.

        Raises:
            PowerLimitRefusedError: If only another user may undo it.
        """
        return cls.find(board.uuid) or cls(
            board.uuid, board.limit_w(), (), boot_id(), os.getpid(), user_name()
        )

    @classmethod
    def find(cls, uuid: str) -> PowerLimitEntry | None:
        """Return the entry of a GPU; None if its limit is unchanged.

        Raises:
            PowerLimitRefusedError: If only another user may undo it.
        """
        entry = cls.read(uuid)
        if entry is None and (limit := untrusted_limit(uuid)) is not None:
            raise PowerLimitRefusedError(str(limit))
        return entry

    @classmethod
    def read(
        cls, uuid: str, *, requested: bool = False, untrusted: bool = False
    ) -> PowerLimitEntry | None:
        """Return the entry of a GPU; None if there is no valid one.

        Args:
            uuid: UUID of the GPU.
            requested: Let root follow another user's entry.
            untrusted: Read an entry only to report it, without following it.
        """
        for place in places():
            entry = cls._read(uuid, place, requested=requested, untrusted=untrusted)
            if entry is not None:
                return entry
        return None

    @classmethod
    def _read(
        cls, uuid: str, place: Place, *, requested: bool, untrusted: bool
    ) -> PowerLimitEntry | None:
        try:
            with os.fdopen(open_plain(_path(uuid, place.folder))) as file:
                owner = os.fstat(file.fileno()).st_uid
                data = json.load(file)
            entry = cls(**{**data, "held_w": tuple(data["held_w"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        # Another user could make us set a "previous" limit.
        is_own = place.safe and owner in (0, os.geteuid())
        is_trusted = is_own or (requested and os.geteuid() == 0)
        if not (is_trusted or untrusted) or entry.uuid != uuid:
            return None
        if entry.boot_id != boot_id():
            entry.remove()
            return None
        return entry

    def write(self, held_w: float) -> None:
        """Write the entry to disk, with a limit that is about to be set.

        Raises:
            PowerLimitRefusedError: If it cannot be written; the limit must then not be changed.
        """
        make_run_dir()
        path = _path(self.uuid, run_dir())
        data = {**asdict(self), "held_w": [*self.held_w, held_w]}
        try:
            # Whatever the umask: other users may read it.
            write_atomically(path, json.dumps(data), permissions=0o644)
            _sync_folder(path.parent)
        except OSError as error:
            raise PowerLimitRefusedError(
                f"no power limit is changed, because {path}, which would tell of it after a crash, "
                f"cannot be written: {error.strerror}"
            ) from error

    def remove(self) -> None:
        """Delete the entry: the limit is restored."""
        for place in places():
            path = _path(self.uuid, place.folder)
            with contextlib.suppress(OSError):
                if os.geteuid() in (0, path.lstat().st_uid):
                    path.unlink()
                    _sync_folder(place.folder)


def _path(uuid: str, folder: Path) -> Path:
    return folder / f"{uuid}{_SUFFIX}"


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
