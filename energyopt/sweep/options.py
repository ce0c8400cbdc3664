"""The options of a sweep: the keys of `hydra.sweeper`, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from energyopt.config.overrides import override_for
from energyopt.core.metric import Mode
from energyopt.core.number_checks import is_number
from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.search.sweep_keys import DECLARED, OWN, SweepKey, SweepKeys
from energyopt.sweep.moved_configs import moved_sampler, params_of, storage_of
from energyopt.utils.text import did_you_mean

_DIRECTIONS: Mapping[str, Literal["minimize", "maximize"]] = {
    "minimize": "minimize",
    "maximize": "maximize",
}
_NOT_OFFERED = ("app", "reuse")  # our own app's, and an old name
_HYDRAS = ("_target_", "_recursive_", "_convert_", "_partial_")


@dataclass(frozen=True, slots=True)
class Options(SweepKeys):
    """The options of a sweep, read and checked; the keys are those of `SweepKeys`."""

    @classmethod
    def read(cls, node: Mapping[str, Any]) -> Options:
        """Read the node of the sweeper.

        Raises:
            ConfigError: If there is no such key, or a value is not allowed.
        """
        names = [field.name for field in fields(cls)]
        _refuse_unknown(node, names)
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in node.items()
            if key in names
        }
        options = _moved(cls(**plain))
        for key in DECLARED:
            _check(key, options)
        _check_goal(options)
        _ = options.metrics  # checks the directions
        return options

    @property
    def is_own_app(self) -> bool:
        """True if the jobs are those of our own app."""
        return self.app == OWN

    def key_name(self, name: str) -> str:
        """Return what a key is called in this app."""
        roots = {key.name: key.root for key in DECLARED if key.root is not None}
        is_root = self.app is not None and name in roots
        return roots[name] if is_root else f"hydra.sweeper.{name}"

    @property
    def failure_limit(self) -> int | None:
        """Number of failed trials that ends a run: a stated rate replaces the default number."""
        is_default = self.max_failures == Options().max_failures
        return None if is_default and self.max_failure_rate is not None else self.max_failures

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
        direction = "minimize" if self.direction is None else self.direction
        is_list = isinstance(direction, Sequence) and not isinstance(direction, str)
        values = list(direction) if is_list else [direction]
        directions = [_DIRECTIONS.get(_enum_name(value)) for value in values]
        if None in directions or not directions:
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction}: choose minimize or maximize, or a list "
                "of them, one an objective"
            )
        default_names = [f"value_{i}" for i in range(len(directions))]
        stated = [self.metric_names] if isinstance(self.metric_names, str) else self.metric_names
        names = list(stated or (default_names if len(default_names) > 1 else ["value"]))
        if len(names) != len(directions):
            raise ConfigError(
                f"hydra.sweeper.metric_names={names} needs {len(directions)} names, one a direction"
            )
        return tuple(Metric(n, d) for n, d in zip(names, directions, strict=True) if d is not None)

    def overrides(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line's overrides, and those of `params` that it does not set."""
        set_keys = {override.lstrip("+").partition("=")[0] for override in arguments}
        params = dict(_flat("", self.params or {}))
        unset = {key: v for key, v in params.items() if key.lstrip("+") not in set_keys}
        return [*arguments, *(_sweep_override(key, value) for key, value in unset.items())]


def _enum_name(value: object) -> str:
    """Return the name of an enum's member, also of one that is text: Direction.maximize."""
    return str(getattr(value, "name", value)).rpartition(".")[2].lower()


