"""The metrics that supervised paradigms evaluate, and the losses that belong to them."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch.nn import functional

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import Task
from energyopt.errors import ConfigError

VAL_LOSS = Monitor("val_loss", "min")
PERPLEXITY = Monitor("perplexity", "min")
RMSE = Monitor("rmse", "min")

_OF_CLASSES = (ACCURACY, VAL_LOSS, PERPLEXITY)
_OF_A_REGRESSION = (RMSE, VAL_LOSS)


def is_regression(task: Task) -> bool:
    """Return True if a task's labels are measurements instead of classes."""
    return task.train.labels.is_floating_point()


def check_metric(monitor: Monitor, task: Task, heads: Collection[str]) -> None:
    """Check that the metric of a task can be evaluated.

    Args:
        monitor: The metric.
        task: The data.
        heads: Names of the task's heads, if it has several.

    Raises:
        ConfigError: If it cannot be, or the labels have no shape for it.
    """
    allowed: tuple[Monitor, ...] = _OF_A_REGRESSION if is_regression(task) else _OF_CLASSES
    if heads:
        allowed = (ACCURACY,)
    if monitor not in allowed:
        choices = ", ".join(f"monitor={metric.name} mode={metric.mode}" for metric in allowed)
        raise ConfigError(
            f"monitor={monitor.name} mode={monitor.mode} is not evaluated for this task: choose "
            f"{choices}"
        )
    if is_regression(task):
        _check_measurements(task)


def _check_measurements(task: Task) -> None:
    shape = tuple(task.train.labels.shape)
    if shape[1:] not in ((), (1,)) or task.num_classes != 1:
        raise ConfigError(
            f"the task has measurements of shape {shape} as labels and num_classes="
            f"{task.num_classes}; a regression needs (samples,) or (samples, 1), and num_classes=1"
        )


def mean_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of classes, or the mean squared error of measurements."""
    if labels.is_floating_point():
        return functional.mse_loss(outputs.reshape(labels.shape), labels)
    return functional.cross_entropy(outputs, labels)


def metric_of_loss(monitor: Monitor, loss: float) -> float:
    """Return the metric that follows from the mean loss over a split; not the accuracy."""
    if monitor == RMSE:
        return math.sqrt(loss)
    if monitor == PERPLEXITY:
        return math.exp(loss) if loss < math.log(torch.finfo(torch.float64).max) else math.inf
    return loss
