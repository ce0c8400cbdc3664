"""The keys of `hydra.sweeper`, those of hydra-optuna-sweeper among them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from omegaconf import OmegaConf

from energyopt.config.overrides import override_for
from energyopt.core.trial_result import Metric
from energyopt.errors import ConfigError

_DIRECTIONS: Mapping[str, Literal["minimize", "maximize"]] = {
    "minimize": "minimize",
    "maximize": "maximize",
}

_BUDGETS = {
    "search_budget_j": "an energy",
    "search_budget_s": "a time",
    "reuse": "a number of trainings",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a sweep is told.

    Attributes:
        app: "energyopt" in our own app; None in any other.
        sampler: A short name, or a node with a `_target_`.
        direction: "minimize" or "maximize", or a list of them, one an objective.
        metric_names: Names of the objectives; None numbers them.
        storage: A file or a SQLAlchemy URL.
        study_name: The study's name; None makes one.
        n_trials: The study's total.
        n_jobs: Trials at a time.
        max_failures: Failed trials that end the run; None never.
        max_failure_rate: Share of n_trials that may fail; None any.
        heartbeat_s: Time between signs of life, in s; after ten missed ones other hosts take a
            run for dead.
        storage_wait_s: How long a storage that does not answer is tried again, in s.
        search_budget_j: Energy of all trials after which none begins, in J; None for any.
        search_budget_s: The same for the time of all runs, in s.
        reuse: How many trainings will use what is found; None asks no trial to save its cost.
        params: Sweeps from the config, by key; the command line has precedence.
        custom_search_space: A function of (config, trial) that suggests more, or its path.
    """

    app: str | None = None
    sampler: Any = "tpe"
    direction: Any = "minimize"
    metric_names: Sequence[str] | None = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int = 20
    n_jobs: int = 1
    max_failures: int | None = None
    max_failure_rate: float | None = None
    heartbeat_s: float = 60.0
    storage_wait_s: float = 300.0
    search_budget_j: float | None = None
    search_budget_s: float | None = None
    reuse: float | None = None
    params: Mapping[str, Any] | None = None
    custom_search_space: Any = None

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
        for key in ("n_trials", "n_jobs"):
            value = getattr(options, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{key}={value}: a whole number of at least 1 is needed")
        if not _is_number(options.heartbeat_s) or options.heartbeat_s <= 0:
            raise ConfigError(f"heartbeat_s={options.heartbeat_s}: a time above 0 s is needed")
        if not _is_number(options.storage_wait_s) or options.storage_wait_s < 0:
            raise ConfigError(
                f"storage_wait_s={options.storage_wait_s}: a time of at least 0 s is needed"
            )
        _check_budget(options)
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


def _check_budget(options: Options) -> None:
    """Refuse budgets that are none, and joules where nothing says any.

    Raises:
        ConfigError: Naming the key.
    """
    for key, what in _BUDGETS.items():
        value = getattr(options, key)
        if value is None:
            continue
        if not _is_number(value) or value <= 0:
            raise ConfigError(f"{key}={value}: {what} above 0 is needed, or null")
        if options.app is None and key != "search_budget_s":
            raise ConfigError(
                f"{key}={value}: the trials of another app tell no joules; leave it null, "
                "search_budget_s is a budget there, too"
            )


def _is_number(value: object) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)  # type: ignore[arg-type]


def _word(key: str, value: Any) -> str:
    """Text is a sweep as people type it; what YAML has read as something else stays that."""
    return f"{key}={value}" if isinstance(value, str) else override_for(key, value)
