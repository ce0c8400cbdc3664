"""Train several heads over one trunk: knowledge that tasks share is paid once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import Task
from energyopt.paradigms._precision import Name
from energyopt.paradigms._supervised import Supervised


class Multitask(Supervised):
    """One model whose last layer is all heads, trained with the weighted sum of their losses.

    It has reached its target when all heads are at theirs at one evaluation. On a task with one
    head it is what `Scratch` is.

    Args:
        task: Data in three splits, with labels of shape (samples, heads).
        model: The network, with as many outputs as all heads have classes.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Accuracy to reach, in [0, 1].
        weights: Weight of each head's loss; None for 1.
        targets: Accuracy that each head is to reach; None for `target`.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as a part of the warm-up.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        batch_size: int,
        epochs: float,
        seed: int,
        device: str = "cpu",
        scheduler: Callable[..., LRScheduler | None] | None = None,
        target: float = 1.0,
        weights: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        precision: Name = "fp32",
        compile: bool = False,  # noqa: A002  # the config key
    ) -> None:
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
            compiled=compile,
        )
