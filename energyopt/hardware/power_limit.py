"""Hold a power limit, and put the previous one back whatever happens.

Before a limit is changed, the previous one is written to a journal that is on the disk: where a
process is killed and cannot clean up, the next one does, or `energyopt restore`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Self

from energyopt.errors import HardwareError, PowerLimitRefusedError
from energyopt.hardware.power_limit_journal import Entry, Limited, left_by_other, not_ours

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_SAME_W = 1.0


class PowerLimit:
    """Holds a power limit on some GPUs; a context manager that restores the previous ones.

    Also on SIGTERM and SIGHUP where nobody else handles them; after SIGKILL `restore_stale` does.

    Args:
        boards: The GPUs; the caller holds their leases.
        limit_w: Limit of each, in W; None leaves it until `set` is called.

    Raises:
        PowerLimitRefusedError: On entering, if the limit is out of range or may not be set.
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
            PowerLimitRefusedError: If it is out of range or may not be set.
        """
        for board in self._boards:
            check_range(board, limit_w)
        for board in self._boards:
            with _undisturbed():
                Entry.begin(board).write(limit_w)
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
        PowerLimitRefusedError: Naming the range.
    """
    low_w, high_w = board.limits_w()
    if not low_w <= limit_w <= high_w:
        raise PowerLimitRefusedError(
            f"hardware.power_limit_w={limit_w:g} is outside {low_w:g} to {high_w:g} W of "
            f"{board.name}; choose a value in the range, or null to leave the limit"
        )


def restore(board: Limited) -> None:
    """Put a GPU's previous limit back, if a journal says that it was changed.

    A limit that somebody else has set since is left alone.

    Raises:
        PowerLimitRefusedError: If it may not be set, or another user's run changed it; the journal
            stays.
    """
    entry = Entry.read(board.uuid)
    if entry is not None:
        put_back(board, entry)
        return
    foreign = left_by_other(board.uuid)
    if foreign is not None:
        raise PowerLimitRefusedError(not_ours(foreign))


def put_back(board: Limited, entry: Entry) -> None:
    """Put back what an entry tells of, unless somebody else has changed it since.

    Raises:
        PowerLimitRefusedError: If it may not be set; the entry stays.
    """
    now_w = board.limit_w()
    if any(abs(now_w - held_w) <= _SAME_W for held_w in entry.held_w):
        board.set_limit_w(entry.previous_w)
    entry.remove()
