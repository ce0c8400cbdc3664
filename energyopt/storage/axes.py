"""Comparison of the axes of a run with those of a study: by their meaning, not their text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial

from energyopt.search.equality import is_same
from energyopt.storage.optuna_tables import distribution_from_json

AXES = "energyopt_axes"
"""Attribute of a study: the distribution of each searched key, as the last run had it."""

Axes = Mapping[str, BaseDistribution]
_Number = FloatDistribution | IntDistribution


def to_plain(axes: Axes) -> dict[str, Any]:
    """Return plain data for JSON."""
    return {key: json.loads(distribution_to_json(axis)) for key, axis in axes.items()}


def from_plain(data: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Read what `to_plain` wrote."""
    return {key: distribution_from_json(json.dumps(axis)) for key, axis in data.items()}


def axes_of(trials: Iterable[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Return the last distribution of each key: the axes of a study that did not store them."""
    return {key: axis for trial in trials for key, axis in trial.distributions.items()}


def with_changed(
    space: Axes, stored: Mapping[str, Any] | None, points: Sequence[Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """Return a space with the axes that changed in the course of a study, as the last run had them.

    Args:
        space: The axes that never changed.
        stored: The attribute `AXES` of the study.
        points: The parameters of its trials; an axis that lacks a value of one is left out.
    """
    changed = {
        key: axis
        for key, axis in from_plain(stored or {}).items()
        if key not in space and isinstance(axis, _Number)
    }
    return dict(space) | {
        key: axis
        for key, axis in changed.items()
        if all(_holds(axis, point[key]) for point in points if key in point)
    }


def ordered(axis: BaseDistribution, stored: BaseDistribution | None) -> BaseDistribution:
    """Return an axis with its choices in the order of the study, which Optuna compares, too."""
    if not (_are_choices(axis, stored) and _same_choices(axis, stored)):
        return axis
    return stored if stored is not None else axis


def refusal(
    key: str, stored: BaseDistribution, requested: BaseDistribution, trials: Sequence[FrozenTrial]
) -> str | None:
    """Return why an axis does not continue that of a study; None if it does.

    Numbers may get another range or step, in which all trials lie. Optuna compares choices with
    those of each trial, so they stay.
    """
    change = f"search of {key}: {describe(stored)} -> {describe(requested)}"
    if _are_choices(stored, requested):
        return None if _same_choices(stored, requested) else f"{change}: its choices are fixed"
    if type(stored) is not type(requested):
        return f"{change}: choices, whole numbers and other numbers do not continue each other"
    if isinstance(stored, _Number) and stored.log != getattr(requested, "log", None):
        return f"{change}: its scale, log or not, is fixed"
    for trial in trials:
        value = (trial.system_attrs.get("fixed_params", {}) | trial.params).get(key)
        if value is not None and not _holds(requested, value):
            return f"{change}: trial {trial.number} has {key}={value}, which is not in it"
    return None


def _holds(axis: BaseDistribution, value: Any) -> bool:
    return axis._contains(axis.to_internal_repr(value))  # noqa: SLF001  # no other way


def describe(axis: BaseDistribution) -> str:
    """Return an axis as people write it."""
    if isinstance(axis, CategoricalDistribution):
        return f"choice({','.join(map(str, axis.choices))})"
    assert isinstance(axis, _Number)  # noqa: S101  # Optuna has no others
    ends = f"{axis.low:g},{axis.high:g}"
    text = f"interval({ends})"
    if isinstance(axis, IntDistribution):
        text = f"int({text})"
    if axis.step not in (None, 1):
        text += f" in steps of {axis.step:g}"
    return f"tag(log,{text})" if axis.log else text


def _are_choices(*axes: BaseDistribution | None) -> bool:
    return all(isinstance(axis, CategoricalDistribution) for axis in axes)


def _same_choices(a: Any, b: Any) -> bool:
    return len(a.choices) == len(b.choices) and all(
        any(is_same(choice, rival) for rival in b.choices) for choice in a.choices
    )
