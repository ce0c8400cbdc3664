"""Checks of models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from energyopt.core.protocols import Tokens
from energyopt.testing._check import Check, check, require, run_checks

if TYPE_CHECKING:
    import torch
    from torch import nn

_LEARNING_RATE = 0.01
_MEMORISING_STEPS = 100
_MEMORISED_LOSS = 0.1
# Tolerances for float32, those of torch.testing; a batch may be summed in a different order.
_ABSOLUTE_TOLERANCE = 1e-5
_RELATIVE_TOLERANCE, _RELATIVE_TOLERANCE_BATCH = 1.3e-6, 1e-4


@dataclass(frozen=True, slots=True)
class ModelCase:
    """A model and the form of its samples; see `check_model`."""

    make: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes: int = 5

    def build(self) -> nn.Module:
        """Build a model, with the same weights each time."""
        import torch

        torch.manual_seed(0)
        return self.make(input_shape=self.input_shape, num_classes=self.num_classes)

    def draw(self, count: int) -> torch.Tensor:
        """Draw random samples."""
        import torch

        if isinstance(self.input_shape, Tokens):
            shape = (count, *self.input_shape)
            return torch.randint(self.num_classes, shape, dtype=torch.int32)
        return torch.randn(count, *self.input_shape)

    def labels(self, count: int) -> torch.Tensor:
        """Return labels in which the classes take turns."""
        import torch

        return torch.arange(count) % self.num_classes


@check
def gives_one_logit_a_class_and_gradients_to_every_parameter(case: ModelCase) -> None:
    """Check that it returns a finite logit per class, and that every parameter learns."""
    import torch

    with _isolated_generator():
        model = case.build()
        count = 3
        logits = model(case.draw(count))
        shape = (count, case.num_classes)
        require(
            tuple(logits.shape) == shape,
            f"logits of shape {shape} for {count} samples",
            tuple(logits.shape),
            "return one number per class, without softmax",
        )
        require(bool(logits.isfinite().all()), "finite logits", "NaN or infinity", "check scales")
        # Include the last class, to detect an output that is too short.
        labels = torch.tensor([0, 1, case.num_classes - 1])
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits, labels))
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        require(
            gradient is not None and bool(gradient.isfinite().all()),
            f"a finite gradient of {name}",
            "none" if gradient is None else "NaN or infinity",
            "use the parameter in forward(), or remove it",
        )


@check
def scores_each_sample_for_itself(case: ModelCase) -> None:
    """Check that in evaluation a sample's logits do not depend on the rest of the batch."""
    import torch

    with _isolated_generator(), torch.inference_mode():
        model = case.build().eval()
        inputs = case.draw(4)
        one_by_one = torch.cat([model(row[None]) for row in inputs])
        batch = model(inputs)
    _require_close(
        batch,
        one_by_one,
        _RELATIVE_TOLERANCE_BATCH,
        "the same logits for a sample by itself and in a batch",
        "use no statistics of the batch in eval()",
    )


@check
def leaves_its_inputs_as_they_are(case: ModelCase) -> None:
    """Check that it does not write into its inputs."""
    import torch

    with _isolated_generator():
        inputs = case.draw(3)
        inputs_before = inputs.clone()
        case.build()(inputs)
    require(
        torch.equal(inputs, inputs_before),
        "inputs to be left as they are",
        "other values in them",
        "use no operation in place (relu_, add_) on them",
    )


@check
def same_seed_trains_to_the_same_weights_bit_by_bit(case: ModelCase) -> None:
    """Check that weights and training follow from torch's seed."""
    import torch

    with _isolated_generator():
        inputs, labels = case.draw(32), case.labels(32)
        first, second = case.build(), case.build()
        losses = [_train(model, inputs, labels, steps=5) for model in (first, second)]
    remedy = "draw weights and noise from torch's global generator alone"
    require(losses[0] == losses[1], f"the same loss for a seed ({losses[0]})", losses[1], remedy)
    for (name, tensor), repeated in zip(first.named_parameters(), second.parameters(), strict=True):
        require(
            torch.equal(tensor, repeated),
            f"the same weights for a seed in {name}",
            "other ones",
            remedy,
        )


@check
def a_copy_gives_the_same_logits_and_trains_alone(case: ModelCase) -> None:
    """Check that a deep copy shares nothing with the model."""
    import torch

    with _isolated_generator():
        model = case.build()
        inputs, labels = case.draw(8), case.labels(8)
        twin = copy.deepcopy(model)
        originals = [parameter.clone() for parameter in model.parameters()]
        state = torch.get_rng_state()
        twin_logits = twin(inputs)
        torch.set_rng_state(state)
        _require_close(
            twin_logits,
            model(inputs),
            _RELATIVE_TOLERANCE,
            "the same logits of a copy",
            "keep no state outside the module",
        )
        _train(twin, inputs, labels, steps=1)
    for original, (name, parameter) in zip(originals, model.named_parameters(), strict=True):
        require(
            torch.equal(original, parameter),
            f"{name} to stay as it is while a copy trains",
            "other values",
            "share no tensors between instances",
        )


@check
def learns_a_small_batch_by_heart(case: ModelCase) -> None:
    """Check that 100 steps are enough to learn 16 samples."""
    with _isolated_generator():
        model = case.build()
        loss = _train(model, case.draw(16), case.labels(16), steps=_MEMORISING_STEPS)
    require(
        loss < _MEMORISED_LOSS,
        f"a loss below {_MEMORISED_LOSS} after {_MEMORISING_STEPS} steps of Adam on 16 samples",
        f"{loss:.3g}",
        "check that gradients reach every layer, or leave this check out for a model that is "
        "meant to be weak",
    )


MODEL_CHECKS: tuple[Check[ModelCase], ...] = (
    gives_one_logit_a_class_and_gradients_to_every_parameter,
    scores_each_sample_for_itself,
    leaves_its_inputs_as_they_are,
    same_seed_trains_to_the_same_weights_bit_by_bit,
    a_copy_gives_the_same_logits_and_trains_alone,
    learns_a_small_batch_by_heart,
)
"""Checks that every model must pass."""


def check_model(
    make: Callable[..., nn.Module],
    *,
    input_shape: tuple[int, ...],
    num_classes: int = 5,
    skip: Collection[str] = (),
) -> tuple[str, ...]:
    """Check a model.

    Args:
        make: Returns a model with fresh weights from torch's global generator; called with
            `input_shape` and `num_classes` by keyword.
        input_shape: Shape of one sample; `Tokens` for whole numbers below `num_classes`.
        num_classes: Number of classes.
        skip: Names of checks to leave out.
    """
    return run_checks(MODEL_CHECKS, ModelCase(make, input_shape, num_classes), skip=skip)


@contextmanager
def _isolated_generator() -> Iterator[None]:
    """Seed the CPU's global generator, and restore its state afterwards."""
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        yield


def _train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    import torch

    torch.manual_seed(2)  # for dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        torch.autograd.backward(loss)
        optimizer.step()
    return float(loss.detach())


def _require_close(
    observed: torch.Tensor, expected: torch.Tensor, relative: float, description: str, remedy: str
) -> None:
    difference = (observed - expected).abs().detach()
    require(
        observed.shape == expected.shape
        and bool((difference <= _ABSOLUTE_TOLERANCE + relative * expected.abs()).all()),
        description,
        f"a difference of {float(difference.max()):.3g}",
        remedy,
    )
