"""Our own local launcher: a warm server forks a process for each job.

The server is forked before the coordinator has threads or database connections, so that it
inherits the config and the task function: nothing is pickled, no `__main__` guard is needed.
It pays imports once, one job costs a fork and a composition, and a crash costs one job.
Where forking is unsafe (macOS) each job is a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Literal

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from energyopt.errors import ConfigError, LauncherError, TrialError
from energyopt.paths import STORAGE_VARIABLE
from energyopt.worker import Job, Program, be_a_job, send

_TO_ALL = (signal.SIGTERM, signal.SIGHUP)  # what a terminal or a cluster sends to a whole group
_PR_SET_PDEATHSIG = 1
_READ = 1 << 16
_PATIENCE_S = 1.0
_CLEAN_UP_S = 4.0  # a driver takes its time to let go of a dead process
_POLL_S = 0.01
_GONE = "the server that runs the trials died; the same command goes on from what is kept"


class LocalLauncher(Launcher):
    """Runs each job in a process of its own on this host; `launch` may be called from threads.

    Args:
        output: "inherit" lets jobs print to the terminal, "file" keeps what they print in
            `output.log` in the job's folder; "auto" does that in our own app, which shows
            progress on the terminal.
        start_method: "fork" from a warm server, "spawn" a fresh interpreter a job, or "auto".

    Raises:
        ConfigError: If an option is not of these.
    """

    def __init__(
        self,
        output: Literal["auto", "inherit", "file"] = "auto",
        start_method: Literal["auto", "fork", "spawn"] = "auto",
    ) -> None:
        if output not in ("auto", "inherit", "file"):
            raise ConfigError(f"hydra.launcher.output={output}: choose auto, inherit or file")
        if start_method not in ("auto", "fork", "spawn"):
            raise ConfigError(
                f"hydra.launcher.start_method={start_method}: choose auto, fork or spawn"
            )
        self._output = output
        self._fork = start_method == "fork" or (
            start_method == "auto" and sys.platform.startswith("linux")
        )
        self._program: Program | None = None
        self._server: _Server | None = None
        self._fresh: set[subprocess.Popen[bytes]] = set()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what all jobs share."""
        output = self._output
        if output == "auto":
            output = "file" if config.hydra.sweeper.get("app") else "inherit"
        self._program = Program(hydra_context, task_function, config, output)

    def open(
        self,
        warm_up: Callable[[], None] | None = None,
        clean_up: Callable[[], object] | None = None,
    ) -> None:
        """Fork the server. Call it before there are threads or database connections.

        Args:
            warm_up: Run once in the server, to pay what each job would pay again.
            clean_up: Run by the server after it has killed jobs: the coordinator may be dead.
        """
        if self._fork and self._server is None:
            self._server = _Server(self._ready(), warm_up, clean_up)

    def close(self) -> None:
        """End the server and all jobs that still run."""
        if self._server is not None:
            self._server.close()
            self._server = None
        _kill(process.pid for process in list(self._fresh))

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs one after the other; several threads run several at a time."""
        opened_here = self._fork and self._server is None
        if opened_here:
            self.open()
        try:
            return [
                self._launch(Job(tuple(overrides), initial_job_idx + i))
                for i, overrides in enumerate(job_overrides)
            ]
        finally:
            if opened_here:
                self.close()

    def _ready(self) -> Program:
        if self._program is None:
            raise RuntimeError("launch() before setup()")
        return self._program

    def _launch(self, job: Job) -> JobReturn:
        answer, status = self._server.run(job) if self._server else self._spawn(job)
        with contextlib.suppress(pickle.UnpicklingError, EOFError):
            returned = pickle.load(io.BytesIO(answer))  # noqa: S301  # our own process' bytes
            if isinstance(returned, JobReturn):
                return returned
        return JobReturn(
            overrides=list(job.overrides),
            status=JobStatus.FAILED,
            _return_value=TrialError(f"the trial's process {_fate(status)}"),
        )

    def _spawn(self, job: Job) -> tuple[bytes, int]:
        import cloudpickle
        from hydra.core.singleton import Singleton

        payload = {
            "path": sys.path,
            "program": cloudpickle.dumps((self._ready(), job, Singleton.get_state())),
        }
        ours, theirs = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603  # this interpreter, our own module
                [sys.executable, "-m", "energyopt.worker", str(theirs)],
                stdin=subprocess.PIPE,
                pass_fds=[theirs],
                env={k: v for k, v in os.environ.items() if k != STORAGE_VARIABLE},
                process_group=0,  # so that what the job starts can be ended with it
            )
        finally:
            os.close(theirs)
        self._fresh.add(process)
        answer = b""
        assert process.stdin is not None  # noqa: S101  # for the type checker
        with (
            os.fdopen(ours, "rb") as pipe,
            contextlib.suppress(BrokenPipeError),
            process.stdin as lifeline,  # the job ends when it is closed, by our death too
        ):
            pickle.dump(payload, lifeline)
            lifeline.flush()
            answer = pipe.read()
        status = process.wait()
        _kill([process.pid])  # what the job left running
        self._fresh.discard(process)
        return answer, status


def _fate(status: int) -> str:
    """What became of a process, from its exit code (negative: a signal)."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {status} before it answered"


