"""How the trial that stands for the user's default relates to it, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class DefaultSetup:
    """The user's default, as far as the trial that stands for it differs.

    Attributes:
        outside: The user's values that are not in the search space, as text by key.
        unknown: Searched keys whose default neither the config nor a signature states.
    """

    outside: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def is_nearest(self) -> bool:
        """True if the trial is only the nearest to the default in the space."""
        return bool(self.outside or self.unknown)

    @property
    def explanation(self) -> str:
        """Why it is only the nearest, as clauses; empty if it is the default."""
        clauses = []
        if self.outside:
            values = ", ".join(f"{key}={text}" for key, text in self.outside.items())
            clauses.append(f"the default {values} lies outside of the space")
        if self.unknown:
            clauses.append(f"the default of {', '.join(self.unknown)} is unknown")
        return "; ".join(clauses)

    @property
    def sentence(self) -> str:
        """Why it is only the nearest, as a sentence; empty if it is the default."""
        if not self.is_nearest:
            return ""
        text = self.explanation
        return (
            f"{text[0].upper()}{text[1:]}: comparisons are with the setup nearest to the default."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"outside": dict(self.outside), "unknown": list(self.unknown)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> DefaultSetup:
        """Read what `to_dict` wrote; None is of a version that took it for the default."""
        if not data:
            return DEFAULT
        return cls(dict(data.get("outside", {})), tuple(data.get("unknown", ())))


DEFAULT = DefaultSetup()
"""The trial is the user's default itself."""


def mark(*, default: bool, nearest: bool) -> str:
    """Return what a trial is marked with: "default", "nearest to the default", or nothing."""
    if not default:
        return ""
    return "nearest to the default" if nearest else "default"


def name(*, nearest: bool) -> str:
    """Return the name of the configuration in a sentence."""
    return "the setup nearest to the default" if nearest else "the default setup"
