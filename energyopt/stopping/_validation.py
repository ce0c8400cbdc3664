"""Check the options of a rule."""

from __future__ import annotations

import math

from energyopt.errors import ConfigError


def number(key: str, value: object, low: float, high: float = math.inf, *, says: str) -> float:
    """A finite number between two ends.

    Raises:
        ConfigError: Naming the key, its value and what it may be.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high:  # type: ignore[arg-type, operator]
        return float(value)  # type: ignore[arg-type]
    raise ConfigError(f"{key}={value} is not allowed: {says} is needed")


def count(key: str, value: object, low: int = 1) -> int:
    """A whole number from an end on.

    Raises:
        ConfigError: Naming the key, its value and what it may be.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= low:
        return value
    raise ConfigError(f"{key}={value} is not allowed: a whole number of at least {low} is needed")
