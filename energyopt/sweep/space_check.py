"""The check of a space before the first trial: whether the configs take its values.

Each option of a group is composed once, with the other groups at their defaults. The values of
other keys, that is each choice and both ends of each range, are put into what was composed.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution, FloatDistribution

from energyopt.config.error_messages import explain
from energyopt.errors import ConfigError
from energyopt.search.space import Dimension, Space, Value
from energyopt.sweep.composer import Composer, has_key

MOST_OPTIONS = 50  # composed, over all groups; one takes 10 to 50 ms
MOST_VALUES = 5000  # of a key, over all composed configs; one takes 0.1 ms

Rule = Callable[[str, Value], str | None]
"""Returns why a key may not have a value, or None."""

Test = Callable[[Value], str | None]
"""Returns why a value is not allowed, or None."""

_NEEDED = {
    r"converted to Integer": "a whole number is needed",
    r"converted to Float": "a number is needed",
    r"valid bool": "true or false is needed",
    r"expected one of \[(?P<names>.*)\]": "choose one of {names}",
    r"is not a subclass of (?P<name>\w+)": "a group of the keys of {name} is needed",
    r"valid input for <enum '(?P<name>\w+)'": "the name of a {name} is needed",
}


def check_options(space: Space, composer: Composer, *, is_own_app: bool) -> None:
    """Check that each option of the swept groups can be composed.

    Args:
        space: The space.
        composer: Composes its points.
        is_own_app: Whether hints may name our own groups and keys.

    Raises:
        ConfigError: Naming the option, and the choice without it.
    """
    n_left = MOST_OPTIONS
    for dimension in space.groups:
        options = dimension.grid()[:n_left]
        n_left -= len(options)
        refused = {
            option: explain(error, is_own_app=is_own_app)
            for option in options
            if (error := _composition_error(space, composer, dimension, option)) is not None
        }
        for option, reason in refused.items():
            allowed = [dimension.texts[o] for o in dimension.grid() if o not in refused]
            remedy = (
                f"write {dimension.element}={','.join(allowed)}" if allowed else "choose others"
            )
            text = f"{dimension.key}={option}"
            about = reason if reason.startswith(text) else f"{text}: {reason}"
            raise ConfigError(f"{about}; leave it out: {remedy}")


def _composition_error(
    space: Space, composer: Composer, dimension: Dimension, option: Value
) -> Exception | None:
    try:
        composer.compose(space.overrides({**composer.default_groups(), dimension.key: option}))
    except Exception as error:  # also a YAML file that cannot be read, or a resolver of the user
        return error
    return None


def check_values(space: Space, composer: Composer, rule: Rule, *, is_own_app: bool) -> None:
    """Check the values of the swept keys that are no groups.

    Args:
        space: The space, whose options were checked.
        composer: Has composed them.
        rule: Says why a key may not have a value.
        is_own_app: Whether hints may name our own groups and keys.

    Raises:
        ConfigError: Naming the key, the value, what is allowed and what to write.
    """
    composer.default()
    configs = [copy.deepcopy(cfg) for cfg in composer.composed()]
    for dimension in space.scalars:
        places = [cfg for cfg in configs if dimension.always or has_key(cfg, dimension.key)]
        tests: list[Test] = [partial(rule, dimension.key)]
        tests += [partial(_why_not, cfg, dimension) for cfg in places]
        values = dimension.ends()[:MOST_VALUES]
        for test, value in itertools.islice(itertools.product(tests, values), MOST_VALUES):
            reason = test(value)
            if reason is not None:
                raise ConfigError(_refusal(space, dimension, value, reason, test))
    _check_composition(space, composer, partial(explain, is_own_app=is_own_app))


def _why_not(cfg: DictConfig, dimension: Dimension, value: Value) -> str | None:
    """Put a value into a config, as Hydra does. Return why that is refused, or None."""
    text = dimension.override(value).removeprefix(f"{dimension.element}=")
    is_text = isinstance(value, str)
    try:
        # Lists and dicts are values as text.
        plain = _parsed(text) if is_text and text == value and text[:1] in ("[", "{") else value
        OmegaConf.update(cfg, dimension.key, plain, merge=True, force_add=dimension.always)
    except OmegaConfBaseException as error:
        return f"{dimension.key}={text} is not allowed: {_needed(error)}"
    return None


def _parsed(text: str) -> Any:
    return OverridesParser.create().parse_override(f"key={text}").value()


def _needed(error: OmegaConfBaseException) -> str:
    """Return what is allowed, from a message of OmegaConf."""
    message = str(error).splitlines()[0]
    for pattern, sentence in _NEEDED.items():
        match = re.search(pattern, message)
        if match is not None:
            return sentence.format(**match.groupdict())
    return message


def _refusal(space: Space, dimension: Dimension, value: Value, reason: str, test: Test) -> str:
    is_whole = isinstance(value, float) and test(round(value)) is None
    if isinstance(dimension.distribution, CategoricalDistribution):
        return f"{reason}; " + (f"write {value:g}" if is_whole else "leave it out of the choice")
    if is_whole:
        return _takes_whole_numbers(space, dimension)
    return f"{_typed(space, dimension)}: {reason}; give a range of what is allowed, or a choice"


def whole_number_wanted(space: Space, message: str) -> str | None:
    """Return what to write for a range of floats, if that is what a message complains about.

    Args:
        space: The space.
        message: The refusal of a configuration that lies in it, such as "model.width=32.0 does not
            fit model=mlp: choose a whole number": the 32.0 was never typed.
    """
    for dimension in space.scalars:
        is_named = re.match(rf"{re.escape(dimension.key)}=-?[0-9.e+-]+ ", message)
        is_float = isinstance(dimension.distribution, FloatDistribution)
        if is_named and is_float and "whole number" in message:
            return _takes_whole_numbers(space, dimension)
    return None


def _takes_whole_numbers(space: Space, dimension: Dimension) -> str:
    typed = _typed(space, dimension)
    return f"{typed}: {dimension.key} takes whole numbers; write {_in_whole(dimension)}"


def _typed(space: Space, dimension: Dimension) -> str:
    return next(line for line in space.sweep if line.startswith(f"{dimension.element}="))


def _in_whole(dimension: Dimension) -> str:
    """Return the override of a range with whole numbers only."""
    axis = dimension.distribution
    assert isinstance(axis, FloatDistribution)  # noqa: S101  # for the type checker
    step = axis.step
    if step is not None and all(number.is_integer() for number in (axis.low, axis.high, step)):
        stop = int(axis.high) + 1  # exclusive
        sweep = f"range({int(axis.low)},{stop}{'' if step == 1 else f',{int(step)}'})"
    else:
        low, high = sorted((math.ceil(axis.low), math.floor(axis.high)))
        sweep = f"int(interval({low},{high}))"
    return f"{dimension.element}={f'tag(log,{sweep})' if axis.log else sweep}"


def _check_composition(
    space: Space, composer: Composer, describe: Callable[[BaseException], str]
) -> None:
    """Compose the default options with a value of each other key: the rest that may be wrong."""
    groups = composer.default_groups()
    params = groups | {d.key: d.ends()[0] for d in composer.present(groups)}
    try:
        composer.compose(space.overrides(params))
    except Exception as error:  # also a resolver of the user
        for key in params.keys() - groups.keys():
            try:
                composer.compose(space.overrides({**groups, key: params[key]}))
            except Exception as cause:
                raise ConfigError(f"{key}={params[key]}: {describe(cause)}") from cause
        raise ConfigError(describe(error)) from error
