"""Serve Optuna's dashboard to users of this machine. It has no login, so requests are checked.

A browser lets any open page send requests to any port of this machine. Foreign pages send their
own name as Host (also after DNS rebinding) or as Origin, so requests with another name are refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from energyopt.errors import ConfigError
from energyopt.report.dashboard.artifacts import Artifacts
from energyopt.report.dashboard.overlay import Overlay, requested_study
from energyopt.report.dashboard.styling import FIGURES_FIRST, NO_EDITING, Styled
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database, read_only
from energyopt.storage.reader import read_study

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_READ_METHODS = ("GET", "HEAD")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HTTP_PORT = 80
_CORS_HEADER = "access-control-allow-origin"
_STUDY_PATH = re.compile(r"/(?:api/studies|artifacts|csv)/(\d+)")


class Guard:
    """WSGI middleware that refuses requests of foreign pages.

    Args:
        app: The application to protect.
        host: Host it listens on.
        port: Port it listens on.
        write: Whether pages of the dashboard itself may send requests that change studies.
    """

    def __init__(self, app: WSGIApplication, host: str, port: int, *, write: bool) -> None:
        self._app = app
        self._port = port
        self._remote = not is_loopback(host)
        names = {*_LOOPBACK, _in_url(host)} | ({socket.gethostname()} if self._remote else set())
        self._names = {name.lower() for name in names}
        self._write = write

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or refuse it."""
        host = environ.get("HTTP_HOST", "").lower()
        if not self._is_ours(host):
            return _refuse(start_response, "403 Forbidden", "this Host is not served here")
        if environ["REQUEST_METHOD"] not in _READ_METHODS:
            if not self._write:
                reason = "this dashboard only shows; start it with --write to change studies"
                return _refuse(start_response, "405 Method Not Allowed", reason)
            if urlsplit(environ.get("HTTP_ORIGIN", "")).netloc.lower() != host:
                reason = "only pages of this dashboard may change studies"
                return _refuse(start_response, "403 Forbidden", reason)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            # Optuna's CORS header would let foreign pages read artifacts.
            safe = [(name, value) for name, value in headers if name.lower() != _CORS_HEADER]
            # Against clickjacking: a foreign page could show the dashboard in a frame.
            return start_response(status, [*safe, ("X-Frame-Options", "DENY")], *error)

        return self._app(environ, start)

    def _is_ours(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, port = host, str(_HTTP_PORT)
        if port != str(self._port):
            return False
        return name in self._names or (self._remote and _is_address(name.strip("[]")))


class Router:
    """WSGI application that reads through the overlay and writes to the database itself.

    Args:
        reading: The dashboard on an overlay.
        writing: The dashboard on the database; None if read-only.
    """

    def __init__(self, reading: WSGIApplication, writing: WSGIApplication | None) -> None:
        self._reading = reading
        self._writing = writing

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._writing is not None and environ["REQUEST_METHOD"] not in _READ_METHODS:
            return self._writing(environ, start_response)
        match = _STUDY_PATH.match(environ.get("PATH_INFO", ""))
        with requested_study(int(match[1]) if match else None):
            return self._reading(environ, start_response)


def serve(
    storage: str,
    host: str,
    port: int,
    *,
    study: str | None,
    write: bool,
    print_text: Callable[[str], None],
) -> None:
    """Show the studies of a storage in a browser, until interrupted.

    Args:
        storage: A file or a SQLAlchemy URL.
        host: Host to listen on.
        port: Port to listen on; 0 takes a free one.
        study: Study whose page to print; None prints the page of all studies.
        write: Whether studies may be changed.
        print_text: Called with the address once the server answers.

    Raises:
        ConfigError: If the package is missing, or the port cannot be used.
        StorageError: If the database cannot be read.
        StudyError: If there is no such study.
        KeyboardInterrupt: When the user ends it.
    """
    try:
        with quiet_optuna():
            from optuna_dashboard import wsgi
    except ImportError as error:
        raise ConfigError(
            f"the dashboard cannot be imported ({error}); pip install 'energyopt[dashboard]'"
        ) from error
    database = open_database(storage, create=False)
    if study is not None:
        read_study(storage, study)  # its error lists the existing studies
    page = "" if study is None else f"studies/{database.get_study_id_from_name(study)}"
    # A writing database locks as a study does: it takes the lock early, and waits for it.
    database = open_database(storage, create=True) if write else read_only(database)
    reading = wsgi(Overlay(database), artifact_store=Artifacts(database))
    styled = Styled(reading, FIGURES_FIRST + ("" if write else NO_EDITING))
    app = Router(styled, wsgi(database) if write else None)
    with _listening(host, port) as server, quiet_optuna():
        port = server.server_port
        server.set_app(Guard(app, host, port, write=write))
        print_text(f"http://{_in_url(host)}:{port}/dashboard/{page}")
        server.serve_forever()


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach the host."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _listening(host: str, port: int) -> _Server:
    try:
        return _Server((host, port), _QuietHandler)
    except OSError as error:
        raise ConfigError(
            f"the dashboard cannot listen on {host}, port {port}: {error.strerror or error}; "
            "choose another with --port, or 0 for a free one"
        ) from error
    except OverflowError as error:
        raise ConfigError(f"--port {port}: a port is a number from 0 to 65535") from error


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # an open connection of a browser must not delay the exit

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        # HTTPServer.server_bind would look the name up in DNS, which can take seconds.
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name in the base class
        """Log no requests: the terminal shows only what the user has to know."""


def _refuse(start_response: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    if status.startswith("405"):
        headers.append(("Allow", ", ".join(_READ_METHODS)))
    start_response(status, headers)
    return [f"{reason}\n".encode()]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
