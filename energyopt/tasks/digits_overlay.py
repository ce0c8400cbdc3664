"""Two digits in one image: two tasks that share what they need to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import choose
from energyopt.tasks._splits import Splits, require_int, split, standardised
from energyopt.tasks.digits import read_digits

_SIDE, _DIGIT_SIDE = 12, 8
_HELD_OUT = 225  # of the 1797 digits, for each of validation and test


class DigitsOverlay:
    """12x12 images of two overlapping 8x8 digits, the left one in the top left corner.

    In the form of MultiMNIST (S. Sabour, N. Frosst, G. E. Hinton, "Dynamic Routing Between
    Capsules", arXiv 1710.09829), made from scikit-learn's digits: the right one lies in the bottom
    right corner, and where both are, the darker pixel counts. Training, validation and test pairs
    are drawn from 1347, 225 and 225 digits that they do not share. No pair occurs twice in a part,
    and validation and test do not depend on `n_train`.

    Args:
        n_train: Training pairs.
        n_validation: Validation pairs.
        n_test: Test pairs.
        label: What to tell: the "left" digit, the "right" one, or "both". The inputs are the same.
        split_seed: Seed of which digits make which part.
        pair_seed: Seed of the pairs.

    Attributes:
        train: Inputs of shape (n_train, 1, 12, 12), standardised, and labels.
        validation: The same for `n_validation` pairs.
        test: The same for `n_test` pairs.
        input_shape: (1, 12, 12).
        num_classes: 10, or 20 of "both".
        heads: Of "both" alone: left and right, 10 classes each.

    Raises:
        ConfigError: If scikit-learn's file is missing or an option is not possible.
    """

    input_shape: tuple[int, ...] = (1, _SIDE, _SIDE)
    num_classes: int
    heads: Mapping[str, int]
    train: Split
    validation: Split
    test: Split

    def __init__(
        self,
        *,
        n_train: int = 4000,
        n_validation: int = 1000,
        n_test: int = 1000,
        label: Literal["left", "right", "both"] = "both",
        split_seed: int = 1,
        pair_seed: int = 0,
    ) -> None:
        told = choose(label, {"left": 10, "right": 10})
        require_int("pair_seed", pair_seed, 0)
        images, labels = read_digits()
        sources = split(
            images, labels, n_train=None, n_validation=_HELD_OUT, n_test=_HELD_OUT, seed=split_seed
        )
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        parts = []
        for index, (source, (name, size)) in enumerate(zip(sources, sizes.items(), strict=True)):
            # One stream a part keeps validation and test as they are when n_train changes.
            rng = np.random.default_rng([pair_seed, index])
            pairs = _pairs(name, size, len(source.labels), rng)
            parts.append(Split(_overlaid(source.inputs, pairs), told.of(source.labels[pairs])))
        self.num_classes = told.num_classes
        if told.several:
            self.heads = told.heads
        self.train, self.validation, self.test = standardised(Splits(*parts))


def _pairs(name: str, size: int, digits: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw different pairs of the digits of a part, of shape (size, 2)."""
    require_int(name, size, 1)
    if size > digits**2:
        raise ConfigError(
            f"task.{name}={size} is more than the {digits**2} pairs of the {digits} digits of "
            f"this part: choose fewer."
        )
    drawn = rng.choice(digits**2, size, replace=False)
    return torch.from_numpy(np.stack([drawn // digits, drawn % digits], axis=1))


def _overlaid(digits: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Lay the two digits of each pair into opposite corners.

    Args:
        digits: Images of shape (digits, 1, 8, 8).
        pairs: Numbers of the left and the right digit, of shape (pairs, 2).

    Returns:
        Images of shape (pairs, 1, 12, 12).
    """
    left, right = (torch.zeros(len(pairs), 1, _SIDE, _SIDE) for _ in range(2))
    left[..., :_DIGIT_SIDE, :_DIGIT_SIDE] = digits[pairs[:, 0]]
    right[..., -_DIGIT_SIDE:, -_DIGIT_SIDE:] = digits[pairs[:, 1]]
    return torch.maximum(left, right)
