"""The parser of Hydra's sweep grammar: from a multirun's overrides to a search space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
)
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.config.overrides import value_and_text
from energyopt.errors import ConfigError
from energyopt.search.space import Dimension, Space, Value


def parse_space(arguments: Sequence[str], loader: ConfigLoader) -> Space:
    """Split command-line overrides into fixed ones and the axes of a space.

    Args:
        arguments: Overrides, such as "lr=tag(log,interval(1e-4,1e-1))".
        loader: Hydra's, which knows the config groups.

    Raises:
        ConfigError: If a sweep cannot be searched.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    fixed, sweep, dimensions = [], [], []
    for override in parsed:
        line = override.input_line or ""
        if override.is_sweep_override():
            sweep.append(line)
            dimensions.append(_dimension(override, loader))
        else:
            fixed.append(line)
    keys = [d.key for d in dimensions]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is swept twice; give it one range or choice")
    ordered = sorted(dimensions, key=lambda d: not d.is_group)
    return Space(tuple(fixed), tuple(sweep), tuple(ordered))


def _dimension(override: Override, loader: ConfigLoader) -> Dimension:
    element = override.get_key_element()
    key = element.lstrip("+")
    sweep = override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    allowed = {"log"} if isinstance(sweep, IntervalSweep) else set()
    if tags - allowed:
        remedy = "intervals can be tagged log" if allowed else "only intervals can be tagged"
        raise ConfigError(
            f"{key}: the tag {', '.join(sorted(tags - allowed))} means nothing here; {remedy}"
        )
    try:
        if isinstance(sweep, IntervalSweep):
            return Dimension(key, element, _interval(key, sweep))
        if isinstance(sweep, RangeSweep):
            return Dimension(key, element, _range(key, sweep))
        texts = _choices(key, override)
    except ConfigError:
        raise
    except ValueError as error:  # Optuna's message on impossible bounds
        raise ConfigError(f"{key}: {error}") from error
    is_group = bool(loader.get_group_options(override.key_or_group))
    return Dimension(key, element, CategoricalDistribution(list(texts)), texts, is_group)


def _interval(key: str, sweep: IntervalSweep) -> BaseDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None:
        raise ConfigError(f"{key}: an interval needs two ends, such as interval(0,1)")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{key}=interval({low},{high}): both ends must be finite")
    if low > high:
        raise ConfigError(f"{key}=interval({low:g},{high:g}): the lower end comes first")
    if log and low <= 0:
        raise ConfigError(
            f"{key}=tag(log,interval({low:g},{high:g})): a log interval begins above 0"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(key: str, sweep: RangeSweep) -> BaseDistribution:
    # As in Hydra's range, the stop is exclusive; the order of a discrete axis does not matter.
    ends = (sweep.start, sweep.stop, sweep.step)
    override = f"{key}=range({sweep.start},{sweep.stop},{sweep.step})"
    start, stop, step = (Decimal(str(end)) for end in ends)
    if step == 0 or not (start.is_finite() and stop.is_finite() and step.is_finite()):
        raise ConfigError(f"{override}: two finite ends and a step other than 0 are needed")
    count = math.ceil((stop - start) / step)
    if count < 1:
        raise ConfigError(f"{override} is empty: the stop is exclusive")
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(end, int) for end in ends):
        return IntDistribution(int(low), int(high), step=int(abs(step)))
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def _choices(key: str, override: Override) -> dict[Value, str]:
    """Return the choices with their override texts, in the given order: a study resumes by it."""
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        elements = list(sweep.list)
    else:  # a glob; the placeholder for the user's own code is no choice
        elements = [option for option in override.sweep_iterator() if option != "own"]
    texts: dict[Value, str] = {}
    for element in elements:
        value, text = value_and_text(key, element)
        if value in texts:  # 1, 1.0 and true are equal, and a categorical cannot hold both
            raise ConfigError(
                f"{key}: the choices {value!r} and {_equal(texts, value)!r} are equal; drop one"
            )
        texts[value] = text
    if not texts:
        raise ConfigError(f"{key}={override.get_value_string()} leaves nothing to choose from")
    return texts


def _equal(choices: Mapping[Value, str], value: Value) -> Value:
    return next(choice for choice in choices if choice == value)
