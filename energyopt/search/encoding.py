"""Encoding of configurations: numbers scaled to [0, 1], other choices by index."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.core.number_checks import is_number

Array = NDArray[np.float64]
Params = Mapping[str, Any]
"""Hyperparameters of a configuration, by config key."""

_WIDE_RATIO = 8.0  # choices that span it (three doublings) are spaced on a log scale
_MIN_NUMBERS = 3  # two choices have no scale: they differ, that is all
_MAX_LISTED = 400  # configurations of a space that is listed in full
_NEIGHBOUR_SD = 0.15  # of a step to a neighbour, in widths of the space
_MIN_CHANGE = 0.3  # probability that a neighbour changes a key; one key in expectation if fewer


class Encoding:
    """Encodes configurations of a space as rows of numbers, and draws configurations from it.

    Choices of three or more numbers are points on a scale, a log one if they span a wide ratio;
    others are equal or not. A key that a configuration does not have (a conditional space) is NaN.

    Args:
        space: Distributions by key.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        self._scales = {key: _scale(axis) for key, axis in self.space.items()}

    @property
    def by_name(self) -> NDArray[np.bool_]:
        """Mask of the columns that hold choices by name."""
        return np.array([scale is None for scale in self._scales.values()], dtype=bool)

    def rows(self, points: Sequence[Params]) -> Array:
        """Return the configurations as an array of shape (configurations, keys)."""
        rows = np.full((len(points), len(self.space)), np.nan)
        for column, (key, scale) in enumerate(self._scales.items()):
            for row, point in enumerate(points):
                if key in point:
                    value = point[key]
                    rows[row, column] = (
                        self._choice_index(key, value) if scale is None else scale(float(value))
                    )
        return rows

    def squared(self, a: Array, b: Array) -> Array:
        """Return squared distances by column, of shape (keys, rows of a, rows of b).

        Where one configuration has a key and the other has not the distance is the maximum, 1.
        """
        from_a, from_b = a.T[:, :, None], b.T[:, None, :]
        distance = np.where(self.by_name[:, None, None], from_a != from_b, np.abs(from_a - from_b))
        one_missing = np.isnan(from_a) ^ np.isnan(from_b)
        both_missing = np.isnan(from_a) & np.isnan(from_b)
        squared: Array = np.where(both_missing, 0.0, np.where(one_missing, 1.0, distance)) ** 2
        return squared

    def candidates(
        self, near: Sequence[Params], rng: np.random.Generator, count: int
    ) -> list[dict[str, Any]]:
        """Return candidates: all of a small space, else random ones and neighbours.

        Args:
            near: Configurations whose neighbours become candidates, the best first.
            rng: Draws them.
            count: Number of candidates of a large space.
        """
        listed = self._list_all()
        if listed is not None:
            return listed
        drawn = [self._random(rng) for _ in range(count // 2)]
        drawn += [self._neighbour(near[i % len(near)], rng) for i in range(count // 2) if near]
        return drawn

    def _list_all(self) -> list[dict[str, Any]] | None:
        """Return all configurations of the space; None where there are too many."""
        axes = []
        for axis in self.space.values():
            values = _values(axis)
            if values is None:
                return None
            axes.append(values)
        if math.prod(map(len, axes)) > _MAX_LISTED:
            return None
        return [dict(zip(self.space, values, strict=True)) for values in itertools.product(*axes)]

    def _choice_index(self, key: str, value: Any) -> float:
        axis = self.space[key]
        assert isinstance(axis, CategoricalDistribution)  # noqa: S101  # for the type checker
        return float(axis.choices.index(value)) if value in axis.choices else -1.0

    def _random(self, rng: np.random.Generator) -> dict[str, Any]:
        return {key: _value_at(axis, rng.random(), rng) for key, axis in self.space.items()}

    def _neighbour(self, point: Params, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a configuration that differs a little, in some of its keys."""
        neighbour = {}
        change_probability = max(_MIN_CHANGE, 1.0 / len(self.space))
        for key, axis in self.space.items():
            scale = self._scales[key]
            if key in point and rng.random() > change_probability:
                neighbour[key] = point[key]
            elif scale is None or key not in point:
                neighbour[key] = _value_at(axis, rng.random(), rng)
            else:
                share = scale(float(point[key])) + _NEIGHBOUR_SD * rng.standard_normal()
                neighbour[key] = _value_at(axis, float(np.clip(share, 0.0, 1.0)), rng)
        return neighbour


def _scale(axis: BaseDistribution) -> Callable[[float], float] | None:
    """Return a map from a distribution's numbers to [0, 1]; None where there are only names."""
    if isinstance(axis, CategoricalDistribution):
        numbers = [float(choice) for choice in axis.choices if is_number(choice)]
        if len(numbers) < max(len(axis.choices), _MIN_NUMBERS):
            return None
        low, high = min(numbers), max(numbers)
        return _scale_between(low, high, log=low > 0 and high / low >= _WIDE_RATIO)
    assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101
    return _scale_between(float(axis.low), float(axis.high), log=axis.log)


def _scale_between(low: float, high: float, *, log: bool) -> Callable[[float], float]:
    def scale(value: float) -> float:
        clipped = min(max(value, low), high)
        if not log:
            return (clipped - low) / ((high - low) or 1.0)
        return math.log(clipped / low) / (math.log(high / low) or 1.0)

    return scale


def _values(axis: BaseDistribution) -> list[Any] | None:
    """Return all values of a distribution; None where there are too many."""
    if isinstance(axis, CategoricalDistribution):
        return list(axis.choices)
    if isinstance(axis, IntDistribution) and (axis.high - axis.low) / axis.step < _MAX_LISTED:
        return list(range(axis.low, axis.high + 1, axis.step))
    if isinstance(axis, FloatDistribution) and axis.step is not None:
        count = round((axis.high - axis.low) / axis.step) + 1
        if count <= _MAX_LISTED:
            return [min(axis.low + i * axis.step, axis.high) for i in range(count)]
    return None


def _value_at(axis: BaseDistribution, share: float, rng: np.random.Generator) -> Any:
    """Return the value at a share of the way through a distribution; a random name."""
    if isinstance(axis, CategoricalDistribution):
        scale = _scale(axis)
        if scale is None:
            return axis.choices[int(rng.integers(len(axis.choices)))]
        return min(axis.choices, key=lambda choice: abs(scale(float(choice)) - share))  # type: ignore[arg-type]
    assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101
    width = axis.high - axis.low
    value = axis.low * (axis.high / axis.low) ** share if axis.log else axis.low + share * width
    if axis.step is not None and not axis.log:
        value = axis.low + round((value - axis.low) / axis.step) * axis.step
    value = min(max(value, axis.low), axis.high)
    return round(value) if isinstance(axis, IntDistribution) else float(value)
