"""Fork `python -m energyopt` from a Python that has imported what it needs already.

A study costs seconds, most of them for importing torch, Optuna, SQLAlchemy and energyopt, and for
what these remember of their first use, in which no test is interested. The forked process is the
program in all else: it has its own folder, environment and streams, and runs `energyopt.cli.main`
from its first line. What concerns a start or a death of a process is tested with `Program.start`,
which starts a new Python.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

_LIBRARIES = (
    *("hydra.main", "hydra.compose", "hydra.core.plugins", "hydra._internal.hydra"),
    *("rich.live", "rich.table", "rich.progress_bar", "scipy.linalg", "scipy.special"),
    *("optuna", "optuna.storages._rdb.storage", "optuna.samplers", "alembic.command"),
    *("sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "sqlite3", "torch", "torch._dynamo"),
    *("torch.profiler", "threadpoolctl", "importlib.resources"),
)
# With all that they import; `energyopt.cli.main` reads the environment.
_OURS = (
    *("energyopt.sweep.sweeper", "energyopt.sweep.own_app", "energyopt.jobs.job"),
    *("energyopt.sweep.space_check", "energyopt.sweep.coordinator", "energyopt.cli.help"),
    *("energyopt.cli.commands", "energyopt.hardware.simulated", "energyopt.report.console"),
)
_SWEEP = ("lr=tag(log,interval(1e-4,1e-1))", "+n=int(range(1,5))", "++a.b=[1,{c: 'd e'}]", "g=x,y")
_READ_AT_START = ("PYTHON", "LD_", "OMP_", "MKL_", "OPENBLAS_", "TORCH", "LC_", "LANG")
_MAY_DIFFER = ("PYTHONPATH", "LD_LIBRARY_PATH")  # the second has a warm Python of its own
_ROOT = Path(__file__).resolve().parents[1]
_READ = 1 << 20
_PID_WIDTH = 10


def can_fork(env: Mapping[str, str]) -> bool:
    """Return True if a forked program is as one that starts in this environment.

    Interpreter and libraries read some variables once, when they start.
    """
    names = {name for name in {*env, *os.environ} if name.startswith(_READ_AT_START)}
    folders = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    copies = [path for path in map(Path, folders) if (path / "energyopt/__init__.py").exists()]
    if any(path.resolve() != _ROOT for path in copies):  # ours is imported already
        return False
    return all(env.get(n) == os.environ.get(n) for n in names.difference(_MAY_DIFFER))


class Forked:
    """A forked `python -m energyopt`, whose output is kept until it ends.

    Attributes:
        pid: Its process.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        server = _server(env.get("LD_LIBRARY_PATH"))
        request = json.dumps({"arguments": arguments, "folder": str(folder), "env": env})
        status, status_writer = os.pipe()
        self._out = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `finish`
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._exit_code = os.fdopen(status, "rb", buffering=0)
        descriptors = [self._out.fileno(), self._err.fileno(), status_writer]
        socket.send_fds(server, [request.encode()], descriptors)
        os.close(status_writer)
        self.pid = int(self._exit_code.read(_PID_WIDTH))

    def ends_within(self, timeout_s: float) -> bool:
        """Return True if it has ended, or does so in this time."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._exit_code, selectors.EVENT_READ)
            return bool(ready.select(timeout_s))

    def finish(self, timeout_s: float) -> tuple[int, str, str]:
        """Wait for its end. Returns its exit code, standard output and error.

        Raises:
            subprocess.TimeoutExpired: If it lasts longer; it is killed.
        """
        with self._exit_code, self._out as out, self._err as err:
            if not self.ends_within(timeout_s):
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self._arguments, timeout_s, _text(out), _text(err))
            return int(self._exit_code.read(_READ)), _text(out), _text(err)


def run(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """Run `python -m energyopt`. Returns its exit code, standard output and error."""
    return Forked(arguments, folder, env).finish(timeout_s)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n").replace("\r", "\n")


@cache
def _server(library_path: str | None) -> socket.socket:
    """Start a warm Python, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {name: value for name, value in os.environ.items() if name not in _MAY_DIFFER}
    if library_path is not None:
        env["LD_LIBRARY_PATH"] = library_path
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def close() -> None:
        ours.close()
        process.wait()

    atexit.register(close)
    return ours


def remember_migrations() -> None:
    """Let alembic read each migration of Optuna's tables once a process.

    To open a database it looks four times for the latest one, and executes all ten for that.
    """
    pyfiles = importlib.import_module("alembic.util.pyfiles")
    setattr(pyfiles, "load_module_py", cache(pyfiles.load_module_py))  # noqa: B010  # for mypy


def _warm_up() -> None:
    """Do what each program would do again: import, and use for the first time."""
    remember_migrations()
    for name in _LIBRARIES + _OURS:
        importlib.import_module(name)
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf
    from optuna.storages import RDBStorage

    # Parsers learn their grammar from what they parse, SQLAlchemy its tables.
    OverridesParser.create().parse_overrides(list(_SWEEP))
    config = OmegaConf.create({"a": "1", "b": "${a}", "c": "x/${oc.select:b,null}-${.a}"})
    OmegaConf.resolve(config)
    storage = RDBStorage("sqlite:///:memory:")
    storage.remove_session()
    storage.engine.dispose()


def _serve(channel: socket.socket) -> bool:
    """Fork a program for each request. Returns True in its process, False at the end."""
    _warm_up()
    gc.collect()
    gc.freeze()
    while True:
        request, streams, _, _ = socket.recv_fds(channel, _READ, 3)
        if not request:
            return False
        waiter = os.fork()
        if not waiter:
            channel.close()
            return _fork_program(json.loads(request), *streams)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):  # waiters that have ended
                pass


def _fork_program(request: dict[str, Any], out: int, err: int, status: int) -> bool:
    """Fork a program, and tell when it ends. Returns True in its process."""
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        os.write(status, f"{pid:{_PID_WIDTH}}".encode())
        _, wait_status = os.waitpid(pid, 0)
        os.write(status, str(os.waitstatus_to_exitcode(wait_status)).encode())
        os._exit(0)
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream, number)
        os.close(stream)
    os.close(status)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    folders = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    sys.path[:1] = [request["folder"], *folders]
    sys.path_importer_cache.clear()
    sys.argv[1:] = request["arguments"]
    for folder in folders:  # as a new Python does first
        with contextlib.suppress(FileNotFoundError):
            runpy.run_path(f"{folder}/sitecustomize.py")
    return True


def _run_program() -> NoReturn:
    """Run the program to its end; what was imported is not torn down, which takes half a second."""
    code: Any = 0
    try:
        runpy._run_module_as_main("energyopt")  # type: ignore[attr-defined]  # what -m calls
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    # As the interpreter ends: threads, functions for the exit, streams.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code & 0xFF)


if __name__ == "__main__" and _serve(socket.socket(fileno=int(sys.argv[1]))):
    _run_program()
