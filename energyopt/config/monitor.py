"""The metric of a config: of its root keys, its paradigm or its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.errors import ConfigError


def configured_monitor(cfg: DictConfig) -> Monitor | None:
    """Return the metric that the root keys state; None where they leave it to task or paradigm.

    Raises:
        ConfigError: If they state only a direction, or a name without one.
    """
    return Monitor.stated(cfg.get("monitor"), cfg.get("mode"))


def monitor_of(cfg: DictConfig, find: Callable[[str], Any]) -> Monitor:
    """Return the metric of a config, as its task, its paradigm or its root keys state it.

    Without any statement it is the accuracy.

    Args:
        cfg: The config of a job.
        find: Returns the class that a `_target_` names.

    Raises:
        ConfigError: If the statements differ, or the target is no value of the metric.
    """
    configured = configured_monitor(cfg)
    stated = _stated_monitor("task", cfg.task, find)
    stated = stated or _stated_monitor("paradigm", cfg.paradigm, find)
    if stated and configured and stated != configured:
        raise ConfigError(
            f"monitor={configured.name} mode={configured.mode} is not what this task and paradigm "
            f"evaluate: leave both keys null for monitor={stated.name} mode={stated.mode}, or "
            "choose others"
        )
    monitor = stated or configured or ACCURACY
    monitor.check_target(cfg.target)
    return monitor


def _stated_monitor(group: str, node: Any, find: Callable[[str], Any]) -> Monitor | None:
    """Return the metric that the class of a node states; see `SupportsMonitor`."""
    target = node.get("_target_") if OmegaConf.is_dict(node) else None
    stated = None if target is None else getattr(find(target), "monitor", None)
    if stated is None or isinstance(stated, Monitor):
        return stated
    raise ConfigError(
        f"{group}._target_={target} has monitor={stated!r}; an attribute of the class is needed, "
        "such as monitor = energyopt.Monitor('val_loss', 'min')"
    )
