"""Hold a power limit, and put the previous one back whatever happens.

Before a limit is changed, the previous one is written to a journal that is on the disk: where a
process is killed and cannot clean up, the next one does, or `energyopt restore`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

from energyopt.errors import HardwareError, PowerLimitRefused
from energyopt.hardware.host import user_name
from energyopt.hardware.lease import Lease, make_run_dir, open_plain, run_dir

_SUFFIX = ".limit.json"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SAME_W = 1.0
_POLL_S = 0.05


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


class PowerLimit:
    """Holds a power limit on some GPUs; a context manager that restores the previous ones.

    Also on SIGTERM and SIGHUP where nobody else handles them; after SIGKILL `restore_stale` does.

    Args:
        boards: The GPUs; the caller holds their leases.
        limit_w: Limit of each, in W; None leaves it until `set` is called.

    Raises:
        PowerLimitRefused: On entering, if the limit is out of range or may not be set.
    """

    def __init__(self, boards: Sequence[Limited], limit_w: float | None = None) -> None:
        self._boards = boards
        self._wanted_w = limit_w
        self._handlers: dict[int, signal.Handlers] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        self._handle_signals()
        try:
            if self._wanted_w is not None:
                self.set(self._wanted_w)
        except BaseException:
            self._restore()
            raise
        return self

    def set(self, limit_w: float) -> None:
        """Change the limit of all GPUs.

        Args:
            limit_w: In W.

        Raises:
            PowerLimitRefused: If it is out of range or may not be set.
        """
        for board in self._boards:
            check_range(board, limit_w)
        for board in self._boards:
            with _undisturbed():
                _Entry.begin(board).write(limit_w)
                board.set_limit_w(limit_w)

    def limit_w(self) -> float:
        """The lowest limit in force, in W."""
        return min(board.limit_w() for board in self._boards)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        if os.getpid() != self._pid:  # a fork, such as a data loader's worker: its parent trains on
            return
        refusals = []
        with _undisturbed():
            for board in self._boards:
                try:
                    restore(board)
                except HardwareError as refusal:  # the others want theirs back all the same
                    refusals.append(refusal)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}
        if refusals:
            raise refusals[0]

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            # Another handler raises, and so leads through __exit__, or knows what it does.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)
                self._handlers[number] = signal.SIG_DFL

    def _end(self, number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(HardwareError):  # its journal stays, and is heard of later
            self._restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: a second Ctrl-C must not end what the first one began."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_range(board: Limited, limit_w: float) -> None:
    """Refuse a limit that a GPU does not take.

    Raises:
        PowerLimitRefused: Naming the range.
    """
    low_w, high_w = board.limits_w()
    if not low_w <= limit_w <= high_w:
        raise PowerLimitRefused(
            f"hardware.power_limit_w={limit_w:g} is outside {low_w:g} to {high_w:g} W of "
            f"{board.name}; choose a value in the range, or null to leave the limit"
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a limit that a dead process left.

    Attributes:
        uuid: The GPU's.
        previous_w: The limit from before that process, in W; None where that is another's to say.
        refusal: Why it could not be set; None where it is in force.
        holder: Who holds the GPU and will put it back; None where nobody does.
    """

    uuid: str
    previous_w: float | None
    refusal: str | None = None
    holder: str | None = None

    def __str__(self) -> str:
        if self.holder is not None:
            return f"the power limit of {self.uuid} is what a run holds: {self.holder}"
        if self.previous_w is None:
            return f"the power limit of {self.uuid}: {self.refusal}"
        before = f"{self.previous_w:g} W, the power limit of {self.uuid}"
        if self.refusal is None:
            return f"{before} before a run that was killed, is in force again"
        return f"{before} before a run that was killed, could not be put back: {self.refusal}"


def restore(board: Limited) -> None:
    """Put a GPU's previous limit back, if a journal says that it was changed.

    A limit that somebody else has set since is left alone.

    Raises:
        PowerLimitRefused: If it may not be set, or another user's run changed it; the journal
            stays.
    """
    entry = _Entry.read(board.uuid)
    if entry is not None:
        _put_back(board, entry)
        return
    foreign = _left_by_other(board.uuid)
    if foreign is not None:
        raise PowerLimitRefused(_theirs(foreign))


