"""Optuna's dashboard for people on this machine: it has no login, so this guards its door.

What runs in a browser can reach any port of this machine, on behalf of any page that is open in
it. Pages of others send their own name as Host (also after DNS rebinding) or as Origin.
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
from energyopt.report.dashboard.overlay import Overlay, asking_for
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import open_database, read_only
from energyopt.storage.reader import read_study

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_READING = ("GET", "HEAD")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HTTP_PORT = 80
_SHARING = "access-control-allow-origin"
_STUDY = re.compile(r"/(?:api/studies|artifacts|csv)/(\d+)")


class Guard:
    """Lets through what the person who started the dashboard asks for.

    Args:
        app: What is guarded.
        host: Where it listens.
        port: Likewise.
        write: Whether more than reading is let through, for pages of the dashboard itself.
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
        if environ["REQUEST_METHOD"] not in _READING:
            if not self._write:
                says = "this dashboard only shows; start it with --write to change studies"
                return _refuse(start_response, "405 Method Not Allowed", says)
            if urlsplit(environ.get("HTTP_ORIGIN", "")).netloc.lower() != host:
                says = "only pages of this dashboard may change studies"
                return _refuse(start_response, "403 Forbidden", says)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            # Optuna lets the pages of others read artifacts.
            kept = [each for each in headers if each[0].lower() != _SHARING]
            # In a frame of another's page, clicks would come from ours.
            return start_response(status, [*kept, ("X-Frame-Options", "DENY")], *error)

        return self._app(environ, start)

    def _is_ours(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, port = host, str(_HTTP_PORT)
        if port != str(self._port):
            return False
        return name in self._names or (self._remote and _is_address(name.strip("[]")))


class Reader:
    """Answers who reads over the overlay, and who writes without it.

    Args:
        reading: The dashboard over an overlay.
        writing: The same over the database itself; None where nothing is written.
    """

    def __init__(self, reading: WSGIApplication, writing: WSGIApplication | None) -> None:
        self._reading = reading
        self._writing = writing

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._writing is not None and environ["REQUEST_METHOD"] not in _READING:
            return self._writing(environ, start_response)
        found = _STUDY.match(environ.get("PATH_INFO", ""))
        with asking_for(int(found[1]) if found else None):
            return self._reading(environ, start_response)


def serve(
    where: str,
    host: str,
    port: int,
    *,
    study: str | None,
    write: bool,
    say: Callable[[str], None],
) -> None:
    """Show the studies of a storage in a browser, until interrupted.

    Args:
        where: A file or a SQLAlchemy URL.
        host: Where to listen.
        port: Likewise; 0 takes a free one.
        study: The study whose page is named; None names that of all.
        write: Whether studies may be changed.
        say: Is told the address, once it answers.

    Raises:
        ConfigError: If the package is missing, or it cannot listen there.
        StorageError: If the database cannot be read.
        StudyError: If there is no such study.
        KeyboardInterrupt: At the end.
    """
    try:
        with quiet_optuna():
            from optuna_dashboard import wsgi
    except ImportError as error:
        raise ConfigError(
            f"the dashboard cannot be imported ({error}); pip install 'energyopt[dashboard]'"
        ) from error
    storage = open_database(where, create=False)
    if study is not None:
        read_study(where, study)  # says which there are
    page = "" if study is None else f"studies/{storage.get_study_id_from_name(study)}"
    # For writing as a study does: its lock is taken early, and waited for.
    storage = open_database(where, create=True) if write else read_only(storage)
    reading = wsgi(Overlay(storage), artifact_store=Artifacts(storage))
    app = Reader(reading, wsgi(storage) if write else None)
    with _listening(host, port) as server, quiet_optuna():
        port = server.server_port
        server.set_app(Guard(app, host, port, write=write))
        say(f"http://{_in_url(host)}:{port}/dashboard/{page}")
        server.serve_forever()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _listening(host: str, port: int) -> _Server:
    try:
        return _Server((host, port), _Quiet)
    except OSError as error:
        another = "choose another with --port, or 0 for a free one"
        raise ConfigError(
            f"the dashboard cannot listen on {host}, port {port}: {error.strerror or error}; "
            f"{another}"
        ) from error
    except OverflowError as error:
        raise ConfigError(f"--port {port}: a port is a number from 0 to 65535") from error


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser that keeps a connection must not keep us

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        # HTTPServer would ask the network for the name of the address.
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Say nothing: the terminal is for what the user has to know."""


def _refuse(start_response: StartResponse, status: str, says: str) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    if status.startswith("405"):
        headers.append(("Allow", ", ".join(_READING)))
    start_response(status, headers)
    return [f"{says}\n".encode()]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
