"""The environment and memory of this process, as other processes see them (Linux)."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection
from pathlib import Path

_STAT = Path("/proc/self/stat")
_START, _END = 47, 48  # of the environment, among its fields after the command's ")"
_PR_SET_DUMPABLE = 4


def replace_variables(values: dict[str, str]) -> None:
    """Set variables, and overwrite the values with which this process was started.

    The kernel shows those to other processes (/proc/PID/environ), and a fork inherits them, however
    often the variable is set or unset.
    """
    os.environ.update(values)  # first: until then getenv() points to what is overwritten
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
    except (OSError, ValueError, IndexError):
        return  # no Linux
    if 0 < start < end:
        _erase(start, ctypes.string_at(start, end - start), values)


def _erase(address: int, block: bytes, names: Collection[str]) -> None:
    """Overwrite the values of variables in a block of entries that end with a zero byte."""
    for entry in block.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if os.fsdecode(name) in names:
            ctypes.memset(address + len(name) + 1, 0, len(value))
        address += len(entry) + 1


_is_closed = False


def close_memory() -> None:
    """Keep other processes of this user out of the memory of this one and of its forks."""
    global _is_closed  # noqa: PLW0603  # a property of the process
    _is_closed = _set_dumpable(value=False)


def reopen_memory() -> None:
    """Undo `close_memory` in a fork or a training of no study, whose debuggers need it."""
    if _is_closed:
        _set_dumpable(value=True)


def _set_dumpable(*, value: bool) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, int(value), 0, 0, 0) == 0)