def _put_back(board: Limited, entry: _Entry) -> None:
    now_w = board.limit_w()
    if any(abs(now_w - held_w) <= _SAME_W for held_w in entry.held_w):
        board.set_limit_w(entry.previous_w)
    entry.remove()


def _theirs(user: str) -> str:
    return (
        f"a run of {user} that was killed left the power limit changed, and only {user} or root "
        "may put it back: energyopt restore"
    )


def restore_stale(
    find: Callable[[str], Limited], *, asked: bool = False, wait_s: float = 0.0
) -> list[Restored]:
    """Put back all limits that dead processes left.

    Args:
        find: The GPU of a UUID; raises `HardwareError` if it is not there.
        asked: Whether a person asked for it: root then takes other users' journals, too, and
            what cannot be done is answered.
        wait_s: How long to wait for GPUs whose trial is about to die, in s.

    Returns:
        What was found; unless asked, a GPU whose lease is held is not among it.
    """
    until_s = time.monotonic() + wait_s
    found = []
    for left in left_limits():
        entry = _Entry.read(left.uuid, asked=asked)
        if entry is None:
            if asked:
                found.append(Restored(left.uuid, None, _theirs(left.user)))
            continue
        lease = Lease(left.uuid)
        while not (taken := lease.take()) and time.monotonic() < until_s:
            time.sleep(_POLL_S)
        if not taken:
            if asked:
                holder = str(lease.owner() or "it has ended meanwhile")
                found.append(Restored(left.uuid, entry.previous_w, holder=holder))
            continue
        try:
            _put_back(find(left.uuid), entry)
        except HardwareError as refusal:
            found.append(Restored(left.uuid, entry.previous_w, str(refusal)))
        else:
            found.append(Restored(left.uuid, entry.previous_w))
        finally:
            lease.release()
    return found


def stale_limits() -> list[str]:
    """UUIDs of the GPUs whose limit a process changed and has not put back (perhaps yet)."""
    return [left.uuid for left in left_limits() if left.previous_w is not None]


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
        entry = _Entry.read(uuid)
        if entry is not None:
            found.append(LeftLimit(uuid, entry.user, entry.previous_w))
        elif (user := _left_by_other(uuid)) is not None:
            found.append(LeftLimit(uuid, user, None))
    return found


def _left_by_other(uuid: str) -> str | None:
    """The user whose run has changed a limit, where this one's word does not count for it."""
    try:
        owner = _path(uuid).lstat().st_uid
    except OSError:
        return None
    if owner in (0, os.geteuid()):
        return None  # a damaged one of ours
    entry = _Entry.read(uuid, told=True)
    return _name_of(owner) if entry is not None else None


@dataclass(frozen=True, slots=True)
class _Entry:
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
    def begin(cls, board: Limited) -> _Entry:
        """That of a GPU, or a new one; one that a dead process left keeps what was before it.

        Raises:
            PowerLimitRefused: If another user's run left one: what was before it is told there.
        """
        known = cls.read(board.uuid)
        if known is not None:
            return known
        foreign = _left_by_other(board.uuid)
        if foreign is not None:
            raise PowerLimitRefused(_theirs(foreign))
        return cls(board.uuid, board.limit_w(), (), _boot_id(), os.getpid(), user_name())

    @classmethod
    def read(cls, uuid: str, *, asked: bool = False, told: bool = False) -> _Entry | None:
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
        if entry.boot_id != _boot_id():
            entry.remove()
            return None
        return entry

    def write(self, held_w: float) -> None:
        """Put it on the disk, with a limit that is about to be set.

        Raises:
            PowerLimitRefused: If it cannot be written: then no limit may be changed.
        """
        make_run_dir()
        path = _path(self.uuid)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        data = {**asdict(self), "held_w": [*self.held_w, held_w]}
        try:
            fresh.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o644), "w") as file:
                json.dump(data, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise PowerLimitRefused(
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


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def by_uuid(boards: Iterable[Limited]) -> Callable[[str], Limited]:
    """A way to find GPUs, for `restore_stale`."""
    known = {board.uuid: board for board in boards}

    def find(uuid: str) -> Limited:
        if uuid not in known:
            raise HardwareError(f"there is no GPU {uuid} on this machine (now)")
        return known[uuid]

    return find
