"""Check whether jobs may be forked from a process, and import there what they need.

A child of a fork has one thread: a lock that another one held stays locked, and CUDA cannot be used
once its parent has begun it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from threadpoolctl import threadpool_info

from energyopt.hardware.host import cuda_has_begun
from energyopt.utils.garbage import without_collection

_THREADS = Path("/proc/self/task")


def fork_hazard() -> str | None:
    """Return why jobs must not be forked from this process; None if they may.

    The threads of OpenBLAS, which importing NumPy starts, do not count: it ends them before a fork.
    """
    if cuda_has_begun():
        return "the app begins CUDA where it is imported"
    n_other = _count_threads() - 1 - _count_blas_threads()
    if n_other <= 0:
        return None
    return f"the app starts {n_other} thread{'s' if n_other > 1 else ''} where it is imported"


def warm_up(modules: Iterable[str]) -> str | None:
    """Import what jobs of another app import, so that they do not repeat it.

    Args:
        modules: Names of the app's modules; one that cannot be imported fails in the jobs.

    Returns:
        Why jobs must not be forked from this process then; None if they may.
    """
    # The first optimizer of a process imports the latter, for two seconds.
    late = ("torch._dynamo",) if "torch" in sys.modules else ()
    with without_collection():
        for module in ("energyopt.training.run", *late):
            _import_if_possible(module)
    for module in modules:
        _import_if_possible(module)
    return fork_hazard()


def _import_if_possible(module: str) -> None:
    with contextlib.suppress(Exception, SystemExit):
        importlib.import_module(module)


def _count_threads() -> int:
    """Return the number of threads that the kernel knows; where it cannot say, Python's."""
    try:
        return sum(1 for _ in _THREADS.iterdir())
    except OSError:
        return threading.active_count()


def _count_blas_threads() -> int:
    pools = threadpool_info()
    return sum(pool["num_threads"] - 1 for pool in pools if pool["internal_api"] == "openblas")
