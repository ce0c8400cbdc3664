"""Progress in a notebook: a display of IPython that is drawn again."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from html import escape
from typing import Any

from rich.console import Console, RenderableType

_INTERVAL_S = 1.0
_WIDTH = 110


class NotebookView:
    """Draws something again each second, until it is stopped; the last drawing stays.

    Args:
        draw: Returns what to show.
    """

    def __init__(self, draw: Callable[[], RenderableType]) -> None:
        self._draw = draw
        self._handle: Any = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(self._text()), display_id=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw for the last time."""
        self._stopped.set()
        self._thread.join()
        self._handle.update(self._html(self._text()))

    def _refresh(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self._handle.update(self._html(self._text()))

    def _text(self) -> str:
        file = io.StringIO()
        console = Console(file=file, width=_WIDTH, force_jupyter=False, no_color=True)
        console.print(self._draw())
        return f"<pre>{escape(file.getvalue())}</pre>"
