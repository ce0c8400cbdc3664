"""Handwritten digits of 8x8 pixels: the default task, small and real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from energyopt.errors import ConfigError
from energyopt.tasks._labels import select_labels
from energyopt.tasks._splits import (
    DataSet,
    check_int,
    check_selection,
    read_table,
    sklearn_data_file,
    split,
    standardised,
)

_DIGITS = 10
_QUARTER_TURNS = 4


class Digits(DataSet):
    """1797 grey 8x8 images of the digits 0 to 9, from the file in scikit-learn.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49 (its test set). By default 1348
    images are for training, 225 for validation and 224 for testing.

    With `classes` it is one part of a class split, such as 0 to 4 for pretraining and 5 to 9 for
    fine-tuning. If the rotation is a label, each image is turned by 0, 90, 180 or 270 degrees: a
    second task that does not help the first.

    Args:
        n_train: Training images; None takes all that are not held out.
        n_validation: Validation images.
        n_test: Test images.
        split_seed: Seed of the split; validation and test do not depend on `n_train`. Of the seeds
            0 to 9, 1 is a typical one and 0 has unusually hard validation images.
        classes: Digits to take; their labels are their positions in this list. None takes all.
        label: Label to classify: the "class", the "rotation", or "both".
        rotated: Whether images are turned; None turns them if the rotation is a label. Use
            `label=class rotated=true` to classify only the class of the same turned images.
        rotation_seed: Seed of the turns; an image's turn does not depend on the split.
    """

    input_shape: tuple[int, ...] = (1, 8, 8)

    def __init__(
        self,
        *,
        n_train: int | None = None,
        n_validation: int = 225,
        n_test: int = 224,
        split_seed: int = 1,
        classes: Sequence[int] | None = None,
        label: Literal["class", "rotation", "both"] = "class",
        rotated: bool | None = None,
        rotation_seed: int = 0,
    ) -> None:
        digits = list(range(_DIGITS))
        if classes is not None:
            check_selection("classes", classes, digits, minimum=2, or_null=True)
            digits = list(classes)
        heads = select_labels(label, {"class": len(digits), "rotation": _QUARTER_TURNS})
        check_int("rotation_seed", rotation_seed, 0)
        pixels, labels = read_digits()
        turns = torch.zeros_like(labels)
        if _is_rotated(rotated, label):
            rng = np.random.default_rng(rotation_seed)
            turns = torch.from_numpy(rng.integers(_QUARTER_TURNS, size=len(labels)))
            pixels = _rotate(pixels, turns)
        if classes is not None:
            label_of = torch.full((_DIGITS,), -1)
            label_of[digits] = torch.arange(len(digits))
            is_taken = label_of[labels] >= 0
            pixels, labels, turns = pixels[is_taken], label_of[labels[is_taken]], turns[is_taken]
        parts = split(
            pixels,
            heads.select(torch.stack([labels, turns], dim=1)),
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            seed=split_seed,
            strata=labels,
        )
        self._set_heads(heads)
        self.train, self.validation, self.test = standardised(parts)


def read_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images, of shape (1797, 1, 8, 8) with values from 0 to 16, and their labels.

    Raises:
        ConfigError: If scikit-learn's file is missing.
    """
    pixels, labels = read_table(sklearn_data_file("digits.csv.gz"))
    return pixels.reshape(-1, *Digits.input_shape), labels


def _is_rotated(rotated: bool | None, label: str) -> bool:
    if rotated is not None and not isinstance(rotated, bool):
        raise ConfigError(f"task.rotated={rotated} must be true, false or null.")
    if rotated is False and label != "class":
        raise ConfigError(
            f"task.rotated=false leaves no rotation to tell with task.label={label}: "
            f"choose label=class, or leave rotated null."
        )
    return label != "class" if rotated is None else rotated


def _rotate(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotate each image by its number of quarter turns, anticlockwise."""
    rotated = torch.empty_like(images)
    for n_turns in range(_QUARTER_TURNS):
        mask = turns == n_turns
        rotated[mask] = torch.rot90(images[mask], n_turns, dims=(2, 3))
    return rotated
