"""Garbage collection in a process that imports large libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage meanwhile, and leave what was made out of all later collections.

    Importing torch makes 300,000 objects that stay. Looking for garbage among them again and again
    takes a seventh of the time of the import.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
