"""Where code is now that studies name by the `_target_` paths of their day.

A study keeps its config, and is continued by those alone who ask the same; a source is kept under
a hash of what determines it. So what is stored and compared is the first name that a piece of code
had, for ever, however often it moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOVED: Mapping[str, str] = {}
"""The first `_target_` path of what has moved -> its path now. No entry is ever removed."""

_KEY = "_target_"


def target_now(target: str, moved: Mapping[str, str] = MOVED) -> str:
    """Return where the code of a `_target_` path is now."""
    return moved.get(target, target)


def as_stored(data: Any, moved: Mapping[str, str] = MOVED) -> Any:
    """Return plain config data in which each `_target_` has the first name of its code."""
    first: dict[str, str] = {}
    for before, now in moved.items():
        first.setdefault(now, before)
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
