"""Current paths of code that studies name by older `_target_` paths.

A study stores its config, and only a run with an equal config continues it; a pretrained source is
stored under a hash of its config. So the stored and compared name of a piece of code is always its
first one, however often the code moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOVED: Mapping[str, str] = {}
"""The first `_target_` path of what has moved -> its path now. No entry is ever removed."""

_KEY = "_target_"


def target_now(target: str, moved: Mapping[str, str] = MOVED) -> str:
    """Return the current path of the code of a `_target_` path."""
    return moved.get(target, target)


def as_stored(data: Any, moved: Mapping[str, str] = MOVED) -> Any:
    """Return plain config data in which each `_target_` has the first name of its code."""
    first: dict[str, str] = {}
    for stored, current in moved.items():
        first.setdefault(current, stored)
    return _renamed(data, moved, first)


def _renamed(data: Any, moved: Mapping[str, str], first: Mapping[str, str]) -> Any:
    if isinstance(data, Mapping):
        return {
            key: first.get(target_now(value, moved), value)
            if key == _KEY and isinstance(value, str)
            else _renamed(value, moved, first)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [_renamed(item, moved, first) for item in data]
    return data
