"""The options of a sweep: the keys of `hydra.sweeper`, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from omegaconf import OmegaConf

from energyopt.config.overrides import override_for
from energyopt.core.metric import Mode
from energyopt.core.number_checks import is_number
from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.search.sweep_keys import DECLARED, SweepKey, SweepKeys

_DIRECTIONS: Mapping[str, Literal["minimize", "maximize"]] = {
    "minimize": "minimize",
    "maximize": "maximize",
}


@dataclass(frozen=True, slots=True)
class Options(SweepKeys):
    """The options of a sweep, read and checked; the keys are those of `SweepKeys`."""

    @classmethod
    def read(cls, node: Mapping[str, Any]) -> Options:
        """Read the node, of which Hydra has refused unknown keys already.

        Raises:
            ConfigError: If a value is not allowed.
        """
        names = {field.name for field in fields(cls)}
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in node.items()
            if key in names
        }
        options = cls(**plain)
        if options.study_name is not None:
            options = dataclasses.replace(options, study_name=str(options.study_name))
        for key in DECLARED:
            _check(key, getattr(options, key.name))
        _check_goal(options)
        if options.planned_trainings is None and options.reuse is not None:
            options = dataclasses.replace(options, planned_trainings=options.reuse)
        return dataclasses.replace(options, reuse=None)

    @property
    def is_goal_stated(self) -> bool:
        """True if the config states a part of what the jobs of another app report."""
        return any(v is not None for v in (self.monitor, self.mode, self.target, self.epochs))

    @property
    def grid(self) -> bool:
        """True if all points are trained in order and none is suggested."""
        name = self.sampler.get("_target_") if isinstance(self.sampler, Mapping) else self.sampler
        return bool(name == "grid")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The objectives of another app.

        Raises:
            ConfigError: If a direction is unknown, or names and directions differ in number.
        """
        is_list = isinstance(self.direction, Sequence) and not isinstance(self.direction, str)
        values = list(self.direction) if is_list else [self.direction]
        directions = [_DIRECTIONS.get(getattr(d, "name", str(d)).lower()) for d in values]
        if None in directions or not directions:
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction}: choose minimize or maximize, or a list "
                "of them, one an objective"
            )
        default_names = [f"value_{i}" for i in range(len(directions))]
        names = list(self.metric_names or (default_names if len(default_names) > 1 else ["value"]))
        if len(names) != len(directions):
            raise ConfigError(
                f"hydra.sweeper.metric_names={names} needs {len(directions)} names, one a direction"
            )
        return tuple(Metric(n, d) for n, d in zip(names, directions, strict=True) if d is not None)

    def overrides(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line's overrides, and those of `params` that it does not set."""
        set_keys = {override.lstrip("+").partition("=")[0] for override in arguments}
        params = self.params or {}
        unset = {key: v for key, v in params.items() if key.lstrip("+") not in set_keys}
        return [*arguments, *(_sweep_override(key, value) for key, value in unset.items())]


def _check(key: SweepKey, value: object) -> None:
    """Check that a key may hold a value.

    Raises:
        ConfigError: Naming the key.
    """
    if key.rule is not None and not key.rule.permits(value):
        or_null = ", or null" if key.rule.optional else ""
        raise ConfigError(f"{key.name}={value}: {key.rule.says} is needed{or_null}")


def _check_goal(options: Options) -> None:
    """Check the keys that state what the jobs of another app report.

    Raises:
        ConfigError: Naming the key.
    """
    if options.mode not in (None, *get_args(Mode)):
        raise ConfigError(f"hydra.sweeper.mode={options.mode}: choose min or max")
    if options.target is not None and not is_number(options.target):
        raise ConfigError(
            f"hydra.sweeper.target={options.target}: a finite number is needed, or null"
        )
    if options.epochs is not None and not (is_number(options.epochs) and options.epochs > 0):
        raise ConfigError(
            f"hydra.sweeper.epochs={options.epochs}: a number above 0 is needed, or null"
        )


def _sweep_override(key: str, value: Any) -> str:
    """Return text as a sweep in the form people type it; other YAML values keep their type."""
    return f"{key}={value}" if isinstance(value, str) else override_for(key, value)
