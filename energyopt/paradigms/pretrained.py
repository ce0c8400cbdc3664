"""Fine-tune a trunk that was trained on another task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from energyopt.core.protocols import PretrainedModel
from energyopt.errors import ConfigError
from energyopt.paradigms._backbone import freeze_trunk, load_trunk
from energyopt.paradigms.multitask import Multitask


@dataclass(kw_only=True, eq=False, repr=False)
class Pretrained(Multitask):
    """One network with a new head on the trunk of a source; all of it or the head is fine-tuned.

    The energy of the source is not metered here: it is in the trial's record.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised; its head is kept.
        source: The weights of the same network trained on another task.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples per step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Value of the metric to reach.
        weights: Weight of each head's loss if there are several; None for 1.
        targets: Accuracy that each head must reach; None for `target`.
        trainable: "all", or "head": the trunk is frozen, including batch norms and dropout.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as part of the warm-up.
        monitor: The metric: see `Multitask`.

    Raises:
        ConfigError: If the source's weights do not fit.
    """

    source: PretrainedModel
    trainable: Literal["all", "head"] = "all"

    def __post_init__(self) -> None:
        if self.trainable not in ("all", "head"):
            raise ConfigError(f"paradigm.trainable={self.trainable} is unknown: choose all or head")
        load_trunk(self.model, self.source.state)
        if self.trainable == "head":
            self._part = freeze_trunk(self.model)
        super().__post_init__()
