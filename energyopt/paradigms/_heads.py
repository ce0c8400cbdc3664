"""Several questions about the same samples: heads, their targets, and one number for all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from energyopt.core.protocols import MultiHeadTask, Split, Task
from energyopt.errors import ConfigError


def heads_of(task: Task) -> Mapping[str, int]:
    """Classes of each head of a task, in order; none for a task that asks one question.

    Raises:
        ConfigError: If labels and classes do not fit its heads.
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


def by_head(
    key: str, given: Mapping[str, float] | None, heads: Mapping[str, int], default: float
) -> dict[str, float]:
    """A number for each head: what is given, or the same for all.

    Args:
        key: The config key, for the message.
        given: By head; None for the default.
        heads: The task's.
        default: What each has if none is given.

    Raises:
        ConfigError: If there are others than the task's heads.
    """
    if given is None:
        return dict.fromkeys(heads, default)
    if set(given) != set(heads):
        named = ", ".join(map(str, given)) or "nothing"
        there = f"all of the task's heads are needed: {', '.join(heads)}"
        raise ConfigError(f"{key} names {named}; {there if heads else 'this task has no heads'}")
    wrong = {name: value for name, value in given.items() if not _is_positive(value)}
    if wrong:
        raise ConfigError(f"{key}={wrong}: numbers above 0 are needed")
    return {name: float(given[name]) for name in heads}


def targets_by_head(
    given: Mapping[str, float] | None, heads: Mapping[str, int], target: float
) -> dict[str, float]:
    """The target of each head, in [0, 1].

    Raises:
        ConfigError: If one is none.
    """
    targets = by_head("paradigm.targets", given, heads, target)
    if any(value > 1 for value in targets.values()):
        raise ConfigError(f"paradigm.targets={targets}: accuracies above 0 and at most 1 needed")
    return targets


def score(accuracies: Mapping[str, float], targets: Mapping[str, float], target: float) -> float:
    """One accuracy for all heads: at or above the target exactly where each is at its own.

    Where all have the same target it is that of the worst head; else the target plus the
    smallest margin (accuracy less its own target), in [0, 1].
    """
    if all(own == target for own in targets.values()):
        return min(accuracies.values())
    margins = [accuracies[name] - own for name, own in targets.items()]
    value = min(max(target + min(margins), 0.0), 1.0)
    if min(margins) < 0 and value >= target:  # a margin too small for the sum of two floats
        return math.nextafter(target, 0.0)
    return value


@dataclass(frozen=True)
class OneHead:
    """One head of a task, as a task of its own: see `Task`."""

    train: Split
    validation: Split
    test: Split
    input_shape: tuple[int, ...]
    num_classes: int


def one_by_one(task: Task, heads: Mapping[str, int], device: torch.device) -> dict[str, OneHead]:
    """A task's heads as tasks, which share its inputs on a device."""
    inputs = [split.inputs.to(device) for split in (task.train, task.validation, task.test)]

    def own(at: int, classes: int) -> OneHead:
        labels = [split.labels[:, at] for split in (task.train, task.validation, task.test)]
        train, validation, test = map(Split, inputs, labels)
        return OneHead(train, validation, test, tuple(task.input_shape), classes)

    return {name: own(at, classes) for at, (name, classes) in enumerate(heads.items())}


def parts(logits: torch.Tensor, heads: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """The logits of each head: its slice of the one linear layer."""
    return torch.split(logits, list(heads.values()), dim=1)


def _is_positive(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]
