"""The fork server: one warm process from which each job is forked.

It is forked itself before the coordinator has threads or database connections, so that it inherits
the config and the task function: nothing is pickled, no `__main__` guard is needed. Imports happen
once, a job costs a fork and a composition, and a crash ends one job only.

A job has a short stack: `start` returns in the process of each job, to its caller.
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
from energyopt.hardware.cgroup import remove_of
from energyopt.hardware.host import descendants
from energyopt.hardware.process_end import describe_left, end_orphans, end_tree
from energyopt.hardware.process_tree import adopt_orphans, reap_orphans
from energyopt.jobs.worker import Job, JobRunner, send, setup_job_process
from energyopt.utils.environment import reopen_memory
from energyopt.utils.process import die_with_parent, kill_groups

LATE = 1 << 9
"""Reported instead of an exit code: the job was ended because it took too long."""

_TO_ALL = (signal.SIGTERM, signal.SIGHUP)  # a terminal or a cluster sends these to a whole group
_READ = 1 << 16
_READY = b"ready"  # sent once the server is warm; else why it must not fork
_EXIT_WAIT_S = 1.0
_CLEAN_UP_S = 4.0  # a driver releases a dead process late
_POLL_S = 0.01
_LONG_S = 3600.0  # no poll waits for more than some days
_GONE = "the server that runs the trials died; the same command goes on from what is kept"


@dataclass(frozen=True, slots=True)
class ForkedJob:
    """The work of a job's process.

    Attributes:
        program: Shared by all jobs.
        job: The job.
        channel: Descriptor on which the process answers.
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
        self._exit_wait_s = _EXIT_WAIT_S
        self._warm: bytes | None = None

    def hazard(self) -> str | None:
        """Wait until the server is warm. Returns why it must fork no job; None if it may.

        Raises:
            LauncherError: If the server died.
        """
        with self._lock:
            if self._warm is None:
                try:
                    self._warm = self._control.recv(_READ)
                except OSError as error:
                    raise LauncherError(_GONE) from error
        if not self._warm:
            raise LauncherError(_GONE)
        return None if self._warm == _READY else self._warm.decode()

    def run(self, job: Job) -> tuple[bytes, int]:
        """Run a job. Returns its answer, possibly truncated, and its exit code."""
        self._exit_wait_s = _CLEAN_UP_S  # from now on the server may have to clean up
        channel, job_channel = socket.socketpair()
        status_reader, status_writer = os.pipe()
        with channel, job_channel, os.fdopen(status_reader, "rb", buffering=0) as status:
            try:
                with self._lock:
                    socket.send_fds(self._control, [b"job"], [job_channel.fileno(), status_writer])
            except OSError as error:
                raise LauncherError(_GONE) from error
            finally:
                job_channel.close()
                os.close(status_writer)
            with contextlib.suppress(OSError):  # the job died: its status says how
                channel.sendall(pickle.dumps(job))
                channel.shutdown(socket.SHUT_WR)
            return _receive(channel, status.fileno())

    def close(self) -> None:
        """End the server and its jobs, and wait for it."""
        self._control.close()
        deadline_s = time.monotonic() + self._exit_wait_s
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline_s:  # it still warms up, or hangs
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    return
                time.sleep(_POLL_S)


def _receive(answer: socket.socket, status: int) -> tuple[bytes, int]:
    """Return the whole answer and the exit code, once the exit status has arrived."""
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
    warm_up: Callable[[], str | None] | None = None,
    clean_up: Callable[[], object] | None = None,
) -> ForkServer | ForkedJob:
    """Fork the server.

    Args:
        program: Runs its jobs.
        warm_up: Run once in the server, so that jobs do not repeat it; returns why no job must be
            forked from it then, or None.
        clean_up: Run by the server after it has killed jobs: the coordinator may be dead.

    Returns:
        In this process the server; in the process of each job, later, that job: the caller must
        run it and do nothing else.
    """
    control, server_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    coordinator = os.getpid()
    pid = os.fork()
    if pid:
        server_control.close()
        return ForkServer(pid, control)
    try:
        control.close()
        job = _serve(server_control, program, warm_up, clean_up, coordinator)
    except BaseException:
        traceback.print_exc()
        _exit(1)
    if job is None:
        _exit(0)
    return job


