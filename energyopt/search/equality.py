"""Comparison of config values by meaning, however they are written."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

_RELATIVE = 1e-12  # what arithmetic in a resolver may lose: 0.1 * 3 is 0.3
_WORDS = {"true": True, "false": False}


def plain(value: Any) -> Any:
    """Return a value as plain data: enums by their names, arrays as lists, paths as text."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if not isinstance(value, str) and callable(getattr(value, "tolist", None)):
        return plain(value.tolist())  # numbers and arrays of NumPy and PyTorch
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return float(value) if isinstance(value, numbers.Real | Decimal) else value


def is_same(a: Any, b: Any) -> bool:
    """Return True if two plain values are the same: 1 and 1.0 are, true and 1 are not."""
    return _compare(a, b, _is_same_scalar)


def is_alike(a: Any, b: Any) -> bool:
    """Return True if a program that converts cannot tell them apart: '16' and 16, 1 and true."""
    return _compare(a, b, _is_alike_scalar)


def number_in(value: Any) -> float | None:
    """Return the finite number that a plain value is or spells; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


def matching(value: Any, candidates: Iterable[tuple[Any, Any]]) -> Any | None:
    """Return the name of the candidate that means a value, in a tuple; None without one.

    Args:
        value: Plain data.
        candidates: Names, each with what it stands for as plain data.
    """
    pairs = list(candidates)
    for test in (is_same, is_alike):
        for name, candidate in pairs:
            if test(value, candidate):
                return (name,)
    return None


def _compare(a: Any, b: Any, is_equal: Callable[[Any, Any], bool]) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_compare(a[key], b[key], is_equal) for key in a)
    if _is_list(a) and _is_list(b):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(_compare(x, y, is_equal) for x, y in pairs)
    return is_equal(a, b)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_same_scalar(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=_RELATIVE)
    return type(a) is type(b) and bool(a == b)


def _is_alike_scalar(a: Any, b: Any) -> bool:
    if _is_same_scalar(a, b):
        return True
    first, second = _converted(a), _converted(b)
    if first is None or second is None:
        return False
    return first == second or math.isclose(first, second, rel_tol=_RELATIVE)


def _converted(value: Any) -> float | None:
    """Return a scalar as the number that it is, spells, or stands for as a truth value."""
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower(), value)
    return float(value) if isinstance(value, bool) else number_in(value)
