"""Checks of tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from energyopt.core.protocols import MultiHeadTask, Split, Task, Tokens
from energyopt.testing._check import (
    Check,
    check,
    check_unless,
    require,
    require_protocols,
    run_checks,
)

if TYPE_CHECKING:
    import torch

_SPLITS = ("train", "validation", "test")
_TOLERANCE = 1e-4  # for a mean or a standard deviation in float32
_MIN_CHANGES = 0.25  # share of neighbouring samples with different labels
_MAX_CLASSES = 12  # in a message


@dataclass(frozen=True)  # no slots: cached_property needs a __dict__
class TaskCase:
    """A task to check; most checks share the first one that `make` returns."""

    make: Callable[[], Task]

    @cached_property
    def task(self) -> Task:
        """The first task."""
        return self.make()

    @property
    def splits(self) -> dict[str, Split]:
        """The task's splits by name."""
        return {name: getattr(self.task, name) for name in _SPLITS}

    @property
    def heads(self) -> dict[str, int]:
        """Number of classes of each head, by name; a task without heads has one of empty name."""
        task = self.task
        return dict(task.heads) if isinstance(task, MultiHeadTask) else {"": task.num_classes}


def _has_tokens(case: TaskCase) -> str | None:
    has_tokens = isinstance(case.task.input_shape, Tokens)
    return "its inputs are whole numbers, no measurements" if has_tokens else None


def _has_no_classes(case: TaskCase) -> str | None:
    return "its labels are measurements" if _is_regression(case) else _has_tokens(case)


def _is_regression(case: TaskCase) -> bool:
    return case.task.train.labels.is_floating_point()


@check
def is_a_task(case: TaskCase) -> None:
    """Check that it has three splits, a shape of samples and a number of classes."""
    require_protocols(case.task, [Task])


@check
def splits_have_the_shapes_and_types_the_protocol_promises(case: TaskCase) -> None:
    """Check that inputs and labels of each split have the promised shapes and types."""
    import torch

    shape = case.task.input_shape
    dtype = torch.int32 if isinstance(shape, Tokens) else torch.float32
    label_dtype = torch.float32 if _is_regression(case) else torch.int64
    for name, split in case.splits.items():
        _require_shape(split.inputs, (len(split.labels), *shape), f"{name}.inputs")
        _require_dtype(split.inputs, dtype, f"{name}.inputs")
        _require_dtype(split.labels, label_dtype, f"{name}.labels")
        require(
            len(split.labels) > 0,
            f"at least one sample in {name}",
            "none",
            "give each split some samples",
        )
        require(
            bool(split.inputs.isfinite().all()),
            f"finite numbers in {name}.inputs",
            "NaN or infinity",
            "replace missing values",
        )


@check
def a_task_of_several_heads_has_a_column_of_labels_each(case: TaskCase) -> None:
    """Check that labels and `num_classes` fit the heads."""
    heads = case.heads
    is_multi_head = isinstance(case.task, MultiHeadTask)
    require(
        case.task.num_classes == sum(heads.values()),
        f"num_classes to be the {sum(heads.values())} classes of all heads",
        case.task.num_classes,
        "add the classes of the heads up",
    )
    for name, split in case.splits.items():
        n_samples = len(split.labels)
        shape = (n_samples, len(heads)) if is_multi_head else (n_samples,)
        _require_shape(split.labels, shape, f"{name}.labels")


@check_unless(_has_no_classes)
def every_class_occurs_in_every_split_and_no_other(case: TaskCase) -> None:
    """Check that each split has samples of all classes, numbered from 0."""
    for name, split in case.splits.items():
        columns = split.labels.reshape(len(split.labels), -1).T
        for labels, (head, n_classes) in zip(columns, case.heads.items(), strict=True):
            classes = sorted(set(labels.tolist()))
            require(
                classes == list(range(n_classes)),
                f"{name}.labels{head and f' of {head}'} to have all classes 0 to {n_classes - 1}",
                _shorten(classes),
                "number classes from 0, and draw splits so that each has all of them",
            )


