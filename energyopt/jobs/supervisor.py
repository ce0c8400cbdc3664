"""A process above a job in a fresh interpreter, which ends what the job leaves (Linux).

The fork server is that for the jobs that it forks. It must be a parent: only what descends from it
can be found, whatever group or session it is in.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
from types import FrameType
from typing import NoReturn

from energyopt.hardware.cgroup import remove_of
from energyopt.hardware.process_end import describe_left, end_orphans, end_tree
from energyopt.hardware.process_tree import adopt_orphans, reap_orphans
from energyopt.utils.process import die_with_parent, kill_groups


def supervise(lifeline: int, answer: int) -> bool:
    """Return in a child, the job; end it when the other end of a pipe is closed, or on SIGTERM.

    This process ends as its child does, after all that the child started.

    Args:
        lifeline: The pipe; only the child reads it.
        answer: A descriptor that is the child's alone.

    Returns:
        False in this process, where the system has no supervisor: it needs Linux 5.3.
    """
    if not _can_wait():
        return False
    supervisor = os.getpid()
    pid = os.fork()
    if pid != 0:
        os.close(answer)
        adopt_orphans()
        _end_as(_wait(pid, lifeline))
    os.setpgid(0, 0)
    adopt_orphans()
    die_with_parent(supervisor)
    return True


def _can_wait() -> bool:
    """Return True if the end of a process can be waited for with other events."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):  # a sandbox may refuse it
        return False
    return True


def _wait(pid: int, lifeline: int) -> int:
    """Return the exit code of the job, once all that it started has ended."""
    is_requested = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_requested
        is_requested = True
        end_tree(pid)

    signal.signal(signal.SIGTERM, end)
    events = select.poll()
    events.register(os.pidfd_open(pid), select.POLLIN)
    events.register(lifeline, select.POLLHUP)
    (_, event), *_ = events.poll()
    if event & select.POLLHUP:
        is_requested = True
        end_tree(pid)
    kill_groups([pid])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # soon its number may be another's
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sentence = describe_left(end_orphans(()), pid)
    if sentence is not None and not is_requested:
        sys.stderr.write(sentence)
    reap_orphans(())
    remove_of(pid)
    return code


def _end_as(code: int) -> NoReturn:
    """End this process with an exit code; a negative one is a signal."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the job has left its own
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
