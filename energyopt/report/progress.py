"""Progress of what takes long: drawn over on a terminal, a line now and then in a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from energyopt.report.console import drawn_over, say

_REFRESHES_PER_S = 4
_LINE_EVERY_S = 600.0


class Progress:
    """Shows how far something is. A context manager.

    Args:
        console: Where to.
        draw: Makes what a terminal shows.
        line: Makes the line of a log; empty where there is nothing to say.
        every_s: How long a log is left alone, in s.
    """

    def __init__(
        self,
        console: Console,
        draw: Callable[[], RenderableType],
        line: Callable[[], str],
        every_s: float = _LINE_EVERY_S,
    ) -> None:
        self._console = console
        self._line = line
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._live: Live | None = None
        if drawn_over(console):
            self._live = Live(
                get_renderable=draw,
                console=console,
                refresh_per_second=_REFRESHES_PER_S,
                transient=True,
            )

    @property
    def drawn(self) -> bool:
        """Whether it is drawn over: then not all that happens needs a line of its own."""
        return self._live is not None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._over.set()
            self._thread.join()

    def _write(self) -> None:
        while not self._over.wait(self._every_s):
            if line := self._line():
                say(self._console, line)
