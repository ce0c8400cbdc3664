"""The open `Run` of this process, and how it learns of the process's end.

A run that is still open when the process ends is closed with what is known of the end: an uncaught
exception, a signal, or nothing but that the program is over. Exceptions, exit codes and signals
then take their usual course.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

from energyopt.core.trial_result import End
from energyopt.errors import RunPaused, RunStopped, TrialError
from energyopt.hardware.power_limit import PowerLimit
from energyopt.utils.failure import reason_of

P = ParamSpec("P")
T = TypeVar("T")

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class OpenRun(Protocol):
    """The part of a run that this module needs."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its hyperparameters."""

    @property
    def folder(self) -> Path | None:
        """Folder of its record; None if nothing is kept."""

    def close(self, error: BaseException | None = None) -> None:
        """End it, because of an exception if there was one."""


class Terminated(BaseException):
    """A signal ends the process; only described, never raised."""


class ProcessHooks:
    """Closes a run at the end of the process.

    Args:
        run: The run. Its `close` may be called from a signal handler, but not within `working`.
    """

    def __init__(self, run: OpenRun) -> None:
        self._run = run
        self._pid = os.getpid()
        self._working = 0
        self._signal: int | None = None
        self._old_excepthook = sys.excepthook
        sys.excepthook = self._excepthook = self._on_exception
        atexit.register(self._at_exit)
        self._old_handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            self._old_handlers = {n: old for n, old in handlers.items() if _ends_process(old)}
        self._handler: Callable[[int, FrameType | None], None] = self._on_signal
        for number in self._old_handlers:
            signal.signal(number, self._handler)

    @property
    def is_own_process(self) -> bool:
        """True unless this is a forked child of the run's process."""
        return os.getpid() == self._pid

    @contextmanager
    def working(self) -> Iterator[None]:
        """Defer signals while records are written."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            number, self._signal = self._signal, self._signal if self._working else None
            if number is not None and not self._working:
                self._die(number)

    def remove(self) -> None:
        """Leave the process as it was."""
        atexit.unregister(self._at_exit)
        if sys.excepthook is self._excepthook:
            sys.excepthook = self._old_excepthook
        if threading.current_thread() is not threading.main_thread():
            return
        for number, old in self._old_handlers.items():
            if signal.getsignal(number) is self._handler:
                signal.signal(number, old)

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self._old_excepthook(kind, error, trace)  # first: nothing of ours may hide it
        if self.is_own_process:
            self._run.close(error)

    def _at_exit(self) -> None:
        if self.is_own_process:  # else it is a forked child that inherited the run
            self._run.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._working:
            self._signal = number
        else:
            self._die(number)

    def _die(self, number: int) -> None:
        """Close the run, and let the signal end the process as it would have without it."""
        try:
            if self.is_own_process:
                self._run.close(Terminated(signal.Signals(number).name))
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_open: OpenRun | None = None


def open_run(run: OpenRun, *, replaces: bool) -> None:
    """Make a run the only open one of this process.

    Args:
        run: The run.
        replaces: Whether an earlier run may be closed for it: in a study, a job that raised may
            have left its run open in a process that runs the next job.

    Raises:
        TrialError: If another run is open.
    """
    global _open  # noqa: PLW0603  # one per process is the point
    if _open is not None and replaces:
        _open.close(TrialError("its job ended without ending it"))
    if _open is not None:
        raise TrialError(
            f"another Run is open in this process ({_open.name}), and joules would be counted "
            "twice; end it with its close(), or use `with energyopt.Run(...) as run:`"
        )
    _open = run


def is_open(folder: Path | None) -> bool:
    """Return True if the run of a folder is open in this process: that job has its run."""
    return _open is not None and folder is not None and _open.folder == folder


def forget_run(run: OpenRun) -> None:
    """Allow another run in this process."""
    global _open  # noqa: PLW0603
    if _open is run:
        _open = None


def end_open_run(error: BaseException | None = None) -> None:
    """End the run that is open in this process, if there is one.

    Args:
        error: What ended it, if it was an exception.
    """
    if _open is not None:
        _open.close(error)


def call_task(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Call the function of a job that may make a `Run`.

    A run that it leaves open is ended: by its exception, or as what it has trained.

    Returns:
        What it returns; None where its study paused or stopped it.
    """
    try:
        returned = function(*args, **kwargs)
    except (RunPaused, RunStopped):
        return None
    except BaseException as error:
        end_open_run(error)
        raise
    end_open_run()
    return returned


def end_by(error: BaseException | None) -> tuple[End, str] | None:
    """Return how an exception ends a run; None if it is no exception, or exit code 0."""
    match error:
        case None | SystemExit(code=0 | None):
            return None
        case Terminated():
            return "interrupted", f"ended by {error}"
        case KeyboardInterrupt():
            return "interrupted", "interrupted"
    return "failed", reason_of(error)


def _ends_process(handler: object) -> bool:
    """Return whether a handler of a signal only ends the process.

    That of a power limit does so, once the limit is restored, which the end of a run does as well.
    That of an earlier run is still there if that run ended in another thread.
    """
    owner = getattr(handler, "__self__", None)
    return handler is signal.SIG_DFL or isinstance(owner, PowerLimit | ProcessHooks)


def _forget_in_child() -> None:
    """Drop the parent's run in a forked child: it is the parent's to end."""
    global _open  # noqa: PLW0603
    _open = None


os.register_at_fork(after_in_child=_forget_in_child)
