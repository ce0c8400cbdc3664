"""Checks of numbers in options; a bool, which Python counts as an int, is not one of them."""

from __future__ import annotations

import sys
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite int or float, and not a bool."""
    # Unlike math.isfinite(), comparing refuses ints that are too large for a float.
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def is_whole_number(value: object, minimum: int = 0) -> TypeGuard[int]:
    """Return whether a value is an int of at least `minimum`, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def is_number_text(text: str) -> bool:
    """Return True if a text is a number, infinity and NaN included."""
    try:
        float(text)
    except ValueError:
        return False
    return True
