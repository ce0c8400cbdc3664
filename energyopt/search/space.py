"""A search space: its dimensions, and the overrides that set their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.errors import ConfigError

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of the search space.

    Attributes:
        key: The config key or group, as people write it.
        element: What stands before the "=" in a word: the key with its "+" or "++".
        distribution: Optuna's.
        words: For choices, what stands after the "=", by value.
        is_group: Whether it chooses a config group's option.
    """

    key: str
    element: str
    distribution: BaseDistribution
    words: Mapping[Any, str] = field(default_factory=dict)
    is_group: bool = False

    def word(self, value: Value) -> str:
        """The command-line word that sets a value, without loss."""
        text = self.words[value] if self.words else repr(value)
        return f"{self.element}={text}"

    @property
    def always(self) -> bool:
        """Whether it adds its key, and so exists in every composition."""
        return self.is_group or self.element.startswith("+")

    def nearest(self, value: object) -> Value:
        """The value of the space that is nearest to one of the config.

        Numbers are clipped and snapped; what is no number and no choice becomes the first.
        """
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return _nearest_choice(at, value)
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if is_number else float(at.low)  # type: ignore[arg-type]
        clipped = min(max(number, at.low), at.high)
        if at.step is not None:
            clipped = _stepped(at.low, at.step, round((clipped - at.low) / at.step))
        return round(clipped) if isinstance(at, IntDistribution) else float(clipped)

    def grid(self) -> list[Value]:
        """All values, in order.

        Raises:
            ConfigError: If they cannot be counted.
        """
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return list(at.choices)
        if isinstance(at, IntDistribution) and not at.log:
            return list(range(at.low, at.high + 1, at.step))
        if isinstance(at, FloatDistribution) and at.step is not None:
            count = round((at.high - at.low) / at.step) + 1
            return [_stepped(at.low, at.step, i) for i in range(count)]
        raise ConfigError(
            f"sampler=grid cannot count {self.key}: give it choices or a range, such as "
            f"{self.key}=choice(...)"
        )

    def ends(self) -> list[Value]:
        """The values between which all lie; all of a choice."""
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return list(at.choices)
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        return [at.low, at.high]

    def describe(self) -> str:
        """For people: "lr 0.0001..0.1 (log)"."""
        at = self.distribution
        if isinstance(at, CategoricalDistribution):
            return f"{self.key} {{{', '.join(map(str, at.choices))}}}"
        assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101
        step = f" step {at.step:g}" if at.step is not None and at.step != 1 else ""
        return f"{self.key} {at.low:g}..{at.high:g}{step}{' (log)' if at.log else ''}"


def _stepped(low: float, step: float, i: int) -> float:
    """The i-th value of a stepped axis, in decimals: 0.1 + 2 * 0.1 is 0.3."""
    return float(Decimal(str(low)) + i * Decimal(str(step)))


def _nearest_choice(at: CategoricalDistribution, value: object) -> Value:
    same = [c for c in at.choices if type(c) is type(value) and c == value]
    if same:
        return same[0]
    numbers = [c for c in at.choices if isinstance(c, int | float) and not isinstance(c, bool)]
    if len(numbers) == len(at.choices) and isinstance(value, int | float):
        return min(numbers, key=lambda c: abs(c - value))
    return at.choices[0]


@dataclass(frozen=True, slots=True)
class Space:
    """What a command line asks for: fixed words, and the axes to search.

    Attributes:
        fixed: Words that all trials share, as they were typed.
        sweep: Words that span the space, as they were typed.
        dimensions: The axes; those that choose config groups come first.
    """

    fixed: tuple[str, ...]
    sweep: tuple[str, ...]
    dimensions: tuple[Dimension, ...]

    @property
    def groups(self) -> tuple[Dimension, ...]:
        """The axes that choose config groups."""
        return tuple(d for d in self.dimensions if d.is_group)

    @property
    def scalars(self) -> tuple[Dimension, ...]:
        """The axes that set values."""
        return tuple(d for d in self.dimensions if not d.is_group)

    def words(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """The words that set the given values."""
        return tuple(d.word(params[d.key]) for d in self.dimensions if d.key in params)
