"""The root keys that people set: what each may hold, checked before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from energyopt.core.report_settings import Plans
from energyopt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a root key may hold."""

    types: tuple[type, ...]
    allowed: Callable[[Any], bool]
    says: str
    optional: bool = False


_NUMBER = (int, float)
_OF_REPORT = {each.name for each in fields(Plans)} - {"reuse"}
_RULES: Mapping[str, _Rule] = {
    "lr": _Rule(_NUMBER, lambda v: 0 < v < float("inf"), "a number above 0"),
    "batch_size": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1"),
    "epochs": _Rule(_NUMBER, lambda v: 0 < v < float("inf"), "a number above 0"),
    "target": _Rule(_NUMBER, lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
    "seed": _Rule((int,), lambda v: 0 <= v < 2**63, "a whole number of at least 0"),
    "num_threads": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1"),
    "eval_every": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1", optional=True),
    "max_samples": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1", optional=True),
    "patience": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1", optional=True),
    "inference_s": _Rule(
        _NUMBER, lambda v: 0 < v < float("inf"), "a number of seconds above 0", optional=True
    ),
    "knowledge": _Rule((str,), bool, "a folder"),
    "n_trials": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1"),
    "n_jobs": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1"),
    "max_failures": _Rule((int,), lambda v: v >= 1, "a whole number of at least 1", optional=True),
    "trial_timeout_s": _Rule(
        _NUMBER, lambda v: 0 < v < float("inf"), "a number of seconds above 0", optional=True
    ),
    "search_budget_j": _Rule(
        _NUMBER, lambda v: 0 < v < float("inf"), "a number of joules above 0", optional=True
    ),
    "search_budget_s": _Rule(
        _NUMBER, lambda v: 0 < v < float("inf"), "a number of seconds above 0", optional=True
    ),
    "reuse": _Rule(
        _NUMBER, lambda v: 0 < v < float("inf"), "a number of trainings above 0", optional=True
    ),
    "report": _Rule(
        (DictConfig,),
        lambda node: node.keys() <= _OF_REPORT,
        f"a group of the keys {', '.join(sorted(_OF_REPORT))}",
        optional=True,
    ),
    "report.pue": _Rule(
        _NUMBER, lambda v: 1 <= v < float("inf"), "a number of at least 1", optional=True
    ),
    "report.carbon_g_per_kwh": _Rule(
        _NUMBER, lambda v: 0 <= v < float("inf"), "a number of at least 0", optional=True
    ),
    "report.price_per_kwh": _Rule(
        _NUMBER, lambda v: 0 <= v < float("inf"), "a number of at least 0", optional=True
    ),
    "report.currency": _Rule((str,), bool, "a word, such as EUR,", optional=True),
    "trusted_targets": _Rule(
        (ListConfig,),
        lambda names: all(isinstance(name, str) for name in names),
        "a list of packages, such as [timm],",
    ),
}


def check_roots(cfg: DictConfig) -> None:
    """Check the types and ranges of the root keys, without importing torch.

    Raises:
        ConfigError: Naming the key, its value, and what is allowed.
    """
    for key, rule in _RULES.items():
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
        if value is None and rule.optional:
            continue
        wrong_type = isinstance(value, bool) or not isinstance(value, rule.types)
        if wrong_type or not rule.allowed(value):
            or_null = " or null" if rule.optional else ""
            raise ConfigError(f"{key}={value} is not allowed: {rule.says}{or_null} is needed")
