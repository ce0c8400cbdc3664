"""A task with two heads, made of the digits: which digit it is, and whether it is odd."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from energyopt.core.protocols import Split
from energyopt.tasks.digits import Digits


class TwoHeads:
    """Digits with a second question; the second is easy.

    Args:
        n_train: Training samples.
    """

    heads = {"digit": 10, "odd": 2}  # noqa: RUF012  # as a user would write it
    num_classes = 12

    def __init__(self, n_train: int = 200) -> None:
        task = Digits(n_train=n_train, n_validation=40, n_test=30)
        self.input_shape: Sequence[int] = task.input_shape
        self.train, self.validation, self.test = map(
            _with_parity, (task.train, task.validation, task.test)
        )


def _with_parity(split: Split) -> Split:
    return Split(split.inputs, torch.stack([split.labels, split.labels % 2], dim=1))