def _refuse_unknown(node: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse keys that a misspelling may have made, with the near key.

    Raises:
        ConfigError: Naming the first of them.
    """
    offered = [name for name in names if name not in _NOT_OFFERED]
    for key in map(str, node):
        if key not in names and key not in _HYDRAS:
            hint = did_you_mean(key, offered, "hydra.sweeper.")
            raise ConfigError(f"hydra.sweeper.{key}: energyopt's sweeper has no such key; {hint}")


def _joined(params: Any, search_space: Any) -> dict[str, Any] | None:
    """Return the sweeps of `params` and of the older `search_space`.

    Raises:
        ConfigError: If one is not by key, or both say something about one key.
    """
    for name, value in (("params", params), ("search_space", search_space)):
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"hydra.sweeper.{name}={value}: sweeps by key are needed, or null")
    older = params_of(search_space or {})
    duplicates = sorted(older.keys() & (params or {}).keys())
    if duplicates:
        raise ConfigError(
            f"{duplicates[0]} is swept in hydra.sweeper.params and in hydra.sweeper.search_space; "
            "delete one of the two lines"
        )
    return None if params is None and search_space is None else {**older, **(params or {})}


def _flat(prefix: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all params with dotted keys: those of the command line become nested groups."""
    for name, value in params.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and any(map(_holds_sweep, value.values())):
            yield from _flat(f"{key}.", value)
        else:
            yield key, value


def _holds_sweep(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_sweep, value.values()))
    try:
        return isinstance(value, str) and _parsed(value).is_sweep_override()
    except OverrideParseException:
        return False


def _parsed(text: str) -> Override:
    (override,) = OverridesParser.create().parse_overrides([f"key={text}"])
    return override


def _moved(options: Options) -> Options:
    """Return the options in today's keys.

    Raises:
        ConfigError: If a value cannot be taken.
    """
    name: object = options.study_name
    planned = options.planned_trainings
    if isinstance(name, Mapping | list):
        raise ConfigError(f"{options.key_name('study_name')}={name}: a text is needed, or null")
    return dataclasses.replace(
        options,
        sampler=moved_sampler(options.sampler, options.key_name("sampler")),
        storage=storage_of(options.storage, options.key_name("storage")),
        study_name=None if name is None else str(name),
        params=_joined(options.params, options.search_space),
        search_space=None,
        planned_trainings=options.reuse if planned is None else planned,
        reuse=None,
    )


def _check(key: SweepKey, options: Options) -> None:
    """Check that a key may hold its value.

    Raises:
        ConfigError: Naming the key.
    """
    value = getattr(options, key.name)
    if key.rule is not None and not key.rule.permits(value):
        or_null = ", or null" if key.rule.optional else ""
        name = options.key_name(key.name)
        raise ConfigError(f"{name}={value}: {key.rule.says} is needed{or_null}")


def _check_goal(options: Options) -> None:
    """Check the keys that state what the jobs of another app report, and how many may fail.

    Raises:
        ConfigError: Naming the key.
    """
    if not isinstance(options.monitor, str | None):
        raise ConfigError(
            f"hydra.sweeper.monitor={options.monitor}: the name of a metric is needed, or null"
        )
    if options.mode not in (None, *get_args(Mode)):
        raise ConfigError(f"hydra.sweeper.mode={options.mode}: choose min or max")
    if options.target is not None and not is_number(options.target):
        raise ConfigError(
            f"hydra.sweeper.target={options.target}: a finite number is needed, or null"
        )
    rate = options.max_failure_rate
    if rate is not None and not (is_number(rate) and 0 <= rate <= 1):
        raise ConfigError(
            f"hydra.sweeper.max_failure_rate={rate}: a number from 0 to 1 is needed, or null"
        )
    if options.epochs is not None and not (is_number(options.epochs) and options.epochs > 0):
        raise ConfigError(
            f"hydra.sweeper.epochs={options.epochs}: a number above 0 is needed, or null"
        )


def _sweep_override(key: str, value: Any) -> str:
    """Return text as a sweep in the form people type it; other YAML values keep their type.

    Raises:
        ConfigError: If Hydra cannot read the text.
    """
    if not isinstance(value, str):
        return override_for(key, value)
    try:
        _parsed(value)
    except OverrideParseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"hydra.sweeper.params.{key}: {value} cannot be read: {reason}"
        ) from error
    return f"{key}={value}"
