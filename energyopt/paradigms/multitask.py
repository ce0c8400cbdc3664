"""Train one network, with one head or several over one trunk: what most paradigms are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import Split, Task, TrainStep
from energyopt.paradigms import _backbone  # not its names: a config could give a public one
from energyopt.paradigms._batches import Loop, evaluation_slices, pass_through
from energyopt.paradigms._heads import by_head, heads_of, parts, score, targets_by_head
from energyopt.paradigms._precision import Name, Precision


class Multitask:
    """One network, trained with the weighted sum of its heads' cross-entropies.

    Knowledge that several heads share is paid once. The network has reached its target when all
    heads are at theirs at one evaluation. On a task with one head it is what `Scratch` is.

    Args:
        task: Data in three splits; with several heads, labels of shape (samples, heads).
        model: The network, with as many outputs as all heads have classes.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Accuracy that all heads are to reach, in [0, 1].
        weights: Weight of each head's loss; None for 1.
        targets: Accuracy that each head is to reach; None for `target`.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as a part of the warm-up.
    """

    _part = ""
    """Name of the part that is trained; empty for all. A subclass that freezes the rest sets it."""

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
        self.device = torch.device(device)
        self.heads = heads_of(task)
        self._target = target
        self.head_targets: Mapping[str, float] = targets_by_head(targets, self.heads, target)
        self._weights = by_head("paradigm.weights", weights, self.heads, 1.0)
        self.head_accuracies: Mapping[str, float] = {}
        self._train, self._validation, self._test = (
            Split(split.inputs.to(self.device), split.labels.to(self.device))
            for split in (task.train, task.validation, task.test)
        )
        self.model = model.to(self.device)
        self._loop = Loop(
            model=self.model,
            inputs=self._train.inputs,
            loss=self.loss,
            optimizer=optimizer,
            scheduler=scheduler,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            precision=Precision(precision, self.device),
            compiled=compile,
            part=self._part,
        )

    @property
    def epoch_samples(self) -> int:
        """Size of the training set, in samples."""
        return self._loop.epoch_samples

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least that many samples."""
        return self._loop.train(samples)

    def loss(self, logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: What the network says, of shape (batch, classes).
            batch: The samples' places in the training set, of shape (batch,).
        """
        labels = self._train.labels[batch]
        if not self.heads:
            return functional.cross_entropy(logits, labels)
        losses = [
            weight * functional.cross_entropy(own, labels[:, at])
            for at, (own, weight) in enumerate(
                zip(parts(logits, self.heads), self._weights.values(), strict=True)
            )
        ]
        return torch.stack(losses).sum()

    def evaluate(self) -> float:
        """Accuracy on the validation split, in [0, 1]: of all heads, if there are several."""
        accuracy, self.head_accuracies = self._score(self._validation)
        return accuracy

    def test(self) -> float:
        """The same on the test split."""
        return self._score(self._test)[0]

    def warm_up(self) -> None:
        """Run a few steps on a copy; compile, if that is asked for."""
        self._loop.warm_up(lambda: self._score(self._validation))

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """What passes the validation samples through the model, and says how many they were."""
        return {"model": lambda: pass_through(self._loop.logits, self._validation.inputs)}

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""
        _backbone.save_weights(self.model.state_dict(), path)

    def state(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain data."""
        return self._loop.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` of one that was built alike returned."""
        self._loop.load_state(state)

    def _score(self, data: Split) -> tuple[float, Mapping[str, float]]:
        counted = torch.zeros(max(1, len(self.heads)), device=self.device)
        for part in evaluation_slices(len(data.labels)):
            logits, labels = self._loop.logits(data.inputs[part]), data.labels[part]
            own = parts(logits, self.heads) if self.heads else (logits,)
            columns = labels.unbind(1) if self.heads else (labels,)
            for at, (answer, label) in enumerate(zip(own, columns, strict=True)):
                counted[at] += (answer.argmax(1) == label).sum()
        shares = [float(count) / len(data.labels) for count in counted]
        if not self.heads:
            return shares[0], {}
        accuracies = dict(zip(self.heads, shares, strict=True))
        return score(accuracies, self.head_targets, self._target), accuracies