def _exit(code: int) -> NoReturn:
    """End a forked process without returning into its parent's code."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _serve(
    control: socket.socket,
    program: JobRunner,
    warm_up: Callable[[], str | None] | None,
    clean_up: Callable[[], object] | None,
    coordinator: int,
) -> ForkedJob | None:
    """Fork a process for each request until the coordinator is gone. Returns there its job.

    The server outlives the coordinator to end its jobs and their children, so a signal to the
    whole process group must not kill it.
    """
    server = os.getpid()
    setup_job_process()
    adopt_orphans()  # of its jobs: their CPU time counts for the study
    for number in _TO_ALL:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup holds for the jobs as well
            signal.signal(number, _ignore_signal)
    die_with_parent(coordinator)
    program.remember_configs()
    hazard = None if warm_up is None else warm_up()
    helpers = tuple(descendants(os.getpid()))  # of what was imported, for all jobs
    with contextlib.suppress(OSError):  # the coordinator is gone
        control.send(_READY if hazard is None else hazard.encode())
    sys.stdout.flush()  # or each job would print it again
    gc.freeze()  # keeps the warm pages shared: no collection in a job writes to them
    running: dict[int, _Running] = {}  # by pidfd
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(os.pidfd_open(coordinator), selectors.EVENT_READ)
        die_with_parent(coordinator, 0)
        while True:
            for key, _ in ready.select(_kill_late(running.values())):
                if key.fd in running:
                    ready.unregister(key.fd)
                    ended = running.pop(key.fd)
                    _report(key.fd, ended, [*helpers, *(job.pid for job in running.values())])
                    continue
                request = b""
                if key.fd == control.fileno():
                    with contextlib.suppress(ConnectionResetError):  # it did not read our answer
                        request, descriptors, _, _ = socket.recv_fds(control, 16, 2)
                if not request:  # the coordinator closed the socket, or died
                    _kill_all([job.pid for job in running.values()], helpers, clean_up)
                    return None
                channel, status = descriptors
                pid = os.fork()
                if pid == 0:
                    os.close(status)
                    return _become_job(control, program, channel, running, server)
                os.close(channel)
                with contextlib.suppress(OSError):  # the job does so as well: whichever is first
                    os.setpgid(pid, pid)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = _Running(pid, status, time.monotonic() + program.timeout_s)
                ready.register(pidfd, selectors.EVENT_READ)


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, a job can tell this handler from a user's nohup."""


@dataclass(slots=True)
class _Running:
    """A job of the server: its process, the descriptor for its exit status, and its deadline."""

    pid: int
    status: int
    deadline_s: float
    late: bool = False


def _kill_late(jobs: Iterable[_Running]) -> float:
    """Kill the jobs past their deadline. Returns the time until the next deadline, in s."""
    now_s, next_s = time.monotonic(), _LONG_S
    for job in jobs:
        if not job.late and job.deadline_s <= now_s:
            job.late = True
            end_tree(job.pid)
        elif not job.late:
            next_s = min(next_s, job.deadline_s - now_s)
    return next_s


def _kill_all(
    pids: Sequence[int], helpers: Sequence[int], clean_up: Callable[[], object] | None
) -> None:
    """Kill the jobs with what they started, and clean up after them."""
    for pid in pids:
        end_tree(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    end_orphans(helpers)
    if pids and clean_up is not None:
        clean_up()


def _become_job(
    control: socket.socket,
    program: JobRunner,
    channel: int,
    running: Mapping[int, _Running],
    server: int,
) -> ForkedJob:
    """Set this forked process up as a job: with its channel only, and in its own group."""
    control.close()
    for pidfd, running_job in running.items():
        os.close(pidfd)
        os.close(running_job.status)
    die_with_parent(server)
    reopen_memory()
    os.setpgid(0, 0)  # so that what the job starts can be ended with it,
    adopt_orphans()  # also what leaves the group
    for number in _TO_ALL:
        if signal.getsignal(number) is _ignore_signal:
            signal.signal(number, signal.SIG_DFL)
    with os.fdopen(os.dup(channel), "rb") as request:
        job = pickle.load(request)  # noqa: S301  # from our own coordinator
    return ForkedJob(program, job, channel)


def _report(pidfd: int, job: _Running, others: Sequence[int]) -> None:
    """Kill what a job left running, and write its exit code for the coordinator.

    Args:
        pidfd: Descriptor of its process.
        job: The job.
        others: Processes of the jobs that run on, and helpers. Jobs adopt their orphans, so what
            else there is was left by jobs that have ended.
    """
    # Its children, before it is waited for: until then no other process can have its number.
    kill_groups([job.pid])
    _, wait_status = os.waitpid(job.pid, 0)
    sentence = describe_left(end_orphans(others), job.pid)
    if sentence is not None and not job.late:
        sys.stderr.write(sentence)
    reap_orphans(others)
    remove_of(job.pid)
    code = LATE if job.late else os.waitstatus_to_exitcode(wait_status)
    with contextlib.suppress(BrokenPipeError):
        os.write(job.status, str(code).encode())
    os.close(job.status)
    os.close(pidfd)
