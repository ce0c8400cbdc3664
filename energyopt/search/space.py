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
from energyopt.search.equality import is_same, matching, number_in

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of the search space.

    Attributes:
        key: The config key or group, as people write it.
        element: The override up to the "=": the key with its "+" or "++".
        distribution: Optuna's distribution.
        texts: For choices, the text of the override after the "=", by value.
        is_group: Whether it selects an option of a config group.
    """

    key: str
    element: str
    distribution: BaseDistribution
    texts: Mapping[Any, str] = field(default_factory=dict)
    is_group: bool = False

    def override(self, value: Value) -> str:
        """Return the override that sets a value, without loss."""
        text = self.texts[value] if self.texts else repr(value)
        return f"{self.element}={text}"

    @property
    def always(self) -> bool:
        """True if it adds its key, and so exists in every composition."""
        return self.is_group or self.element.startswith("+")

    def nearest(self, value: object) -> Value:
        """Return the value of the space that is nearest to a value of the config.

        Numbers are clipped and snapped; what is neither number nor choice becomes the first value.
        """
        axis = self.distribution
        if isinstance(axis, CategoricalDistribution):
            return _nearest_choice(axis, value)
        assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        stated = number_in(value)
        number = float(axis.low) if stated is None else stated
        clipped = min(max(number, axis.low), axis.high)
        if axis.step is not None:
            clipped = on_step(axis, clipped)
        return round(clipped) if isinstance(axis, IntDistribution) else float(clipped)

    def holds(self, value: object) -> bool:
        """Return True if a number, or a text that spells one, is in the space as it is."""
        number = number_in(value)
        return number is not None and is_same(self.nearest(number), number)

    def grid(self) -> list[Value]:
        """Return all values, in order.

        Raises:
            ConfigError: If they cannot be counted.
        """
        axis, count = self.distribution, self.n_values
        if count is None:
            raise ConfigError(
                f"sampler=grid cannot count {self.key}: give it choices or a range, such as "
                f"{self.key}=choice(...)"
            )
        if isinstance(axis, CategoricalDistribution):
            return list(axis.choices)
        if isinstance(axis, IntDistribution):
            return list(range(axis.low, axis.high + 1, axis.step))
        assert isinstance(axis, FloatDistribution)  # noqa: S101  # for the type checker
        assert axis.step is not None  # noqa: S101  # for the type checker
        return [_stepped(axis.low, axis.step, i) for i in range(count)]

    @property
    def n_values(self) -> int | None:
        """Number of values; None if they cannot be counted."""
        axis = self.distribution
        if isinstance(axis, CategoricalDistribution):
            return len(axis.choices)
        assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        return (
            None if axis.log or axis.step is None else round((axis.high - axis.low) / axis.step) + 1
        )

    def ends(self) -> list[Value]:
        """Return the smallest and the largest value; all values of a choice."""
        axis = self.distribution
        if isinstance(axis, CategoricalDistribution):
            return list(axis.choices)
        assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
        return [axis.low, axis.high]

    def describe(self) -> str:
        """Return a text for people: "lr 0.0001..0.1 (log)"."""
        axis = self.distribution
        if isinstance(axis, CategoricalDistribution):
            return f"{self.key} {{{', '.join(map(str, axis.choices))}}}"
        assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101
        step = f" step {axis.step:g}" if axis.step is not None and axis.step != 1 else ""
        return f"{self.key} {axis.low:g}..{axis.high:g}{step}{' (log)' if axis.log else ''}"


def on_step(axis: FloatDistribution | IntDistribution, value: float) -> float:
    """Return the value of a stepped axis that is nearest, in decimals.

    Steps that are added up in binary give 0.1 + 2 * 0.1 = 0.30000000000000004.
    """
    assert axis.step is not None  # noqa: S101  # for the type checker
    return _stepped(axis.low, axis.step, round((value - axis.low) / axis.step))


def _stepped(low: float, step: float, i: int) -> float:
    """Return the i-th value of a stepped axis, in decimals: 0.1 + 2 * 0.1 is 0.3."""
    return float(Decimal(str(low)) + i * Decimal(str(step)))


def _nearest_choice(axis: CategoricalDistribution, value: object) -> Value:
    match = matching(value, ((choice, choice) for choice in axis.choices))
    if match:
        choice: Value = match[0]
        return choice
    number = number_in(value)
    numbers = [c for c in axis.choices if isinstance(c, int | float) and not isinstance(c, bool)]
    if len(numbers) == len(axis.choices) and number is not None:
        return min(numbers, key=lambda c: abs(c - number))
    return axis.choices[0]


@dataclass(frozen=True, slots=True)
class Space:
    """The search space of a command line: fixed overrides, and the axes to search.

    Attributes:
        fixed: Overrides that all trials share, as they were typed.
        sweep: Overrides that span the space, as they were typed.
        dimensions: The axes; those that select config groups come first.
    """

    fixed: tuple[str, ...]
    sweep: tuple[str, ...]
    dimensions: tuple[Dimension, ...]

    @property
    def axes(self) -> dict[str, BaseDistribution]:
        """The distribution of each searched key."""
        return {d.key: d.distribution for d in self.dimensions}

    @property
    def groups(self) -> tuple[Dimension, ...]:
        """The axes that select config groups."""
        return tuple(d for d in self.dimensions if d.is_group)

    @property
    def scalars(self) -> tuple[Dimension, ...]:
        """The axes that set values."""
        return tuple(d for d in self.dimensions if not d.is_group)

    def overrides(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """Return the overrides that set the given values."""
        return tuple(d.override(params[d.key]) for d in self.dimensions if d.key in params)
