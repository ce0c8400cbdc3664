"""Rules for the values of config keys, with their description."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The allowed values of a key.

    Attributes:
        types: Allowed types; a bool counts only where it is named, not as a number.
        allows: Returns True for an allowed value of these types.
        says: Description of the allowed values.
        optional: Whether None (null in a config) is allowed as well.
    """

    types: tuple[type, ...]
    allows: Callable[[Any], bool]
    says: str
    optional: bool = False

    def permits(self, value: object) -> bool:
        """Return whether the key may hold the value."""
        if value is None:
            return self.optional
        has_type = isinstance(value, self.types)
        if isinstance(value, bool):  # else true would be the number 1
            has_type = bool in self.types
        return has_type and self.allows(value)

    def or_null(self) -> KeyRule:
        """Return the rule with None allowed as well."""
        return replace(self, optional=True)


def above_zero(what: str) -> KeyRule:
    """Return the rule of a finite number above 0.

    Args:
        what: The number and its unit, such as "a number of seconds".
    """
    return KeyRule((int, float), lambda v: 0 < v < math.inf, f"{what} above 0")


def at_least(least: float, what: str = "a number") -> KeyRule:
    """Return the rule of a finite number that is at least a limit.

    Args:
        least: The limit.
        what: As in `above_zero`.
    """
    return KeyRule((int, float), lambda v: least <= v < math.inf, f"{what} of at least {least:g}")


COUNT = KeyRule((int,), lambda v: v >= 1, "a whole number of at least 1")
"""The rule of a count."""

YES_OR_NO = KeyRule((bool,), lambda _: True, "true or false")
"""The rule of a choice between yes and no."""
