"""Train a classifier from random weights, on one task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.protocols import Split, Task, Trained

_WARM_UP_STEPS = 3
_EVALUATION_BATCH = 1024


class Scratch:
    """Supervised training from random weights with cross-entropy.

    Deterministic for a seed, a device and a number of threads. Batches never straddle
    epochs; a left-over of one sample is skipped, since batch normalisation needs two.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps,
            advanced once a step; None, or a maker of None, keeps the rate.
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
    ) -> None:
        self._device = torch.device(device)
        self._train, self._validation, self._test = (
            Split(split.inputs.to(self._device), split.labels.to(self._device))
            for split in (task.train, task.validation, task.test)
        )
        self.model = model.to(self._device)
        self._batch_size = batch_size
        self._make_optimizer = optimizer
        self._optimizer = optimizer(self.model.parameters())
        steps = max(1, round(epochs * len(self._epoch_slices())))
        self._scheduler = scheduler(self._optimizer, total_steps=steps) if scheduler else None
        # Its own generator: a model with dropout draws from the global one.
        self._order = torch.Generator().manual_seed(seed)
        self._epoch_began, self._taken = self._order.get_state(), 0
        self._batches = self._endless_batches()

    @property
    def epoch_samples(self) -> int:
        """Size of the training set, in samples."""
        return sum(end - begin for begin, end in self._epoch_slices())

    def train(self, samples: int) -> Trained:
        """Train on whole batches, at least that many samples."""
        self.model.train()
        seen = steps = 0
        loss_sum = torch.zeros((), device=self._device)
        while seen < samples:
            batch = next(self._batches)
            loss = _step(self.model, self._optimizer, self._train, batch)
            if self._scheduler is not None:
                self._scheduler.step()
            loss_sum += loss * len(batch)
            seen += len(batch)
            steps += 1
        return Trained(seen, steps, float(loss_sum) / seen)

    def evaluate(self) -> float:
        """Accuracy on the validation split, in [0, 1]."""
        return _accuracy(self.model, self._validation)

    def test(self) -> float:
        """Accuracy on the test split, in [0, 1]."""
        return _accuracy(self.model, self._test)

    def warm_up(self) -> None:
        """Run a few steps on a copy: the first optimizer of a process alone costs a second."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            model = copy.deepcopy(self.model).train()
            optimizer = self._make_optimizer(model.parameters())
            batch = torch.arange(min(self._batch_size, len(self._train.labels)))
            for _ in range(_WARM_UP_STEPS):
                _step(model, optimizer, self._train, batch)
            _accuracy(model, self._validation)

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""
        from safetensors.torch import save_file

        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(weights, path)

    def state(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict() if self._scheduler is not None else None,
            "epoch_began": self._epoch_began,
            "taken": self._taken,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` of one that was built alike returned."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self._order.set_state(state["epoch_began"])
        self._batches = self._endless_batches()
        for _ in range(state["taken"]):
            next(self._batches)

    def _epoch_slices(self) -> list[tuple[int, int]]:
        count = len(self._train.labels)
        begins = range(0, count, self._batch_size)
        slices = [(begin, min(begin + self._batch_size, count)) for begin in begins]
        if len(slices) > 1 and slices[-1][1] - slices[-1][0] == 1 < self._batch_size:
            slices.pop()
        return slices

    def _endless_batches(self) -> Iterator[torch.Tensor]:
        slices = self._epoch_slices()
        while True:
            # What a pause takes to draw the same order again, and to find its place in it.
            self._epoch_began, self._taken = self._order.get_state(), 0
            order = torch.randperm(len(self._train.labels), generator=self._order)
            order = order.to(self._device)
            for begin, end in slices:
                self._taken += 1
                yield order[begin:end]


def _step(model: nn.Module, optimizer: Optimizer, data: Split, batch: torch.Tensor) -> torch.Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss = functional.cross_entropy(model(data.inputs[batch]), data.labels[batch])
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@torch.inference_mode()
def _accuracy(model: nn.Module, data: Split) -> float:
    model.eval()
    correct = torch.zeros((), device=data.labels.device)
    for begin in range(0, len(data.labels), _EVALUATION_BATCH):
        part = slice(begin, begin + _EVALUATION_BATCH)
        correct += (model(data.inputs[part]).argmax(1) == data.labels[part]).sum()
    return float(correct) / len(data.labels)
