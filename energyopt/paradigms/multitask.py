"""Train one network with one or several heads; the base of most paradigms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import Split, Task, TrainStep
from energyopt.paradigms import _backbone  # a config could name what is imported from it
from energyopt.paradigms._batches import Loop, evaluation_slices, infer
from energyopt.paradigms._heads import (
    heads_of,
    score,
    split_logits,
    targets_by_head,
    values_by_head,
)
from energyopt.paradigms._metrics import check_metric, mean_loss, metric_of_loss
from energyopt.paradigms._precision import Precision, PrecisionName


@dataclass(kw_only=True, eq=False, repr=False)  # subclasses add options to its constructor
class Multitask:
    """One network, trained with the weighted sum of its heads' losses.

    The loss is the cross-entropy, or the mean squared error where the labels are measurements.

    The heads share the energy of the trunk. The network has reached its target when all heads have
    reached theirs at the same evaluation. On a task with one head it is the same as `Scratch`.

    Args:
        task: Data in three splits; with several heads, labels of shape (samples, heads).
        model: The network, with as many outputs as all heads have classes.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples per step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Value of the metric to reach; with several heads, the accuracy of all of them.
        weights: Weight of each head's loss; None for 1.
        targets: Accuracy that each head must reach; None for `target`.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as part of the warm-up.
        monitor: The metric: "accuracy", "val_loss" or "perplexity" of a classifier, "rmse" or
            "val_loss" of a regression, whose labels are measurements.

    Raises:
        ConfigError: If an option is not possible, or the metric is not evaluated for the task.
    """

    task: Task
    model: nn.Module
    optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    batch_size: int
    epochs: float
    seed: int
    device: str = "cpu"
    scheduler: Callable[..., LRScheduler | None] | None = None
    target: float = 1.0
    weights: Mapping[str, float] | None = None
    targets: Mapping[str, float] | None = None
    precision: PrecisionName = "fp32"
    compile: bool = False
    # No default that becomes an attribute of the class, where a paradigm states its only metric.
    monitor: Monitor = field(default_factory=Monitor)

    _part = ""
    """Name of the module to train; empty for all. A subclass that freezes the rest sets it."""

    def __post_init__(self) -> None:
        self.heads = heads_of(self.task)
        check_metric(self.monitor, self.task, self.heads)
        self.head_targets: Mapping[str, float] = targets_by_head(
            self.targets, self.heads, self.target
        )
        self._head_weights = values_by_head("paradigm.weights", self.weights, self.heads, 1.0)
        self.head_accuracies: Mapping[str, float] = {}
        self._device = torch.device(self.device)
        self._train, self._validation, self._test = (
            Split(split.inputs.to(self._device), split.labels.to(self._device))
            for split in (self.task.train, self.task.validation, self.task.test)
        )
        self.model = self.model.to(self._device)
        self._precision = Precision(self.precision, self._device)
        self._loop = Loop(
            model=self.model,
            inputs=self._train.inputs,
            loss=self.loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            batch_size=self.batch_size,
            epochs=self.epochs,
            seed=self.seed,
            precision=self._precision,
            compiled=self.compile,
            part=self._part,
        )

    @property
    def epoch_samples(self) -> int:
        """Number of samples trained in an epoch."""
        return self._loop.epoch_samples

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least `samples` samples."""
        return self._loop.train(samples)

    def loss(self, logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch.

        Args:
            logits: The network's output, of shape (batch, classes).
            batch: Indices into the training set, of shape (batch,).
        """
        labels = self._train.labels[batch]
        if not self.heads:
            return mean_loss(logits, labels)
        losses = map(functional.cross_entropy, split_logits(logits, self.heads), labels.unbind(1))
        return self._weighted_sum(losses)

    def evaluate(self) -> float:
        """Return the metric on the validation split; see `score` for several heads."""
        accuracy, self.head_accuracies = self._score(self._validation)
        return accuracy

    def test(self) -> float:
        """Return the metric on the test split."""
        return self._score(self._test)[0]

    def warm_up(self) -> None:
        """Run a few steps on a copy, and compile the network if `compile` is set."""
        self._loop.warm_up(lambda: self._score(self._validation))

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """Return a function that classifies the validation samples and returns their number."""
        return {"model": lambda: infer(self._loop.logits, self._validation.inputs)}

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""
        _backbone.save_weights(self.model.state_dict(), path)

    def state(self) -> dict[str, Any]:
        """Return everything that training has changed, as tensors and plain data."""
        return self._loop.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a paradigm with the same arguments."""
        self._loop.load_state(state)

    def _weighted_sum(self, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        weights = self._head_weights.values()
        pairs = zip(weights, losses, strict=True)
        return torch.stack([weight * loss for weight, loss in pairs]).sum()

    def _score(self, data: Split) -> tuple[float, Mapping[str, float]]:
        """Return the metric; the accuracy of each head as well if there are several."""
        if self.monitor != ACCURACY:
            return metric_of_loss(self.monitor, self._mean_loss(data)), {}
        n_correct = torch.zeros(max(1, len(self.heads)), device=self._device)
        for part in evaluation_slices(len(data.labels)):
            logits, labels = self._loop.logits(data.inputs[part]), data.labels[part]
            head_logits = split_logits(logits, self.heads) if self.heads else (logits,)
            head_labels = labels.unbind(1) if self.heads else (labels,)
            for i, (output, label) in enumerate(zip(head_logits, head_labels, strict=True)):
                n_correct[i] += (output.argmax(1) == label).sum()
        shares = [float(count) / len(data.labels) for count in n_correct]
        if not self.heads:
            return shares[0], {}
        accuracies = dict(zip(self.heads, shares, strict=True))
        return score(accuracies, self.head_targets, self.target), accuracies

    def _mean_loss(self, data: Split) -> float:
        """Return the mean loss over a split."""
        total = torch.zeros((), device=self._device)
        for part in evaluation_slices(len(data.labels)):
            labels = data.labels[part]
            total += mean_loss(self._loop.logits(data.inputs[part]).float(), labels) * len(labels)
        return float(total) / len(data.labels)
