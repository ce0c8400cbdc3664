"""Two overlapping digits in one image: two tasks that profit from the same features."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import select_labels
from energyopt.tasks._splits import DataSet, Splits, check_int, split, standardised
from energyopt.tasks.digits import read_digits

_SIDE, _DIGIT_SIDE = 12, 8
_HELD_OUT = 225  # of the 1797 digits, for each of validation and test


class DigitsOverlay(DataSet):
    """12x12 images of two overlapping 8x8 digits, the left one in the top left corner.

    In the form of MultiMNIST (S. Sabour, N. Frosst, G. E. Hinton, "Dynamic Routing Between
    Capsules", arXiv 1710.09829), made from scikit-learn's digits: the right digit lies in the
    bottom right corner, and where both overlap, the darker pixel is taken. Training, validation and
    test pairs are drawn from disjoint sets of 1347, 225 and 225 digits. No pair occurs twice in a
    part, and validation and test do not depend on `n_train`.

    Args:
        n_train: Training pairs.
        n_validation: Validation pairs.
        n_test: Test pairs.
        label: Label to classify: the "left" digit, the "right" one, or "both". The inputs are the
            same.
        split_seed: Seed of the split of the digits.
        pair_seed: Seed of the pairs.
    """

    input_shape: tuple[int, ...] = (1, _SIDE, _SIDE)

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
        heads = select_labels(label, {"left": 10, "right": 10})
        check_int("pair_seed", pair_seed, 0)
        images, labels = read_digits()
        sources = split(
            images, labels, n_train=None, n_validation=_HELD_OUT, n_test=_HELD_OUT, seed=split_seed
        )
        sizes = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        parts = []
        for index, (source, (name, size)) in enumerate(zip(sources, sizes.items(), strict=True)):
            # A generator per part: validation and test do not change with n_train.
            rng = np.random.default_rng([pair_seed, index])
            pairs = _draw_pairs(name, size, len(source.labels), rng)
            labels = heads.select(source.labels[pairs])
            parts.append(Split(_overlay(source.inputs, pairs), labels))
        self._set_heads(heads)
        self.train, self.validation, self.test = standardised(Splits(*parts))


def _draw_pairs(name: str, size: int, n_digits: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw distinct pairs of the digits of a part, as indices of shape (size, 2)."""
    check_int(name, size, 1)
    if size > n_digits**2:
        raise ConfigError(
            f"task.{name}={size} is more than the {n_digits**2} pairs of the {n_digits} digits of "
            f"this part: choose fewer."
        )
    pairs = rng.choice(n_digits**2, size, replace=False)
    return torch.from_numpy(np.stack([pairs // n_digits, pairs % n_digits], axis=1))


def _overlay(digits: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Put the two digits of each pair into opposite corners of an image."""
    left_digits, right_digits = (torch.zeros(len(pairs), 1, _SIDE, _SIDE) for _ in range(2))
    left_digits[..., :_DIGIT_SIDE, :_DIGIT_SIDE] = digits[pairs[:, 0]]
    right_digits[..., -_DIGIT_SIDE:, -_DIGIT_SIDE:] = digits[pairs[:, 1]]
    return torch.maximum(left_digits, right_digits)
