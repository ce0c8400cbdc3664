"""Heads of a task: several labels of the same samples, their targets and a combined score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from energyopt.core.number_checks import is_number
from energyopt.core.protocols import MultiHeadTask, Split, Task
from energyopt.errors import ConfigError


def heads_of(task: Task) -> Mapping[str, int]:
    """Return the number of classes of each head, in order; empty for a task without heads.

    Raises:
        ConfigError: If labels and classes do not fit the heads.
    """
    if not isinstance(task, MultiHeadTask):
        return {}
    heads = dict(task.heads)
    shape = tuple(task.train.labels.shape)
    if not heads or len(shape) != 2 or shape[1] != len(heads):  # noqa: PLR2004
        raise ConfigError(
            f"the task has the heads {', '.join(heads) or 'none'} and labels of shape {shape}; "
            "(samples, heads) is needed"
        )
    if any("." in name or not name for name in heads):
        raise ConfigError(f"the task's heads are {list(heads)}; names without dots are needed")
    if sum(heads.values()) != task.num_classes:
        raise ConfigError(
            f"the task says num_classes={task.num_classes}, and its heads have {heads}; the sum "
            "of them is needed"
        )
    return heads


def values_by_head(
    key: str, values: Mapping[str, float] | None, heads: Mapping[str, int], default: float
) -> dict[str, float]:
    """Return a number for each head: its configured value, or the default for all.

    Args:
        key: The config key, for the message.
        values: Configured values by head; None for the default.
        heads: The task's heads.
        default: Value of every head if none is configured.

    Raises:
        ConfigError: If the values are not one positive number for each of the task's heads.
    """
    if values is None:
        return dict.fromkeys(heads, default)
    if set(values) != set(heads):
        names = ", ".join(map(str, values)) or "nothing"
        remedy = f"all of the task's heads are needed: {', '.join(heads)}"
        raise ConfigError(f"{key} names {names}; {remedy if heads else 'this task has no heads'}")
    wrong = {name: value for name, value in values.items() if not is_number(value) or value <= 0}
    if wrong:
        raise ConfigError(f"{key}={wrong}: numbers above 0 are needed")
    return {name: float(values[name]) for name in heads}


def targets_by_head(
    values: Mapping[str, float] | None, heads: Mapping[str, int], target: float
) -> dict[str, float]:
    """Return the target of each head.

    Raises:
        ConfigError: If a target is not in (0, 1].
    """
    targets = values_by_head("paradigm.targets", values, heads, target)
    if any(value > 1 for value in targets.values()):
        raise ConfigError(f"paradigm.targets={targets}: accuracies above 0 and at most 1 needed")
    return targets


def score(accuracies: Mapping[str, float], targets: Mapping[str, float], target: float) -> float:
    """Return one accuracy for all heads that is at least `target` iff every head is at its own.

    If all heads have the same target it is the accuracy of the worst head; else `target` plus the
    smallest margin (accuracy minus the head's target), limited to [0, 1].
    """
    if all(head_target == target for head_target in targets.values()):
        return min(accuracies.values())
    margin = min(accuracies[name] - head_target for name, head_target in targets.items())
    value = min(max(target + margin, 0.0), 1.0)
    if margin < 0 and value >= target:  # the margin was lost to rounding
        return math.nextafter(target, 0.0)
    return value


@dataclass(frozen=True)
class HeadTask:
    """One head of a task, as a task with one label: see `Task`."""

    train: Split
    validation: Split
    test: Split
    input_shape: tuple[int, ...]
    num_classes: int


def tasks_by_head(
    task: Task, heads: Mapping[str, int], device: torch.device
) -> dict[str, HeadTask]:
    """Split a task into one task per head; they share its inputs on a device."""
    splits = (task.train, task.validation, task.test)
    inputs = [split.inputs.to(device) for split in splits]

    def select(column: int, num_classes: int) -> HeadTask:
        labels = [split.labels[:, column] for split in splits]
        train, validation, test = map(Split, inputs, labels)
        return HeadTask(train, validation, test, tuple(task.input_shape), num_classes)

    return {name: select(i, num_classes) for i, (name, num_classes) in enumerate(heads.items())}


def split_logits(logits: torch.Tensor, heads: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """Return the logits of each head: its slice of the one linear layer."""
    return torch.split(logits, list(heads.values()), dim=1)
