"""What a sweep is told: the keys of `hydra.sweeper`, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from omegaconf import OmegaConf

from energyopt.config.overrides import override_for
from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.search.sweep_keys import DECLARED, SweepKey, SweepKeys

_DIRECTIONS: Mapping[str, Literal["minimize", "maximize"]] = {
    "minimize": "minimize",
    "maximize": "maximize",
}


@dataclass(frozen=True, slots=True)
class Options(SweepKeys):
    """What a sweep is told, read and checked; the keys are those of `SweepKeys`."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Read the node; unknown keys are refused by Hydra already.

        Raises:
            ConfigError: If a number is none, or a direction is not one.
        """
        known = {field.name for field in fields(cls)}
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in given.items()
            if key in known
        }
        options = cls(**plain)
        if options.study_name is not None:
            options = dataclasses.replace(options, study_name=str(options.study_name))
        for key in DECLARED:
            _check(key, getattr(options, key.name), ours=options.app is not None)
        return options

    @property
    def grid(self) -> bool:
        """Whether all points are trained in order, and none suggested."""
        named = self.sampler.get("_target_") if isinstance(self.sampler, Mapping) else self.sampler
        return bool(named == "grid")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The objectives as another app names them.

        Raises:
            ConfigError: If a direction is unknown, or the names are not one each.
        """
        many = isinstance(self.direction, Sequence) and not isinstance(self.direction, str)
        given = list(self.direction) if many else [self.direction]
        directions = [_DIRECTIONS.get(getattr(d, "name", str(d)).lower()) for d in given]
        if None in directions or not directions:
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction}: choose minimize or maximize, or a list "
                "of them, one an objective"
            )
        numbered = [f"value_{i}" for i in range(len(directions))]
        names = list(self.metric_names or (numbered if len(numbered) > 1 else ["value"]))
        if len(names) != len(directions):
            raise ConfigError(
                f"hydra.sweeper.metric_names={names} needs {len(directions)} names, one a direction"
            )
        return tuple(Metric(n, d) for n, d in zip(names, directions, strict=True) if d is not None)

    def words(self, arguments: Sequence[str]) -> list[str]:
        """The command line's words, and those of `params` that it does not set."""
        given = {word.lstrip("+").partition("=")[0] for word in arguments}
        params = self.params or {}
        unset = {key: v for key, v in params.items() if key.lstrip("+") not in given}
        return [*arguments, *(_word(key, value) for key, value in unset.items())]


def _check(key: SweepKey, value: object, *, ours: bool) -> None:
    """Refuse a value that the key may not hold, and joules where nothing says any.

    Raises:
        ConfigError: Naming the key.
    """
    if key.rule is not None and not key.rule.permits(value):
        or_null = ", or null" if key.rule.optional else ""
        raise ConfigError(f"{key.name}={value}: {key.rule.says} is needed{or_null}")
    if key.needs_joules and value is not None and not ours:
        raise ConfigError(
            f"{key.name}={value}: the trials of another app tell no joules; leave it null, "
            "search_budget_s is a budget there, too"
        )


def _word(key: str, value: Any) -> str:
    """Text is a sweep as people type it; what YAML has read as something else stays that."""
    return f"{key}={value}" if isinstance(value, str) else override_for(key, value)
