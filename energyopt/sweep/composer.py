"""Composition of job configs, which shows which axes of a space exist."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import ConfigCompositionException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from energyopt.core.default_setup import DefaultSetup
from energyopt.errors import ConfigError
from energyopt.search.equality import is_alike
from energyopt.search.space import Dimension, Space, Value
from energyopt.sweep.default_values import UNKNOWN, Locate, choice_of, default_of
from energyopt.utils.text import near_word

_ABSENT = object()
_REFUSED = re.compile(r"Could not override '([^']+)'")


class Composer:
    """Composes the configs that a space can lead to.

    Group choices come first: an axis is searched only where its key exists (a conditional
    space). Each choice of groups is composed once.

    Args:
        loader: Hydra's.
        config: The multirun's own config.
        space: The search space.
        locate: Finds the code that a config names, whose signature may state a default.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        config: DictConfig,
        space: Space,
        locate: Locate = get_object,
    ) -> None:
        self._loader = loader
        self._locate = locate
        self._config = config
        self._space = space
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._assumed: dict[str, Value] = {}
        self._guessed: dict[str, Value] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config of a job, its hydra node included."""
        key = tuple(overrides)
        if key not in self._composed:
            try:
                self._composed[key] = self._loader.load_sweep_config(
                    self._config, [*self._space.fixed, *overrides]
                )
            except ConfigCompositionException as error:
                self._check_fixed(str(error))
                raise
        return self._composed[key]

    def _check_fixed(self, message: str) -> None:
        """Check that a fixed override of `hydra.sweeper.params` is not what Hydra complains of.

        It has composed those of the command line already.

        Raises:
            ConfigError: Naming the key.
        """
        refused = _REFUSED.match(message)
        if refused and any(word.startswith(f"{refused[1]}=") for word in self._space.fixed):
            near = near_word(refused[1], _keys(OmegaConf.to_container(self._config)))
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(
                f"hydra.sweeper.params.{refused[1]}: the config has no such key, and +"
                f"{refused[1]} adds it{hint}"
            )

    def default(self) -> DictConfig:
        """Return the config of the default configuration's groups."""
        return self.compose(self._space.overrides(self.default_groups()))

    def default_groups(self) -> dict[str, Value]:
        """Return the option of each swept group in the default configuration."""
        return {d.key: d.nearest(self._default_option(d)) for d in self._space.groups}

    def composed(self) -> tuple[DictConfig, ...]:
        """Return all configs that were composed so far."""
        return tuple(self._composed.values())

    def present(self, groups: Mapping[str, Value]) -> tuple[Dimension, ...]:
        """Return the axes that exist under a choice of groups."""
        scalars = self._space.scalars
        if all(d.always for d in scalars):
            return scalars
        cfg = self.compose(self._space.overrides(groups))
        return tuple(d for d in scalars if d.always or has_key(cfg, d.key))

    def baseline(self, choice: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Return the default configuration, or the nearest to it in the space.

        Args:
            choice: Options of groups that differ from the default.
        """
        params = self.default_groups() | dict(choice or {})
        cfg = self.compose(self._space.overrides(params))
        return params | {d.key: self._in_space(cfg, d)[0] for d in self.present(params)}

    def assume(self, key: str, value: Value) -> None:
        """Set the default of a key whose config leaves it open (null), or does not have it."""
        if default_of(self.default(), key) in (None, UNKNOWN):
            self._assumed[key] = value

    def guess(self, key: str, value: Value) -> None:
        """Set what stands for a default that stays unknown; else it is the nearest to nothing."""
        self._guessed[key] = value

    def default_setup(self, params: Mapping[str, Value]) -> DefaultSetup:
        """Return how a configuration that stands for the default differs from it.

        Args:
            params: The configuration; of an earlier run it may have been made for another space.
        """
        cfg = self.default()
        outside, unknown = {}, []
        for dimension in self._space.groups:
            option = self._default_option(dimension)
            if dimension.key not in params:
                continue
            if option is UNKNOWN:
                unknown.append(dimension.key)
            elif not is_alike(option, params[dimension.key]):
                outside[dimension.key] = _text(option)
        for dimension in self._space.scalars:
            if dimension.key not in params:
                continue
            default = self._default(cfg, dimension)
            value, is_exact = self._in_space(cfg, dimension)
            if default is UNKNOWN:
                unknown.append(dimension.key)
            elif not is_exact or not is_alike(value, params[dimension.key]):
                outside[dimension.key] = _text(default)
        return DefaultSetup(outside, tuple(unknown))

    def _in_space(self, cfg: DictConfig, dimension: Dimension) -> tuple[Value, bool]:
        """Return the value of an axis nearest to its default, and whether it is the default."""
        default = self._default(cfg, dimension)
        if default is UNKNOWN:
            return self._guessed.get(dimension.key, dimension.nearest(None)), False
        if not dimension.texts:
            return dimension.nearest(default), dimension.holds(default)
        match = choice_of(cfg, dimension, default)
        return (dimension.nearest(default), False) if match is None else (match[0], True)

    def _default(self, cfg: DictConfig, dimension: Dimension) -> Any:
        if dimension.key in self._assumed:
            return self._assumed[dimension.key]
        return default_of(cfg, dimension.key, self._locate)

    def check(self) -> None:
        """Check that each axis' key exists in some choice of groups.

        Raises:
            ConfigError: Naming the key.
        """
        missing = {d.key for d in self._space.scalars}
        for values in itertools.product(*(d.grid() for d in self._space.groups)):
            groups = {d.key: v for d, v in zip(self._space.groups, values, strict=True)}
            missing -= {d.key for d in self.present(groups)}
            if not missing:
                return
        if missing:
            key = min(missing)
            near = near_word(key, _keys(OmegaConf.to_container(self.default())))
            hint = f"; did you mean {near}?" if near else ""
            scope = " in any choice" if self._space.groups else ""
            raise ConfigError(
                f"{key} is swept, but no such key exists{scope}; check its spelling (--help lists "
                f"the keys), or add it with +{key}=...{hint}"
            )

    def _default_option(self, dimension: Dimension) -> Any:
        """Return the option of a group that the config chooses, if it does; None for none."""
        return self._config.hydra.runtime.choices.get(dimension.key, UNKNOWN)


def fill_unknown(cfg: DictConfig, dimensions: Iterable[Dimension]) -> None:
    """Replace the defaults of swept keys that cannot be resolved: the sweep sets these keys."""
    for dimension in dimensions:
        try:
            OmegaConf.select(cfg, dimension.key)
        except Exception:  # a resolver is code of the user
            value = dimension.nearest(None)
            OmegaConf.update(cfg, dimension.key, value, force_add=dimension.always)


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a config, but those of Hydra."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key == "hydra":
            continue
        yield key
        if isinstance(value, dict):
            yield from _keys(value, f"{key}.")


def has_key(cfg: DictConfig, key: str) -> bool:
    """Return True if a config has a key, also one without a value that can be resolved now."""
    try:
        return OmegaConf.select(cfg, key, default=_ABSENT, throw_on_missing=True) is not _ABSENT
    except Exception:  # "???" waits for a value; a resolver is code of the user
        return True


def _text(default: Any) -> str:
    """Return a default as people write it in a config."""
    return default if isinstance(default, str) else json.dumps(default, default=str)
