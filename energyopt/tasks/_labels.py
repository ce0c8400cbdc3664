"""Tasks that can tell several things of the same samples: one of them, or all at once.

A task with several heads has labels of shape (samples, heads), and an attribute `heads`: the
number of classes of each, by name, in the order of the columns. `num_classes` is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from energyopt.errors import ConfigError

BOTH = "both"
"""The `label` that asks for all heads."""


class Chosen(NamedTuple):
    """What a task tells of all that it could.

    Attributes:
        heads: The number of classes of each head; one head is a plain task.
        columns: Which columns of all labels.
    """

    heads: Mapping[str, int]
    columns: tuple[int, ...]

    @property
    def several(self) -> bool:
        """Whether this is a task with `heads`."""
        return len(self.heads) > 1

    @property
    def num_classes(self) -> int:
        """Of all heads together."""
        return sum(self.heads.values())

    def of(self, labels: torch.Tensor) -> torch.Tensor:
        """Take the labels that are told.

        Args:
            labels: All labels, of shape (samples, all heads).

        Returns:
            Labels of shape (samples, heads), or (samples,) of a plain task.
        """
        return labels[:, list(self.columns)] if self.several else labels[:, self.columns[0]]


def choose(label: str, heads: Mapping[str, int]) -> Chosen:
    """Read the option `label`: the name of a head, or "both" for all.

    Args:
        label: What was asked for.
        heads: The number of classes of each head that there is.

    Raises:
        ConfigError: If there is no such head.
    """
    names = list(heads)
    if label == BOTH:
        return Chosen(dict(heads), tuple(range(len(names))))
    if label not in names:
        raise ConfigError(
            f"task.label={label} is unknown: choose {', '.join(names[:-1])}, {names[-1]} or {BOTH}."
        )
    return Chosen({label: heads[label]}, (names.index(label),))