class _Server:
    """The coordinator's end of the fork server.

    A request is two descriptors sent over the control socket: one on which the job's
    process reads its job and writes its answer, one on which the server writes the exit
    status. Closing the control socket, or dying, ends the server and its jobs.
    """

    def __init__(
        self,
        program: Program,
        warm_up: Callable[[], None] | None,
        clean_up: Callable[[], object] | None,
    ) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._patience_s = _PATIENCE_S
        sys.stdout.flush()
        sys.stderr.flush()
        coordinator = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._control.close()
            _in_child(lambda: _serve(theirs, program, warm_up, clean_up, coordinator))
        theirs.close()

    def run(self, job: Job) -> tuple[bytes, int]:
        """Run a job; its answer (possibly cut short) and its exit code."""
        self._patience_s = _CLEAN_UP_S  # from now on there may be something to clean up
        ours, theirs = socket.socketpair()
        status_ours, status_theirs = os.pipe()
        with ours, theirs, os.fdopen(status_ours, "rb", buffering=0) as status:
            try:
                with self._lock:
                    socket.send_fds(self._control, [b"job"], [theirs.fileno(), status_theirs])
            except OSError as error:
                raise LauncherError(_GONE) from error
            finally:
                theirs.close()
                os.close(status_theirs)
            with contextlib.suppress(OSError):  # it died: its status says how
                ours.sendall(pickle.dumps(job))
                ours.shutdown(socket.SHUT_WR)
            return _receive(ours, status.fileno())

    def close(self) -> None:
        """End the server and its jobs, and wait for it."""
        self._control.close()
        until_s = time.monotonic() + self._patience_s
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > until_s:  # it still warms up, or hangs
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    return
                time.sleep(_POLL_S)


def _receive(answer: socket.socket, status: int) -> tuple[bytes, int]:
    """Collect the answer until the exit status arrives, and what is left of it then."""
    data = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(answer, selectors.EVENT_READ)
        ready.register(status, selectors.EVENT_READ)
        while True:
            events = {key.fd for key, _ in ready.select()}
            if answer.fileno() in events:
                part = b""
                with contextlib.suppress(ConnectionResetError):
                    part = answer.recv(_READ)
                data += part
                if not part:
                    ready.unregister(answer)
                continue
            code = os.read(status, _READ)
            if not code:
                raise LauncherError(_GONE)
            return bytes(data), int(code)


def _in_child(run: Callable[[], None]) -> None:
    """Run in a forked process and end it there, whatever happens: never return to the caller."""
    code = 1
    try:
        run()
        code = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _serve(
    control: socket.socket,
    program: Program,
    warm_up: Callable[[], None] | None,
    clean_up: Callable[[], object] | None,
    coordinator: int,
) -> None:
    """The server: fork a process for each request until the coordinator is gone.

    From then on it lives to end its jobs, with what they started, and so must not be killed
    together with the coordinator, be it by a signal to all of them.
    """
    be_a_job()
    for number in _TO_ALL:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for the jobs, too
            signal.signal(number, _stay)
    _die_with_parent(coordinator)
    program.remember_configs()
    if warm_up is not None:
        warm_up()
    sys.stdout.flush()  # or each job would say it again
    gc.collect()
    gc.freeze()  # what is warm stays shared: no collection in a job writes to its pages
    running: dict[int, tuple[int, int]] = {}  # pidfd -> (pid, status descriptor)
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(os.pidfd_open(coordinator), selectors.EVENT_READ)
        _die_with_parent(coordinator, 0)
        while True:
            for key, _ in ready.select():
                if key.fd in running:
                    ready.unregister(key.fd)
                    _report(key.fd, *running.pop(key.fd))
                    continue
                request = b""
                if key.fd == control.fileno():
                    request, descriptors, _, _ = socket.recv_fds(control, 16, 2)
                if not request:  # the coordinator closed the socket, or died
                    _end_all([pid for pid, _ in running.values()], clean_up)
                    return
                pidfd, pid = _start(control, program, descriptors, running)
                running[pidfd] = (pid, descriptors[1])
                ready.register(pidfd, selectors.EVENT_READ)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Go on: a handler that does nothing can be told from a signal that somebody ignores."""


def _end_all(pids: Sequence[int], clean_up: Callable[[], object] | None) -> None:
    """Kill the jobs, and do for them what they cannot do any more."""
    _kill(pids)
    for pid in pids:
        os.waitpid(pid, 0)
    if pids and clean_up is not None:
        clean_up()


def _start(
    control: socket.socket,
    program: Program,
    descriptors: Sequence[int],
    running: dict[int, tuple[int, int]],
) -> tuple[int, int]:
    channel, status = descriptors
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        os.close(status)
        for pidfd, (_, other) in running.items():
            os.close(pidfd)
            os.close(other)
        _in_child(lambda: _answer(program, channel, server))
    os.close(channel)
    return os.pidfd_open(pid), pid


def _answer(program: Program, channel: int, server: int) -> None:
    _die_with_parent(server)
    os.setpgid(0, 0)  # so that what the job starts can be ended with it
    for number in _TO_ALL:
        if signal.getsignal(number) is _stay:
            signal.signal(number, signal.SIG_DFL)
    with os.fdopen(os.dup(channel), "rb") as request:
        job = pickle.load(request)  # noqa: S301  # from our own coordinator
    send(program.run(job), channel)


def _report(pidfd: int, pid: int, status: int) -> None:
    _kill([pid])  # what the job left running; while it is not waited for, its number is its own
    _, wait_status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, str(os.waitstatus_to_exitcode(wait_status)).encode())
    os.close(status)
    os.close(pidfd)


def _kill(groups: Iterable[int]) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to send this process a signal when its parent dies; 0 for none."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
