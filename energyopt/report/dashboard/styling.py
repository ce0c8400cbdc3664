"""Style of the dashboard's pages: our figures first and in order, nothing that cannot edit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PLOT = 'div:has(> .MuiCard-root [id^="user-defined-plot:energyopt-'
_MAX_FIGURES = 40
# The dashboard lists figures in the order of a set, below its own. Its page is a column of cards
# and one grid, which holds them; both can be reordered where they are. Its importances, of a few
# trials as of many, give way to ours.
_ORDER = "\n".join(
    f'{_PLOT}{index:02}-"]) {{ order: {index - _MAX_FIGURES}; }}' for index in range(_MAX_FIGURES)
)
FIGURES_FIRST = f"""
{_PLOT}"]) {{ flex-basis: 100% !important; max-width: 60rem !important; padding: 16px 0 0 16px; }}
{_ORDER}
*:has(> .MuiGrid-container > div > .MuiCard-root [id^="user-defined-plot:energyopt-"]) {{
  display: flex; flex-direction: column;
}}
.MuiGrid-container:has(> div > .MuiCard-root [id^="user-defined-plot:energyopt-"]) {{ order: -1; }}
.MuiGrid-container:has([id^="user-defined-plot:energyopt-"]) >
div:has(#graph-hyperparameter-importances) {{ display: none; }}
[id^="user-defined-plot:energyopt-"] {{ height: auto !important; }}
"""

NO_EDITING = """
[aria-label="rename study"], [aria-label="delete study"], button:has([data-testid^="Edit"]),
button:has([data-testid^="Add"]), .MuiCard-root:has(.MuiCardActionArea-root + input[type="file"]),
.MuiCard-root:has(.MuiCardActionArea-root input[type="file"]) { display: none !important; }
"""


class Styled:
    """WSGI application that adds style to the page of the dashboard.

    Args:
        app: The dashboard.
        style: The style, as CSS.
    """

    def __init__(self, app: WSGIApplication, style: str) -> None:
        self._app = app
        self._style = f"<style>{style}</style></head>".encode()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] != "GET" or not path.startswith("/dashboard"):
            return self._app(environ, start_response)
        # Only a whole page can be changed.
        whole = {k: v for k, v in environ.items() if not k.startswith(("HTTP_IF_", "HTTP_RANGE"))}
        started: list[Any] = []

        def start(*words: Any) -> Any:
            started.append(words)

        page = b"".join(self._app(whole, start))
        status, headers, *error = started[-1]
        page = page.replace(b"</head>", self._style, 1)
        sizes = ("content-length", "last-modified", "etag")
        kept = [(name, value) for name, value in headers if name.lower() not in sizes]
        start_response(status, [*kept, ("Content-Length", str(len(page)))], *error)
        return [page]
