"""Ctrl-C, SIGTERM and SIGHUP: bookkeeping first, and never in the middle of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked to end.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, as a shell would say it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise `Interrupted` where the program is: for work that keeps no books."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(interrupt):
        yield


@contextmanager
def deferring(tell: Callable[[Interrupted], None]) -> Iterator[None]:
    """Tell of the first signal instead of raising; a second one ends the process at once.

    What a process that ends at once leaves open, the next run closes.

    Args:
        tell: Called from the signal's handler, so it must not take locks.
    """
    told = False

    def defer(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if told:
            os._exit(128 + number)
        told = True
        tell(Interrupted(number))

    with _handling(defer):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [n for n in _SIGNALS if not (n == signal.SIGHUP and _is_ignored(n))]  # nohup
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
