"""Hold a power limit, and restore the previous one whatever happens.

The previous limit is written to a journal on disk before it is changed: if the process is killed
and cannot clean up, the next run does, or `energyopt restore`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Self

from energyopt.errors import HardwareError, PowerLimitRefusedError
from energyopt.hardware.power_limit_journal import PowerLimitedGpu, PowerLimitEntry

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_TOLERANCE_W = 1.0  # boards round limits


class PowerLimit:
    """Holds a power limit on some GPUs; a context manager that restores the previous ones.

    Also on SIGTERM and SIGHUP if they have no other handler; after SIGKILL `restore_stale` does.

    Args:
        boards: The GPUs; the caller holds their leases.
        limit_w: Limit of each GPU, in W; None leaves it alone until `set` is called.

    Raises:
        PowerLimitRefusedError: On entering, if the limit is out of range or may not be set.

    Attributes:
        held_w: The limit that was set last, in W; None before any.
        is_changing: Whether another one is being set at this moment.
    """

    def __init__(self, boards: Sequence[PowerLimitedGpu], limit_w: float | None = None) -> None:
        self._boards = boards
        self._initial_w = limit_w
        self.held_w: float | None = None
        self.is_changing = False
        self._handlers: dict[int, signal.Handlers] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        self._handle_signals()
        try:
            if self._initial_w is not None:
                self.set(self._initial_w)
        except BaseException:
            self._restore()
            raise
        return self

    def set(self, limit_w: float) -> None:
        """Change the limit of all GPUs.

        Raises:
            PowerLimitRefusedError: If it is out of range or may not be set.
        """
        for board in self._boards:
            check_range(board, limit_w)
        self.is_changing = True
        try:
            for board in self._boards:
                with _signals_blocked():
                    PowerLimitEntry.open(board).write(limit_w)
                    board.set_limit_w(limit_w)
            self.held_w = limit_w
        finally:
            self.is_changing = False

    def limit_w(self) -> float:
        """Return the lowest limit in force, in W."""
        return min(board.limit_w() for board in self._boards)

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        if os.getpid() != self._pid:  # a fork, such as a data loader's worker; the parent trains on
            return
        refusals = []
        with _signals_blocked():
            for board in self._boards:
                try:
                    restore(board)
                except HardwareError as refusal:  # restore the other GPUs all the same
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
            # Another handler raises, and so leads through __exit__, or is deliberate.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._restore_and_exit)
                self._handlers[number] = signal.SIG_DFL

    def _restore_and_exit(self, number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(HardwareError):  # the journal stays, for a later restore
            self._restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals: a second Ctrl-C must not interrupt the cleanup that the first began."""
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def check_range(board: PowerLimitedGpu, limit_w: float) -> None:
    """Refuse a limit that a GPU does not accept.

    Raises:
        PowerLimitRefusedError: If it is out of range; the error names the range.
    """
    low_w, high_w = board.limits_w()
    if not low_w <= limit_w <= high_w:
        raise PowerLimitRefusedError(
            f"hardware.power_limit_w={limit_w:g} is outside {low_w:g} to {high_w:g} W of "
            f"{board.name}; choose a value in the range, or null to leave the limit"
        )


def restore(board: PowerLimitedGpu) -> None:
    """Restore a GPU's previous limit, if a journal says that it was changed.

    A limit that another process has set since is left alone.

    Raises:
        PowerLimitRefusedError: If it may not be set, or another user's run changed it; the journal
            stays.
    """
    entry = PowerLimitEntry.find(board.uuid)
    if entry is not None:
        restore_from(entry, board)


def restore_from(entry: PowerLimitEntry, board: PowerLimitedGpu) -> None:
    """Restore the previous limit of a journal, unless another process has changed it since.

    Raises:
        PowerLimitRefusedError: If it may not be set; the entry stays.
    """
    current_w = board.limit_w()
    if any(abs(current_w - held_w) <= _TOLERANCE_W for held_w in entry.held_w):
        board.set_limit_w(entry.previous_w)
    entry.remove()
