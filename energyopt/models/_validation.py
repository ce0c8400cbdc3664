"""Checks of the models' arguments, and folding of time steps into tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from energyopt.core.number_checks import is_whole_number
from energyopt.core.protocols import Tokens
from energyopt.errors import ConfigError

_SAMPLE_FORMS = {
    1: "rows of shape (features,)",
    2: "sequences of shape (channels, time)",
    3: "images of shape (channels, height, width)",
}
_MODELS_BY_DIMENSIONS = {
    1: ("mlp",),
    2: ("mlp", "cnn1d", "gru", "transformer"),
    3: ("mlp", "cnn", "resnet18"),
}


def require_int(model: str, option: str, value: object, minimum: int = 1) -> None:
    """Check a whole-number option.

    Raises:
        ConfigError: If `value` is not an int of at least `minimum`.
    """
    if not is_whole_number(value, minimum):
        raise ConfigError(
            f"model.{option}={value} does not fit model={model}: "
            f"choose a whole number of at least {minimum}."
        )


def require_shape(
    model: str, input_shape: Sequence[int], num_classes: int, dimensions: int, minimum: int = 1
) -> tuple[int, ...]:
    """Return the shape of a task's samples, if it has the form that a model needs.

    Args:
        model: Name of the model, for the message.
        input_shape: Shape of one sample.
        num_classes: Number of classes, at least 2.
        dimensions: Dimensions the shape must have.
        minimum: The smallest size of all dimensions but the first.

    Raises:
        ConfigError: If the samples do not fit; names the models that do.
    """
    shape = checked_shape(model, input_shape, num_classes)
    if len(shape) != dimensions:
        raise ConfigError(
            f"model={model} needs {_SAMPLE_FORMS[dimensions]}; "
            f"this task has samples of shape {shape}: choose {fitting_models(shape)}."
        )
    if min(shape[1:], default=minimum) < minimum:
        raise ConfigError(
            f"model={model} needs {_SAMPLE_FORMS[dimensions]} of at least {minimum} a side; "
            f"this task has samples of shape {shape}: choose mlp."
        )
    return shape


def fitting_models(shape: Sequence[int]) -> str:
    """Return the models that take samples of a shape, as in "choose ..."."""
    *first, last = _MODELS_BY_DIMENSIONS.get(len(shape), ("mlp",))
    return " or ".join(filter(None, (", ".join(first), last)))


def checked_shape(
    model: str,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    tokens: bool = False,
    min_classes: int = 2,
) -> tuple[int, ...]:
    """Return a shape, if its sizes are positive and there are at least two classes.

    Args:
        model: Name of the model, for the message.
        input_shape: Shape of one sample.
        num_classes: Number of classes.
        tokens: Whether the model takes whole numbers instead of measurements.
        min_classes: The smallest number of classes; 1 for a model that may be of a regression.

    Raises:
        ConfigError: If a size or the number of classes is not possible, or the samples are
            whole numbers and the model takes measurements.
    """
    require_int(model, "num_classes", num_classes, minimum=min_classes)
    shape = tuple(input_shape)
    if not shape or not all(is_whole_number(size, 1) for size in shape):
        raise ConfigError(
            f"model={model} got samples of shape {shape}: all sizes must be whole numbers of at "
            f"least 1; correct the task's input_shape."
        )
    if isinstance(input_shape, Tokens) and not tokens:
        raise ConfigError(
            f"model={model} needs measurements; this task has {shape[0]} whole numbers a sample, "
            f"such as characters: choose char_transformer."
        )
    return shape


def require_patch(model: str, patch: int, time: int) -> None:
    """Check that a sequence divides into patches.

    Raises:
        ConfigError: If `patch` does not divide `time`.
    """
    require_int(model, "patch", patch)
    if time % patch:
        divisors = [n for n in range(1, time + 1) if time % n == 0]
        raise ConfigError(
            f"model.patch={patch} does not divide the {time} time steps of this task's samples: "
            f"choose one of {', '.join(map(str, divisors))}."
        )


def fold_time(inputs: torch.Tensor, patch: int) -> torch.Tensor:
    """Gather time steps: (batch, channels, time) -> (batch, time / patch, channels * patch)."""
    batch, channels, time = inputs.shape
    tokens = inputs.reshape(batch, channels, time // patch, patch)
    return tokens.transpose(1, 2).flatten(2)
