"""Each check of a task or a model finds what it is for, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from energyopt.core.protocols import Split, Task
from energyopt.models.mlp import MLP
from energyopt.tasks.digits import Digits
from energyopt.testing import (
    check_model,
    check_task,
)
from energyopt.testing import pytest as contracts
from tests.violations import caught

# --- tasks


def digits() -> Any:
    task = Digits(n_train=200, n_validation=60, n_test=60)
    return SimpleNamespace(
        train=task.train,
        validation=task.validation,
        test=task.test,
        input_shape=task.input_shape,
        num_classes=task.num_classes,
    )


def changed(part: str, change: Callable[[Split], Split]) -> Callable[[], Task]:
    def make() -> Any:
        task = digits()
        setattr(task, part, change(getattr(task, part)))
        return task

    return make


def with_attributes(**attributes: Any) -> Callable[[], Any]:
    return lambda: SimpleNamespace(**vars(digits()) | attributes)


def _draws() -> Any:
    torch.rand(1)
    return digits()


def _sorted(split: Split) -> Split:
    order = split.labels.argsort(stable=True)
    return Split(split.inputs[order], split.labels[order])


def _another_each_time() -> Any:
    _another_each_time.made += 1  # type: ignore[attr-defined]
    task = digits()
    shift = _another_each_time.made  # type: ignore[attr-defined]
    task.train = Split(task.train.inputs.roll(shift, 0), task.train.labels.roll(shift, 0))
    return task


_another_each_time.made = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "check", "says"),
    [
        (SimpleNamespace, "is_a_task", "without input_shape and num_classes"),
        (
            with_attributes(input_shape=(64,)),
            "splits_have_the_shapes_and_types_the_protocol_promises",
            "train.inputs of shape (200, 64), got (200, 1, 8, 8)",
        ),
        (
            changed("test", lambda part: replace(part, labels=part.labels.int())),
            "splits_have_the_shapes_and_types_the_protocol_promises",
            "test.labels of torch.int64, got torch.int32",
        ),
        (
            changed("validation", lambda part: replace(part, inputs=part.inputs / 0)),
            "splits_have_the_shapes_and_types_the_protocol_promises",
            "finite numbers in validation.inputs",
        ),
        (
            with_attributes(heads={"digit": 10, "odd": 2}),
            "a_task_of_several_heads_has_a_column_of_labels_each",
            "num_classes to be the 12 classes of all heads, got 10",
        ),
        (
            with_attributes(num_classes=11),
            "every_class_occurs_in_every_split_and_no_other",
            "train.labels to have all classes 0 to 10",
        ),
        (
            changed("train", lambda part: replace(part, inputs=3 * part.inputs)),
            "inputs_are_standardised_with_the_training_statistics_only",
            "deviation of each channel",
        ),
        (
            changed(
                "test",
                lambda part: replace(part, inputs=part.inputs - part.inputs.mean()),
            ),
            "inputs_are_standardised_with_the_training_statistics_only",
            "test.inputs to be standardised with the statistics of train",
        ),
        (
            lambda: SimpleNamespace(**vars(digits()) | {"test": digits().validation}),
            "splits_do_not_overlap",
            "320 different samples in all splits, got 260",
        ),
        (_another_each_time, "building_twice_gives_the_same_data", "train.inputs"),
        (_draws, "building_leaves_the_global_random_state_alone", "torch.Generator"),
        (changed("train", _sorted), "training_samples_are_not_ordered_by_class", "shuffle"),
    ],
)
def test_a_broken_task_is_caught_by_the_check_that_is_for_it(make: Any, check: str, says: str):
    violation = caught(check_task, make)
    assert violation.check == check
    assert says in str(violation)


class TestDigits(contracts.TaskContract):
    @pytest.fixture
    def make(self) -> Callable[[], Task]:
        return lambda: Digits(n_train=200, n_validation=60, n_test=60)


# --- models


class Net(nn.Module):
    """A model that is right, but for what a subclass does."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(input_shape[0], 32)
        self.head = nn.Linear(32, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.relu(self.trunk(inputs)))
        return logits


class OneLess(Net):
    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(input_shape, num_classes - 1)


class Unused(Net):
    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.spare = nn.Linear(2, 2)


class Centred(Net):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs - inputs.mean(dim=0))


class InPlace(Net):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs.relu_())


class Restless(Net):
    built = 0

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        Restless.built += 1
        with torch.no_grad():
            self.head.bias[0] += 0.1 * Restless.built


class Shared(Net):
    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


class Detached(Net):
    """All of it has gradients, but hardly any."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 1e-6 * super().forward(inputs)


@pytest.mark.parametrize(
    ("model", "check", "says"),
    [
        (OneLess, "gives_one_logit_a_class_and_gradients_to_every_parameter", "shape (3, 5)"),
        (Unused, "gives_one_logit_a_class_and_gradients_to_every_parameter", "of spare.weight"),
        (Centred, "scores_each_sample_for_itself", "no statistics of the batch"),
        (InPlace, "leaves_its_inputs_as_they_are", "relu_"),
        (Restless, "same_seed_trains_to_the_same_weights_bit_by_bit", "the same loss for a seed"),
        (Shared, "a_copy_gives_the_same_logits_and_trains_alone", "while a copy trains"),
        (Detached, "learns_a_small_batch_by_heart", "a loss below 0.1 after 100 steps"),
    ],
)
def test_a_broken_model_is_caught_by_the_check_that_is_for_it(
    model: type[nn.Module], check: str, says: str
):
    violation = caught(check_model, model, input_shape=(13,))
    assert violation.check == check
    assert says in str(violation)


class TestMlp(contracts.ModelContract):
    make = MLP
    input_shape = (13,)


def test_checking_a_model_leaves_the_random_generator_alone():
    before = torch.get_rng_state()
    check_model(Net, input_shape=(13,))
    assert torch.equal(torch.get_rng_state(), before)
