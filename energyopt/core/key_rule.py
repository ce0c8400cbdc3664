"""What a key of a config may hold, and how that is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What a key may hold.

    Attributes:
        types: Of its value; a truth value is no number.
        allows: Whether it may be this value of one of the types.
        says: What is needed, in words.
        optional: Whether it may also be None, which is null in a config.
    """

    types: tuple[type, ...]
    allows: Callable[[Any], bool]
    says: str
    optional: bool = False

    def permits(self, value: object) -> bool:
        """Return whether the key may hold the value."""
        if value is None:
            return self.optional
        is_one = isinstance(value, self.types) and not isinstance(value, bool)
        return is_one and self.allows(value)

    def or_null(self) -> KeyRule:
        """Return the same rule for a key that may also hold nothing."""
        return replace(self, optional=True)


def above_zero(what: str) -> KeyRule:
    """Return the rule of a finite number above 0.

    Args:
        what: Of what it is a number, with its unit, such as "a number of seconds".
    """
    return KeyRule((int, float), lambda v: 0 < v < math.inf, f"{what} above 0")


def at_least(least: float, what: str = "a number") -> KeyRule:
    """Return the rule of a finite number that is not below another one.

    Args:
        least: The lowest that is allowed.
        what: As in `above_zero`.
    """
    return KeyRule((int, float), lambda v: least <= v < math.inf, f"{what} of at least {least:g}")


COUNT = KeyRule((int,), lambda v: v >= 1, "a whole number of at least 1")
"""How many of something."""
