"""Compose configs of jobs, and learn from them which axes of a space exist."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from energyopt.errors import ConfigError
from energyopt.search.space import Dimension, Space, Value

_ABSENT = object()


class Composer:
    """Composes the configs that a space can lead to.

    Group choices come first: an axis is searched only where its key exists (a conditional
    space). Each choice of groups is composed once.

    Args:
        loader: Hydra's.
        config: The multirun's own config.
        space: What is searched.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig, space: Space) -> None:
        self._loader = loader
        self._config = config
        self._space = space
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._assumed: dict[str, Value] = {}

    def compose(self, words: Sequence[str]) -> DictConfig:
        """The config of a job, its hydra node included."""
        key = tuple(words)
        if key not in self._composed:
            self._composed[key] = self._loader.load_sweep_config(
                self._config, [*self._space.fixed, *words]
            )
        return self._composed[key]

    def default(self) -> DictConfig:
        """The config of the default setup's groups, where they may be chosen."""
        return self.compose(self._space.words(self._default_groups()))

    def present(self, groups: Mapping[str, Value]) -> tuple[Dimension, ...]:
        """The axes that exist under a choice of groups."""
        scalars = self._space.scalars
        if all(d.always for d in scalars):
            return scalars
        cfg = self.compose(self._space.words(groups))
        return tuple(d for d in scalars if d.always or _exists(cfg, d.key))

    def baseline(self, choice: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """The default setup, clipped into the space.

        Args:
            choice: Groups that take another option.
        """
        params = self._default_groups() | dict(choice or {})
        cfg = self.compose(self._space.words(params))
        return params | {
            d.key: d.nearest(self._assumed.get(d.key, OmegaConf.select(cfg, d.key)))
            for d in self.present(params)
        }

    def assume(self, key: str, value: Value) -> None:
        """Say what the default setup has where its config leaves it open (null)."""
        if OmegaConf.select(self.default(), key) is None:
            self._assumed[key] = value

    def moved(self, params: Mapping[str, Value]) -> list[str]:
        """The words of the default setup that lay outside the space."""
        cfg = self.default()
        return [
            f"{d.key}={OmegaConf.select(cfg, d.key)}"
            for d in self._space.scalars
            if d.key in params and OmegaConf.select(cfg, d.key) not in (None, params[d.key])
        ]

    def check(self) -> None:
        """Refuse an axis whose key exists in no choice.

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
            where = " in any choice" if self._space.groups else ""
            raise ConfigError(
                f"{key} is swept, but no such key exists{where}; check its spelling (--help lists "
                f"the keys), or add it with +{key}=..."
            )

    def _default_groups(self) -> dict[str, Value]:
        choices = self._config.hydra.runtime.choices
        return {d.key: d.nearest(choices.get(d.key)) for d in self._space.groups}


def _exists(cfg: DictConfig, key: str) -> bool:
    try:
        return OmegaConf.select(cfg, key, default=_ABSENT, throw_on_missing=True) is not _ABSENT
    except MissingMandatoryValue:  # "???" waits for a value
        return True
