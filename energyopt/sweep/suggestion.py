"""The values of a trial, as a sampler suggests them: groups first, then the keys that exist."""

from __future__ import annotations

from optuna.distributions import BaseDistribution as Axis
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.axes import ordered
from energyopt.storage.continuation import stored_axes
from energyopt.sweep.adapter import Adapter


def suggest(trial: Trial, space: Space, adapter: Adapter) -> dict[str, Value]:
    """Return the values of a trial.

    Args:
        trial: The trial; a repetition has some of its values already.
        space: The search space.
        adapter: Knows which keys exist, and the user's code that suggests more.
    """
    axes = stored_axes(trial.study)  # Optuna compares the order of choices, too
    params = {d.key: _suggest(trial, d, axes.get(d.key)) for d in space.groups}
    for dimension in adapter.dimensions(params):
        params[dimension.key] = _suggest(trial, dimension, axes.get(dimension.key))
    return params | dict(adapter.suggest_more(trial))


def _suggest(trial: Trial, dimension: Dimension, stored: Axis | None) -> Value:
    key, axis = dimension.key, ordered(dimension.distribution, stored)
    if isinstance(axis, CategoricalDistribution):
        choice: Value = trial.suggest_categorical(key, axis.choices)
        return choice
    if isinstance(axis, IntDistribution):
        return trial.suggest_int(key, axis.low, axis.high, step=axis.step, log=axis.log)
    assert isinstance(axis, FloatDistribution)  # noqa: S101  # for the type checker
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)
