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
import math
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from energyopt.errors import ConfigError, LauncherError, TrialError
from energyopt.jobs.worker import Job, Program, Runs, be_a_job, send
from energyopt.utils.paths import STORAGE_VARIABLE

_TO_ALL = (signal.SIGTERM, signal.SIGHUP)  # what a terminal or a cluster sends to a whole group
_PR_SET_PDEATHSIG = 1
_READ = 1 << 16
_PATIENCE_S = 1.0
_CLEAN_UP_S = 4.0  # a driver takes its time to let go of a dead process
_POLL_S = 0.01
_LONG_S = 3600.0  # no poll waits for more than some days
_LATE = 1 << 9  # instead of an exit code: ended because it took too long
_GONE = "the server that runs the trials died; the same command goes on from what is kept"


class LocalLauncher(Launcher):
    """Runs each job in a process of its own on this host; `launch` may be called from threads.

    Args:
        output: "inherit" lets jobs print to the terminal, "file" keeps what they print in
            `output.log` in the job's folder; "auto" does that in our own app, which shows
            progress on the terminal.
        start_method: "fork" from a warm server, "spawn" a fresh interpreter a job, or "auto".
        timeout_s: A job that takes longer, in s, is ended with all that it started; None for any
            time. It is counted from the start of its process: waiting for a GPU is in it.

    Raises:
        ConfigError: If an option is not of these.
    """

    def __init__(
        self,
        output: Literal["auto", "inherit", "file"] = "auto",
        start_method: Literal["auto", "fork", "spawn"] = "auto",
        timeout_s: float | None = None,
    ) -> None:
        if output not in ("auto", "inherit", "file"):
            raise ConfigError(f"hydra.launcher.output={output}: choose auto, inherit or file")
        if start_method not in ("auto", "fork", "spawn"):
            raise ConfigError(
                f"hydra.launcher.start_method={start_method}: choose auto, fork or spawn"
            )
        if timeout_s is not None and not _is_time(timeout_s):
            raise ConfigError(
                f"hydra.launcher.timeout_s={timeout_s}: a number of seconds above 0 is needed, or "
                "null"
            )
        self._output = output
        self._timeout_s = timeout_s
        self._fork = start_method == "fork" or (
            start_method == "auto" and sys.platform.startswith("linux")
        )
        self._limit = ""
        self._program: Runs | None = None
        self._server: _Server | None = None
        self._fresh: set[subprocess.Popen[bytes]] = set()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what all jobs share."""
        own = config.hydra.sweeper.get("app") is not None
        output = self._output
        if output == "auto":
            output = "file" if own else "inherit"
        self._limit = f"{'trial_' if own else 'hydra.launcher.'}timeout_s={self._timeout_s}"
        timeout_s = math.inf if self._timeout_s is None else self._timeout_s
        self._program = Program(hydra_context, task_function, config, output, timeout_s)

    def take(self, program: Runs) -> None:
        """Run these jobs instead of a multirun's."""
        self._program = program

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

    def _ready(self) -> Runs:
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
            _return_value=TrialError(f"the trial's process {self._fate(status)}"),
        )

    def _fate(self, status: int) -> str:
        """What became of a process, from its exit code (negative: a signal)."""
        if status == _LATE:
            return f"took longer than {self._limit} and was ended"
        if status < 0:
            name = signal.Signals(-status).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was killed by {name}{hint}"
        return f"ended with exit code {status} before it answered"

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
                [sys.executable, "-m", "energyopt.jobs.worker", str(theirs)],
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
            late = _is_late(pipe, self._ready().timeout_s)
            if late:
                _kill([process.pid])
            answer = pipe.read()
        status = process.wait()
        _kill([process.pid])  # what the job left running
        self._fresh.discard(process)
        return answer, _LATE if late else status


def _is_time(value: object) -> bool:
    """Whether it is a number of seconds above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < math.inf


def _is_late(pipe: io.BufferedReader, timeout_s: float) -> bool:
    """Whether nothing comes in time: an answer is written at once, when the job is over."""
    until_s = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while not ready.select(min(until_s - time.monotonic(), _LONG_S)):
            if time.monotonic() >= until_s:
                return True
    return False


class _Server:
    """The coordinator's end of the fork server.

    A request is two descriptors sent over the control socket: one on which the job's
    process reads its job and writes its answer, one on which the server writes the exit
    status. Closing the control socket, or dying, ends the server and its jobs.
    """

    def __init__(
        self,
        program: Runs,
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
    program: Runs,
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
    running: dict[int, _Running] = {}  # by pidfd
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(os.pidfd_open(coordinator), selectors.EVENT_READ)
        _die_with_parent(coordinator, 0)
        while True:
            for key, _ in ready.select(_end_late(running.values())):
                if key.fd in running:
                    ready.unregister(key.fd)
                    _report(key.fd, running.pop(key.fd))
                    continue
                request = b""
                if key.fd == control.fileno():
                    request, descriptors, _, _ = socket.recv_fds(control, 16, 2)
                if not request:  # the coordinator closed the socket, or died
                    _end_all([job.pid for job in running.values()], clean_up)
                    return
                pidfd, pid = _start(control, program, descriptors, running)
                until_s = time.monotonic() + program.timeout_s
                running[pidfd] = _Running(pid, descriptors[1], until_s)
                ready.register(pidfd, selectors.EVENT_READ)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Go on: a handler that does nothing can be told from a signal that somebody ignores."""


@dataclass(slots=True)
class _Running:
    """A job of the server: its process, where its exit status goes, and when it is too late."""

    pid: int
    status: int
    until_s: float
    late: bool = False


def _end_late(jobs: Iterable[_Running]) -> float:
    """Kill the jobs whose time is over; in how many s to look again."""
    now_s, next_s = time.monotonic(), _LONG_S
    for job in jobs:
        if not job.late and job.until_s <= now_s:
            job.late = True
            _kill([job.pid])
        elif not job.late:
            next_s = min(next_s, job.until_s - now_s)
    return next_s


def _end_all(pids: Sequence[int], clean_up: Callable[[], object] | None) -> None:
    """Kill the jobs, and do for them what they cannot do any more."""
    _kill(pids)
    for pid in pids:
        os.waitpid(pid, 0)
    if pids and clean_up is not None:
        clean_up()


def _start(
    control: socket.socket,
    program: Runs,
    descriptors: Sequence[int],
    running: Mapping[int, _Running],
) -> tuple[int, int]:
    channel, status = descriptors
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        os.close(status)
        for pidfd, other in running.items():
            os.close(pidfd)
            os.close(other.status)
        _in_child(lambda: _answer(program, channel, server))
    os.close(channel)
    with contextlib.suppress(OSError):  # it has done so, too: whoever is first
        os.setpgid(pid, pid)
    return os.pidfd_open(pid), pid


def _answer(program: Runs, channel: int, server: int) -> None:
    _die_with_parent(server)
    os.setpgid(0, 0)  # so that what the job starts can be ended with it
    for number in _TO_ALL:
        if signal.getsignal(number) is _stay:
            signal.signal(number, signal.SIG_DFL)
    with os.fdopen(os.dup(channel), "rb") as request:
        job = pickle.load(request)  # noqa: S301  # from our own coordinator
    send(program.run(job), channel)


def _report(pidfd: int, job: _Running) -> None:
    _kill([job.pid])  # what it left running; while it is not waited for, its number is its own
    _, wait_status = os.waitpid(job.pid, 0)
    code = _LATE if job.late else os.waitstatus_to_exitcode(wait_status)
    with contextlib.suppress(BrokenPipeError):
        os.write(job.status, str(code).encode())
    os.close(job.status)
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
