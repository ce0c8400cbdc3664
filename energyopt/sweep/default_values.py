"""The user's defaults: what a config, or else a signature, gives to a key that is searched."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, SCMode
from omegaconf.errors import OmegaConfBaseException

from energyopt.search.equality import matching, number_in, plain
from energyopt.search.space import Dimension, Value

Locate = Callable[[str], Any]
"""Returns the class or function of a `_target_`."""

UNKNOWN = object()
"""The default of a key that nothing states, or whose interpolation cannot be resolved."""

_ABSENT = object()


def default_of(cfg: DictConfig, key: str, locate: Locate = get_object) -> Any:
    """Return the default of a key as plain data; `UNKNOWN` if nothing states it.

    Args:
        cfg: The config of the default configuration.
        key: The key.
        locate: Finds the code that a config names: a key that the config does not have may be a
            parameter of it, with a default of its own.
    """
    try:
        value = OmegaConf.select(cfg, key, default=_ABSENT, throw_on_missing=True)
        if value is _ABSENT:
            return _in_code(cfg, key, locate)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(
                value, resolve=True, enum_to_str=True, structured_config_mode=SCMode.DICT
            )
        return plain(value)
    # A resolver of the user's may raise anything, and so may the import of their module.
    except (Exception, SystemExit):
        return UNKNOWN


def _in_code(cfg: DictConfig, key: str, locate: Locate) -> Any:
    """Return the default of the parameter of a `_target_` that a key below it sets."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else None
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if not isinstance(target, str):
        return UNKNOWN
    parameter = inspect.signature(locate(target)).parameters.get(name)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return UNKNOWN
    return plain(parameter.default)


def choice_of(cfg: DictConfig, dimension: Dimension, default: Any) -> tuple[Value] | None:
    """Return the choice that means the default, in a tuple; None if none does.

    A choice means what the key holds once it is set: a list, a member of an enumeration, the text
    of a number in a typed field, a dictionary merged with what there is.

    Args:
        cfg: The config of the default configuration.
        dimension: The axis.
        default: From `default_of`.
    """
    choices = list(dimension.texts)
    if number_in(default) is not None and all(number_in(choice) is not None for choice in choices):
        return matching(default, ((choice, choice) for choice in choices))
    typed = ((choice, _parsed(dimension, choice)) for choice in choices)
    match = matching(default, ((choice, value) for choice, value in typed))
    return match or matching(default, _as_set(cfg, dimension))


def _parsed(dimension: Dimension, choice: Value) -> Any:
    """Return what the override of a choice holds, as plain data."""
    (override,) = OverridesParser.create().parse_overrides([dimension.override(choice)])
    return plain(override.value())


def _as_set(cfg: DictConfig, dimension: Dimension) -> Iterator[tuple[Value, Any]]:
    """Yield each choice with what the key holds after its override, as Hydra applies it."""
    for choice in dimension.texts:
        (override,) = OverridesParser.create().parse_overrides([dimension.override(choice)])
        changed = cfg.copy()
        OmegaConf.set_readonly(changed, value=False)
        OmegaConf.set_struct(changed, value=False)
        try:
            OmegaConf.update(changed, dimension.key, override.value(), merge=True)
        except OmegaConfBaseException:  # it is refused where the space is checked
            continue
        value = default_of(changed, dimension.key)
        if value is not UNKNOWN:
            yield choice, value
