"""The range that was searched of each parameter, in the order in which axes show it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.core.number_checks import is_number
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import setting

_DECADE = 10.0


@dataclass(frozen=True, slots=True)
class SearchRange:
    """The range of a parameter.

    Attributes:
        key: The config key.
        low: Lower end; 0 of categories.
        high: Upper end; 0 of categories.
        log: Whether it was searched on a log scale.
        labels: Its categories as text, numbers in numeric order; empty for a range of numbers.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, study: StudyRecord, key: str) -> SearchRange:
        """Return the range that was searched; that of the trained values if it has changed."""
        distribution = study.space.get(key)
        values = [trial.params[key] for trial, _ in study.results if key in trial.params]
        choices = getattr(distribution, "choices", None)
        if choices is not None or not all(is_number(value) for value in values):
            ordered = in_order([*(choices or ()), *values])
            return cls(key, labels=tuple(setting(value) for value in ordered))
        low, high = float(min(values)), float(max(values))
        log = low > 0 and high / low > _DECADE
        if distribution is not None:  # the default may lie outside of it
            log = bool(distribution.log)
            lows = [value for value in (*values, distribution.low) if value > 0 or not log]
            low, high = float(min(lows)), float(max(high, distribution.high))
        return cls(key, low, high, log)

    def place(self, value: float) -> float:
        """Return what is drawn of a number: the lower end of what a log scale cannot show."""
        return max(value, self.low)

    def share(self, value: Any) -> float:
        """Return where in the range a value lies, from 0 to 1."""
        if self.labels:
            return self.labels.index(setting(value)) / max(len(self.labels) - 1, 1)
        low, high, place = (
            math.log(end) if self.log else end for end in (self.low, self.high, self.place(value))
        )
        return (place - low) / (high - low) if high > low else 0.5

    def marks(self) -> Sequence[tuple[float, str]]:
        """Return some places in the range with their labels: ends and middle, or categories."""
        if self.labels:
            return [(i / max(len(self.labels) - 1, 1), text) for i, text in enumerate(self.labels)]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [(place, f"{end:.2g}") for place, end in zip(
            (0.0, 0.5, 1.0), (self.low, middle, self.high), strict=True)]  # fmt: skip


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the distinct values, numbers in numeric order, others as they come."""
    distinct = list({repr(value): value for value in values}.values())
    return sorted(distinct) if all(is_number(value) for value in distinct) else distinct
