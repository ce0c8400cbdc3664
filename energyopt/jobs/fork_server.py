"""The fork server: one warm process from which each job is forked.

It is forked itself before the coordinator has threads or database connections, so that it inherits
the config and the task function: nothing is pickled, no `__main__` guard is needed. It pays imports
once, one job costs a fork and a composition, and a crash costs one job.

Nobody's stack lies under a job: `start` returns in the process of each job, to where it was called.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from energyopt.errors import LauncherError
from energyopt.jobs.worker import Job, JobRunner, be_a_job, send
from energyopt.utils.process import die_with_parent, kill_groups

LATE = 1 << 9
"""Instead of an exit code: the job was ended because it took too long."""

_TO_ALL = (signal.SIGTERM, signal.SIGHUP)  # what a terminal or a cluster sends to a whole group
_READ = 1 << 16
_PATIENCE_S = 1.0
_CLEAN_UP_S = 4.0  # a driver takes its time to let go of a dead process
_POLL_S = 0.01
_LONG_S = 3600.0  # no poll waits for more than some days
_GONE = "the server that runs the trials died; the same command goes on from what is kept"


@dataclass(frozen=True, slots=True)
class ForkedJob:
    """What the process of a job has to do.

    Attributes:
        program: What all jobs share.
        job: This one.
        channel: Descriptor on which it answers.
    """

    program: JobRunner
    job: Job
    channel: int

    def run(self) -> NoReturn:
        """Run the job, answer, and end this process, whatever happens."""
        code = 1
        try:
            send(self.program.run(self.job), self.channel)
            code = 0
        finally:
            _exit(code)


class ForkServer:
    """The coordinator's end of the server.

    A request is two descriptors sent over the control socket: one on which the job's
    process reads its job and writes its answer, one on which the server writes the exit
    status. Closing the control socket, or dying, ends the server and its jobs.

    Args:
        pid: The server's process.
        control: Its control socket.
    """

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control
        self._lock = threading.Lock()
        self._patience_s = _PATIENCE_S

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


def start(
    program: JobRunner,
    warm_up: Callable[[], None] | None = None,
    clean_up: Callable[[], object] | None = None,
) -> ForkServer | ForkedJob:
    """Fork the server.

    Args:
        program: What its jobs do.
        warm_up: Run once in the server, to pay what each job would pay again.
        clean_up: Run by the server after it has killed jobs: the coordinator may be dead.

    Returns:
        In this process the server; in the process of each job, later, that job. Its caller must
        do nothing but run it.
    """
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    coordinator = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return ForkServer(pid, control)
    try:
        control.close()
        job = _serve(theirs, program, warm_up, clean_up, coordinator)
    except BaseException:
        traceback.print_exc()
        _exit(1)
    if job is None:
        _exit(0)
    return job


def _exit(code: int) -> NoReturn:
    """End a forked process here: it never returns to what was its parent's business."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _serve(
    control: socket.socket,
    program: JobRunner,
    warm_up: Callable[[], None] | None,
    clean_up: Callable[[], object] | None,
    coordinator: int,
) -> ForkedJob | None:
    """Fork a process for each request until the coordinator is gone; there, return its job.

    From then on it lives to end its jobs, with what they started, and so must not be killed
    together with the coordinator, be it by a signal to all of them.
    """
    server = os.getpid()
    be_a_job()
    for number in _TO_ALL:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for the jobs, too
            signal.signal(number, _stay)
    die_with_parent(coordinator)
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
        die_with_parent(coordinator, 0)
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
                    return None
                channel, status = descriptors
                pid = os.fork()
                if pid == 0:
                    os.close(status)
                    return _begin(control, program, channel, running, server)
                os.close(channel)
                with contextlib.suppress(OSError):  # it has done so, too: whoever is first
                    os.setpgid(pid, pid)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = _Running(pid, status, time.monotonic() + program.timeout_s)
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
            kill_groups([job.pid])
        elif not job.late:
            next_s = min(next_s, job.until_s - now_s)
    return next_s


def _end_all(pids: Sequence[int], clean_up: Callable[[], object] | None) -> None:
    """Kill the jobs, and do for them what they cannot do any more."""
    kill_groups(pids)
    for pid in pids:
        os.waitpid(pid, 0)
    if pids and clean_up is not None:
        clean_up()


def _begin(
    control: socket.socket,
    program: JobRunner,
    channel: int,
    running: Mapping[int, _Running],
    server: int,
) -> ForkedJob:
    """Make this forked process that of a job: alone with its channel, and in a group of its own."""
    control.close()
    for pidfd, other in running.items():
        os.close(pidfd)
        os.close(other.status)
    die_with_parent(server)
    os.setpgid(0, 0)  # so that what the job starts can be ended with it
    for number in _TO_ALL:
        if signal.getsignal(number) is _stay:
            signal.signal(number, signal.SIG_DFL)
    with os.fdopen(os.dup(channel), "rb") as request:
        job = pickle.load(request)  # noqa: S301  # from our own coordinator
    return ForkedJob(program, job, channel)


def _report(pidfd: int, job: _Running) -> None:
    kill_groups(
        [job.pid]
    )  # what it left running; while it is not waited for, its number is its own
    _, wait_status = os.waitpid(job.pid, 0)
    code = LATE if job.late else os.waitstatus_to_exitcode(wait_status)
    with contextlib.suppress(BrokenPipeError):
        os.write(job.status, str(code).encode())
    os.close(job.status)
    os.close(pidfd)
