"""Checks of the options of a rule."""

from __future__ import annotations

import math

from energyopt.core.number_checks import is_number, is_whole_number
from energyopt.errors import ConfigError


def checked_number(
    key: str, value: object, low: float, high: float = math.inf, *, allowed: str
) -> float:
    """Return the value of a config key as a float, if it is a number from `low` to `high`.

    Raises:
        ConfigError: If it is not; `allowed` says in words what is.
    """
    if is_number(value) and low <= value <= high:
        return float(value)
    raise ConfigError(f"{key}={value} is not allowed: {allowed} is needed")


def checked_count(key: str, value: object, low: int = 1) -> int:
    """Return a whole number of at least `low`.

    Raises:
        ConfigError: If it is anything else.
    """
    if is_whole_number(value, low):
        return value
    raise ConfigError(f"{key}={value} is not allowed: a whole number of at least {low} is needed")
