"""The option `label` of tasks with several labels: one of them, or all as heads.

A task with several heads has labels of shape (samples, heads) and an attribute `heads`: the number
of classes of each head by name, in the order of the columns. `num_classes` is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from energyopt.errors import ConfigError

BOTH = "both"
"""The `label` that selects all heads."""


class LabelSelection(NamedTuple):
    """The heads that a task is built with, out of all that its data has labels for."""

    heads: Mapping[str, int]  # number of classes by name
    columns: tuple[int, ...]  # in the labels of all heads

    @property
    def is_multi_head(self) -> bool:
        """True if several heads are selected."""
        return len(self.heads) > 1

    @property
    def num_classes(self) -> int:
        """Number of classes of all selected heads."""
        return sum(self.heads.values())

    def select(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the columns of the selected heads; a single one of shape (samples,)."""
        return labels[:, list(self.columns)] if self.is_multi_head else labels[:, self.columns[0]]


def select_labels(label: str, heads: Mapping[str, int]) -> LabelSelection:
    """Read the option `label`: the name of a head that the data has labels for, or "both" for all.

    Raises:
        ConfigError: If there is no such head.
    """
    names = list(heads)
    if label == BOTH:
        return LabelSelection(dict(heads), tuple(range(len(names))))
    if label not in names:
        raise ConfigError(
            f"task.label={label} is unknown: choose {', '.join(names[:-1])}, {names[-1]} or {BOTH}."
        )
    return LabelSelection({label: heads[label]}, (names.index(label),))
