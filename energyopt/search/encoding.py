"""Setups as points: numbers on their own scale between 0 and 1, choices by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = NDArray[np.float64]
Point = Mapping[str, Any]

_WIDE = 8.0  # choices that span such a ratio are even on a log scale
_FEW_NUMBERS = 3
_MOST_LISTED = 400
_NEAR = 0.15  # standard deviation of a step to a neighbour, in widths of the space


class Encoding:
    """Turns setups of a space into rows of numbers, and draws setups from it.

    Choices of three or more numbers are points on a scale, a log one if they span a wide ratio;
    others are equal or not. A key that a setup does not have (a conditional space) is NaN.

    Args:
        space: Distributions by key.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        self._scales = {key: _scale(at) for key, at in self.space.items()}

    @property
    def by_name(self) -> NDArray[np.bool_]:
        """Which columns hold choices by name."""
        return np.array([scale is None for scale in self._scales.values()], dtype=bool)

    def rows(self, points: Sequence[Point]) -> Array:
        """The setups as an array of shape (setups, keys)."""
        rows = np.full((len(points), len(self.space)), np.nan)
        for column, (key, scale) in enumerate(self._scales.items()):
            for row, point in enumerate(points):
                if key in point:
                    value = point[key]
                    rows[row, column] = (
                        self._place(key, value) if scale is None else scale(float(value))
                    )
        return rows

    def squared(self, a: Array, b: Array) -> Array:
        """Squared distances by column, of shape (keys, rows of a, rows of b).

        Where one setup has a key and the other has not they are as far apart as can be.
        """
        one, other = a.T[:, :, None], b.T[:, None, :]
        apart = np.where(self.by_name[:, None, None], one != other, np.abs(one - other))
        missing = np.isnan(one) ^ np.isnan(other)
        both = np.isnan(one) & np.isnan(other)
        squared: Array = np.where(both, 0.0, np.where(missing, 1.0, apart)) ** 2
        return squared

    def candidates(
        self, near: Sequence[Point], rng: np.random.Generator, count: int
    ) -> list[dict[str, Any]]:
        """Setups to choose from: all of a small space, else random ones and neighbours.

        Args:
            near: Setups whose neighbours are worth a look, the best first.
            rng: Draws them.
            count: How many of a large space.
        """
        listed = self._all()
        if listed is not None:
            return listed
        drawn = [self._random(rng) for _ in range(count // 2)]
        drawn += [self._neighbour(near[i % len(near)], rng) for i in range(count // 2) if near]
        return drawn

    def _all(self) -> list[dict[str, Any]] | None:
        axes = []
        for at in self.space.values():
            values = _values(at)
            if values is None:
                return None
            axes.append(values)
        if math.prod(map(len, axes)) > _MOST_LISTED:
            return None
        return [dict(zip(self.space, values, strict=True)) for values in itertools.product(*axes)]

    def _place(self, key: str, value: Any) -> float:
        at = self.space[key]
        assert isinstance(at, CategoricalDistribution)  # noqa: S101  # for the type checker
        return float(at.choices.index(value)) if value in at.choices else -1.0

    def _random(self, rng: np.random.Generator) -> dict[str, Any]:
        return {key: _at(at, rng.random(), rng) for key, at in self.space.items()}

    def _neighbour(self, point: Point, rng: np.random.Generator) -> dict[str, Any]:
        """A setup that differs a little, in some of its keys."""
        moved = {}
        chance = max(0.3, 1.0 / len(self.space))
        for key, at in self.space.items():
            scale = self._scales[key]
            if key in point and rng.random() > chance:
                moved[key] = point[key]
            elif scale is None or key not in point:
                moved[key] = _at(at, rng.random(), rng)
            else:
                near = scale(float(point[key])) + _NEAR * rng.standard_normal()
                moved[key] = _at(at, float(np.clip(near, 0.0, 1.0)), rng)
        return moved


def is_number(choice: object) -> TypeGuard[int | float]:
    """Whether a choice lies on a scale."""
    if isinstance(choice, bool) or not isinstance(choice, int | float):
        return False
    return math.isfinite(choice)


def _scale(at: BaseDistribution) -> Callable[[float], float] | None:
    """Maps numbers of a distribution to [0, 1]; None where there are only names."""
    if isinstance(at, CategoricalDistribution):
        numbers = [float(choice) for choice in at.choices if is_number(choice)]
        if len(numbers) < max(len(at.choices), _FEW_NUMBERS):
            return None
        low, high = min(numbers), max(numbers)
        return _between(low, high, log=low > 0 and high / low >= _WIDE)
    assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101
    return _between(float(at.low), float(at.high), log=at.log)


def _between(low: float, high: float, *, log: bool) -> Callable[[float], float]:
    def place(value: float) -> float:
        inside = min(max(value, low), high)
        if not log:
            return (inside - low) / ((high - low) or 1.0)
        return math.log(inside / low) / (math.log(high / low) or 1.0)

    return place


def _values(at: BaseDistribution) -> list[Any] | None:
    """All values that it has; None where there are too many."""
    if isinstance(at, CategoricalDistribution):
        return list(at.choices)
    if isinstance(at, IntDistribution) and (at.high - at.low) / at.step < _MOST_LISTED:
        return list(range(at.low, at.high + 1, at.step))
    if isinstance(at, FloatDistribution) and at.step is not None:
        count = round((at.high - at.low) / at.step) + 1
        if count <= _MOST_LISTED:
            return [min(at.low + i * at.step, at.high) for i in range(count)]
    return None


def _at(at: BaseDistribution, share: float, rng: np.random.Generator) -> Any:
    """The value at a share of the way through a distribution."""
    if isinstance(at, CategoricalDistribution):
        scale = _scale(at)
        if scale is None:
            return at.choices[int(rng.integers(len(at.choices)))]
        return min(at.choices, key=lambda choice: abs(scale(float(choice)) - share))  # type: ignore[arg-type]
    assert isinstance(at, FloatDistribution | IntDistribution)  # noqa: S101
    width = at.high - at.low
    value = at.low * (at.high / at.low) ** share if at.log else at.low + share * width
    if at.step is not None and not at.log:
        value = at.low + round((value - at.low) / at.step) * at.step
    value = min(max(value, at.low), at.high)
    return round(value) if isinstance(at, IntDistribution) else float(value)
