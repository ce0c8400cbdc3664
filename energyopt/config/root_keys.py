"""The root keys that users set: their allowed values, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import get_args

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from energyopt.config.monitor import configured_monitor
from energyopt.core.key_rule import COUNT, KeyRule, above_zero, at_least
from energyopt.core.metric import Mode
from energyopt.core.number_checks import is_number
from energyopt.core.report_settings import ReportSettings
from energyopt.errors import ConfigError
from energyopt.search.sweep_keys import ROOT_KEYS


def _is_metric_name(text: str) -> bool:
    """Return whether a text fits into a column's heading: printable, on one line, not too long."""
    return bool(text.strip()) and text.isprintable() and len(text) <= _MAX_NAME


_MAX_NAME = 60  # characters
_REPORT_KEYS = {field.name for field in fields(ReportSettings)} - {"reuse"}
_SECONDS = above_zero("a number of seconds").or_null()
_RULES: Mapping[str, KeyRule] = {
    "lr": above_zero("a number"),
    "batch_size": COUNT,
    "epochs": above_zero("a number"),
    "target": KeyRule((int, float), is_number, "a finite number"),
    "monitor": KeyRule(
        (str,), _is_metric_name, "the name of a metric, such as val_loss,"
    ).or_null(),
    "mode": KeyRule((str,), lambda mode: mode in get_args(Mode), "min or max").or_null(),
    "seed": KeyRule((int,), lambda v: 0 <= v < 2**63, "a whole number of at least 0"),
    "num_threads": COUNT,
    "eval_every": COUNT.or_null(),
    "max_samples": COUNT.or_null(),
    "patience": COUNT.or_null(),
    "inference_s": _SECONDS,
    "test_at_end": KeyRule((bool,), lambda _: True, "true or false"),
    "knowledge": KeyRule((str,), bool, "a folder"),
    "trial_timeout_s": _SECONDS,
    # The keys of the search are declared with the sweeper's.
    **{name: key.rule for name, key in ROOT_KEYS.items() if key.rule is not None},
    "report": KeyRule(
        (DictConfig,),
        lambda node: node.keys() <= _REPORT_KEYS,
        f"a group of the keys {', '.join(sorted(_REPORT_KEYS))}",
        optional=True,
    ),
    "report.pue": at_least(1).or_null(),
    "report.carbon_g_per_kwh": at_least(0).or_null(),
    "report.price_per_kwh": at_least(0).or_null(),
    "report.currency": KeyRule((str,), bool, "a word, such as EUR,", optional=True),
    "trusted_targets": KeyRule(
        (ListConfig,),
        lambda names: all(isinstance(name, str) for name in names),
        "a list of packages, such as [timm],",
    ),
}


def refusal(key: str, value: object) -> str | None:
    """Return why a key may not have a value, as a sentence; None if it may, or has no rule."""
    rule = _RULES.get(key)
    if rule is None or rule.permits(value):
        return None
    or_null = " or null" if rule.optional else ""
    return f"{key}={value} is not allowed: {rule.says}{or_null} is needed"


def check_roots(cfg: DictConfig) -> None:
    """Check the types and ranges of the root keys, without importing torch.

    The range of the target depends on the metric, which a task or a paradigm may state: it is
    checked here where the root keys state it, else by `TrialFactory.monitor`.

    Raises:
        ConfigError: Naming the key, its value, and what is allowed.
    """
    for key in _RULES:
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
        reason = refusal(key, value)
        if reason is not None:
            raise ConfigError(reason)
    monitor = configured_monitor(cfg)
    if monitor is not None:
        monitor.check_target(cfg.target)
