"""Optuna's pruner for the jobs of another app that report, made from `hydra.sweeper.pruner`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction
from omegaconf import DictConfig
from optuna.pruners import BasePruner

from energyopt.config.instantiate import make_sampler
from energyopt.errors import ConfigError
from energyopt.search.pruner_names import PRUNERS, pruner_name
from energyopt.search.quiet import quiet_optuna
from energyopt.search.sampler_names import sampler_name
from energyopt.sweep.group_options import stopping_options
from energyopt.sweep.options import Options
from energyopt.sweep.reporting_code import may_report
from energyopt.utils.text import near_word

_KEY = "hydra.sweeper.pruner"
_UNREACHABLE = ("RayAWSLauncher", "RQLauncher")  # their workers have folders of their own


def refuse_pruner(options: Options) -> None:
    """Check that our own app is given no pruner: its trainings have stopping rules.

    Raises:
        ConfigError: If it is.
    """
    if options.pruner is not None:
        raise ConfigError(
            f"{_KEY}={_described(options.pruner)} is for other Hydra apps; energyopt's own "
            "trainings end early by stopping=..., such as stopping=dominance: leave it null"
        )


def make_pruner(
    options: Options, config: DictConfig, launcher: Launcher, function: TaskFunction
) -> BasePruner | None:
    """Return the configured pruner; None without one.

    Args:
        options: Options of the sweep.
        config: The multirun's own config.
        launcher: What runs the jobs.
        function: The function that a job runs.

    Raises:
        ConfigError: If it cannot be made, or cannot work in this study.
    """
    if options.pruner is None:
        return None
    node = _node(options.pruner)
    _check_objectives(options, node)
    _check_pauses(options, node)
    name = type(launcher).__name__
    if name in _UNREACHABLE:
        raise ConfigError(
            f"{_KEY}={pruner_name(node)}: jobs of {name} cannot reach the study, because they do "
            "not share its folder; leave it null, or choose another hydra/launcher"
        )
    if options.monitor is None and not may_report(function, config):
        raise ConfigError(
            f"{_KEY}={pruner_name(node)} judges what jobs report by an energyopt.Run, and no code "
            "of this app names energyopt; make a Run in the job, or leave the key null. If code "
            "elsewhere makes one, state hydra.sweeper.monitor, mode, target and epochs"
        )
    _check_packages(node)
    with quiet_optuna():
        pruner = make_sampler(node, {}, config, _KEY)
    if not isinstance(pruner, BasePruner):
        raise ConfigError(
            f"{_KEY}._target_={node['_target_']} is not a pruner: a subclass of "
            "optuna.pruners.BasePruner is needed"
        )
    return pruner


def _node(spec: object) -> dict[str, Any]:
    """Return the config node of a pruner given by a short name or as a node itself."""
    if isinstance(spec, str) and spec in PRUNERS:
        return dict(PRUNERS[spec])
    if isinstance(spec, Mapping) and isinstance(spec.get("_target_"), str):
        return {str(key): value for key, value in spec.items()}
    if isinstance(spec, Mapping):
        raise ConfigError(
            f"{_KEY} has {', '.join(map(str, spec))}, but no _target_: choose "
            "hydra/sweeper/pruner=NAME as well, or name its class"
        )
    near = near_word(str(spec), PRUNERS)
    hint = f"did you mean {near}? " if near else ""
    raise ConfigError(
        f"{_KEY}={spec} is not known; {hint}choose {', '.join(PRUNERS)}, or give your own as "
        f"'{_KEY}={{_target_: my_code.MyPruner}}'"
    )


def _described(spec: object) -> str:
    return pruner_name(spec) if isinstance(spec, str | Mapping) else str(spec)


def _check_objectives(options: Options, node: Mapping[str, Any]) -> None:
    if len(options.metrics) > 1:
        directions = ", ".join(metric.direction for metric in options.metrics)
        raise ConfigError(
            f"{_KEY}={pruner_name(node)} and hydra.sweeper.direction=[{directions}]: Optuna's "
            "pruners need one objective; use hydra.sweeper.stopping=..., such as dominance"
        )


def _check_pauses(options: Options, node: Mapping[str, Any]) -> None:
    """Check that nothing else decides when a trial ends, and then resumes it."""
    name = pruner_name(node)
    if sampler_name(options.sampler) == "joule":
        raise ConfigError(
            f"{_KEY}={name} and hydra/sweeper/sampler=joule, which pauses and resumes trials "
            "itself to compare two objectives: choose hydra/sweeper/sampler=tpe, or leave the "
            "pruner null"
        )
    if stopping_options(options.stopping)["schedule"] not in ("auto", None):
        raise ConfigError(
            f"{_KEY}={name} and hydra.sweeper.stopping={options.stopping}, which pauses and "
            "resumes trials: choose one of them (successive_halving and hyperband are pruners, too)"
        )


def _check_packages(node: Mapping[str, Any]) -> None:
    if pruner_name(node) == "wilcoxon" and importlib.util.find_spec("scipy") is None:
        raise ConfigError(f"{_KEY}=wilcoxon needs the package scipy: install it")
