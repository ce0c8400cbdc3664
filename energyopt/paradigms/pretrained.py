"""Fine-tune a trunk that was trained elsewhere: recycled knowledge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import PretrainedModel, Task
from energyopt.errors import ConfigError
from energyopt.paradigms._backbone import head_of, load_trunk
from energyopt.paradigms._precision import Name
from energyopt.paradigms.multitask import Multitask


class Pretrained(Multitask):
    """One model with a fresh head on the trunk of a source, all of it or the head fine-tuned.

    What the source cost is not seen here: it is in the trial's record.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised: its head stays so.
        source: The weights of the same network on another task.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Accuracy to reach, in [0, 1].
        weights: Weight of each head's loss, where there are several; None for 1.
        targets: Accuracy that each head is to reach; None for `target`.
        trainable: "all", or "head": the trunk is frozen, its batch norms and dropouts, too.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as a part of the warm-up.

    Raises:
        ConfigError: If the source's weights do not fit.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        source: PretrainedModel,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        batch_size: int,
        epochs: float,
        seed: int,
        device: str = "cpu",
        scheduler: Callable[..., LRScheduler | None] | None = None,
        target: float = 1.0,
        weights: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        trainable: Literal["all", "head"] = "all",
        precision: Name = "fp32",
        compile: bool = False,  # noqa: A002  # the config key
    ) -> None:
        if trainable not in ("all", "head"):
            raise ConfigError(f"paradigm.trainable={trainable} is unknown: choose all or head")
        load_trunk(model, source.state)
        if trainable == "head":
            self._part = head_of(model)
            model.requires_grad_(requires_grad=False)
            model.get_submodule(self._part).requires_grad_(requires_grad=True)
        super().__init__(
            task=task,
            model=model,
            optimizer=optimizer,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            device=device,
            scheduler=scheduler,
            target=target,
            targets=targets,
            weights=weights,
            precision=precision,
            compile=compile,
        )
