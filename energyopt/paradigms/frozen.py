"""Train a head on a trunk that stays as it was initialised: the control of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from energyopt.paradigms._backbone import freeze_trunk
from energyopt.paradigms.multitask import Multitask


@dataclass(kw_only=True, eq=False, repr=False)
class Frozen(Multitask):
    """One network whose trunk keeps its random weights; its head is trained.

    Against `pretrained` with `trainable: head` it tells what a source is worth: both train the same
    layers, so that what differs is what the trunk knows. Its arguments are those of `Multitask`.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples per step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Value of the metric to reach.
        weights: Weight of each head's loss if there are several; None for 1.
        targets: Accuracy that each head must reach; None for `target`.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as part of the warm-up.
        monitor: The metric: see `Multitask`.

    Raises:
        ConfigError: If the network has no head of its own.
    """

    def __post_init__(self) -> None:
        self._part = freeze_trunk(self.model)
        super().__post_init__()