@check_unless(_has_tokens)
def inputs_are_standardised_with_the_training_statistics_only(case: TaskCase) -> None:
    """Check that each channel has mean 0 and deviation 1 in training, and not in other splits."""
    import torch

    inputs = case.task.train.inputs
    dims = [dim for dim in range(inputs.ndim) if dim != 1]
    deviation, mean = torch.std_mean(inputs, dim=dims, correction=0)
    remedy = "subtract the mean of the training split, and divide by its deviation"
    for name, observed, expected in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
        max_difference = float((observed - expected).abs().max())
        require(
            max_difference <= _TOLERANCE,
            f"the {name} of each channel of train.inputs to be {expected:g}",
            f"a difference of {max_difference:g}",
            remedy,
        )
    for name in ("validation", "test"):
        mean = case.splits[name].inputs.mean(dim=dims)
        require(
            mean.abs().max() > _TOLERANCE,  # standardised by itself, a split has a mean of 0
            f"{name}.inputs to be standardised with the statistics of train",
            "a mean of 0 in each channel",
            remedy,
        )


@check
def splits_do_not_overlap(case: TaskCase) -> None:
    """Check that no sample occurs twice."""
    rows = [row.numpy().tobytes() for split in case.splits.values() for row in split.inputs]
    require(
        len(set(rows)) == len(rows),
        f"{len(rows)} different samples in all splits",
        len(set(rows)),
        "remove duplicates before splitting, or what is trained is scored",
    )


@check
def building_twice_gives_the_same_data(case: TaskCase) -> None:
    """Check that a second task has the same samples in the same order."""
    import torch

    second = case.make()
    for name, split in case.splits.items():
        for part in ("inputs", "labels"):
            require(
                torch.equal(getattr(split, part), getattr(getattr(second, name), part)),
                f"{name}.{part} to be the same each time",
                "others",
                "draw splits from a seed that is an option of the task",
            )


@check
def building_leaves_the_global_random_state_alone(case: TaskCase) -> None:
    """Check that making a task draws nothing from torch's global generator."""
    import torch

    state_before = torch.get_rng_state()
    case.make()
    require(
        torch.equal(torch.get_rng_state(), state_before),
        "torch's random generator to be left as it is",
        "another state of it",
        "draw from a torch.Generator of the task's own",
    )


@check
def training_samples_are_not_ordered_by_class(case: TaskCase) -> None:
    """Check that neighbouring training samples often have different labels."""
    labels = case.task.train.labels
    labels = labels.reshape(len(labels), -1)
    changes = int((labels[1:] != labels[:-1]).any(dim=1).sum())
    require(
        changes > _MIN_CHANGES * len(labels),
        f"another label at more than {_MIN_CHANGES:.0%} of {len(labels)} training samples",
        changes,
        "shuffle them once, with a fixed seed",
    )


TASK_CHECKS: tuple[Check[TaskCase], ...] = (
    is_a_task,
    splits_have_the_shapes_and_types_the_protocol_promises,
    a_task_of_several_heads_has_a_column_of_labels_each,
    every_class_occurs_in_every_split_and_no_other,
    inputs_are_standardised_with_the_training_statistics_only,
    splits_do_not_overlap,
    building_twice_gives_the_same_data,
    building_leaves_the_global_random_state_alone,
    training_samples_are_not_ordered_by_class,
)
"""Checks that every task must pass."""


def check_task(make: Callable[[], Task], *, skip: Collection[str] = ()) -> tuple[str, ...]:
    """Check a task.

    Args:
        make: Returns a task.
        skip: Names of checks to leave out, such as "splits_do_not_overlap" for tables in which
            different samples may look the same.
    """
    return run_checks(TASK_CHECKS, TaskCase(make), skip=skip)


def _require_shape(tensor: torch.Tensor, shape: tuple[int, ...], name: str) -> None:
    require(
        tuple(tensor.shape) == shape,
        f"{name} of shape {shape}",
        tuple(tensor.shape),
        "samples come first, then `input_shape`; labels have a column per head",
    )


def _require_dtype(tensor: torch.Tensor, dtype: torch.dtype, name: str) -> None:
    require(tensor.dtype == dtype, f"{name} of {dtype}", tensor.dtype, f"convert: .to({dtype})")


def _shorten(classes: list[int]) -> str:
    if len(classes) <= _MAX_CLASSES:
        return str(classes)
    return f"{len(classes)} of them: {classes[:_MAX_CLASSES]}..."
