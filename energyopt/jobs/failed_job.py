"""The exception of the user's code in a job: logged, and sent on whole.

Hydra logs no exception of a job of a multirun, and an exception loses its traceback and its cause
on the way to another process. So the job writes both into its log, and attaches them to what it
raises; the coordinator shows them on its terminal, whichever launcher is between them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from omegaconf import DictConfig

from energyopt.errors import TrialError
from energyopt.utils.failure import (
    Failure,
    attach,
    failure_of,
    has_all_frames,
    is_carried,
    show_all_frames,
    text_of,
)

T = TypeVar("T")


def recorded(function: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """Return a job's function that logs its exception, and raises one that any process can read.

    A job that writes where the command does not, such as one of SLURM, prints it there as well.
    """
    stream, all_frames = _standard_error(), has_all_frames()

    @wraps(function)
    def call(cfg: DictConfig) -> T:
        try:
            return function(cfg)
        except (Exception, SystemExit) as error:
            if _is_of_submitit(error):
                raise
            show_all_frames(all_frames)
            whole = carried(error, prints=_standard_error() != stream)
            if whole is error:
                raise
            raise whole from error

    return call


def carried(error: BaseException, *, prints: bool) -> Exception:
    """Log a job's exception once. Returns it, or a `TrialError` if it would not survive pickling.

    Args:
        error: The exception.
        prints: Whether to print its traceback on standard error.
    """
    if _is_end(error):
        return _portable(error, Failure("the job called sys.exit(0), and returned nothing"))
    failure, is_new = failure_of(error), not is_carried(error)
    if is_new and not _is_pruned(error):
        _log(failure)
        if prints and failure.traceback:
            with contextlib.suppress(OSError):  # the disk is full: the reason still comes
                sys.stderr.write(f"{failure.traceback}\n")
    return _portable(error, failure)


def _is_pruned(error: BaseException) -> bool:
    """Return True for Optuna's exception, which is no failure; optuna is not imported for it."""
    return any(cls.__name__ == "TrialPruned" for cls in type(error).__mro__)


def _is_end(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and not error.code


def _is_of_submitit(error: BaseException) -> bool:
    """Return True for the end of a job that submitit has queued again, on the cluster's signal."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_in = str(frames[-1].f_globals.get("__name__")) if frames else ""
    return isinstance(error, SystemExit) and raised_in.partition(".")[0] == "submitit"


def _log(failure: Failure) -> None:
    """Write a failure into the log files that Hydra has opened for the job."""
    text = f"the job failed: {failure.reason}"
    if failure.traceback:
        text += f"\n{failure.traceback}"
    record = logging.makeLogRecord(
        {"name": "energyopt", "levelno": logging.ERROR, "levelname": "ERROR", "msg": text}
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _portable(error: BaseException, failure: Failure) -> Exception:
    """Return an exception with its failure: this one if it survives pickling with it."""
    if isinstance(error, Exception):
        try:
            attach(error, failure)
            restored: Any = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
            is_whole = type(restored) is type(error) and str(restored) == str(error)
            if is_whole and failure_of(restored) == failure:
                return error
        except Exception:  # noqa: S110  # user exceptions break pickling in any way
            pass
    substitute = TrialError(f"{type(error).__name__}: {text_of(error)}")
    attach(substitute, failure)
    return substitute


def _standard_error() -> tuple[int, int] | None:
    """Return which file standard error is, whatever a program has made of `sys.stderr`."""
    try:
        status = os.fstat(2)
    except OSError:  # it is closed
        return None
    return status.st_dev, status.st_ino
