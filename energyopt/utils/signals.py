"""Handling of Ctrl-C, SIGTERM and SIGHUP: never in the middle of storing energy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal requested the end of the program.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, as in a shell.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise `Interrupted` at any point: for work that stores no energy."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(interrupt):
        yield


@contextmanager
def deferring(on_interrupt: Callable[[Interrupted], None]) -> Iterator[None]:
    """Report the first signal instead of raising; a second one ends the process at once.

    The next run reconciles what such a process leaves.

    Args:
        on_interrupt: Called from the signal handler, so it must not take locks.
    """
    interrupted = False

    def defer(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(128 + number)
        interrupted = True
        on_interrupt(Interrupted(number))

    with _handling(defer):
        yield


@contextmanager
def forwarding(send: Callable[[int], None]) -> Iterator[list[int]]:
    """Pass each signal on, and give the list of those that came: for a process that waits.

    Args:
        send: Called from the signal handler with the signal's number.
    """
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        send(number)

    with _handling(forward):
        yield received


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [n for n in _SIGNALS if not (n == signal.SIGHUP and _is_ignored(n))]  # nohup
    old_handlers = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, old_handler in old_handlers.items():
            signal.signal(number, old_handler)


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
