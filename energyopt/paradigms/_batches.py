"""The training loop of one model: batches, their order, schedule, precision and pauses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import TrainStep
from energyopt.errors import ConfigError
from energyopt.paradigms._precision import Precision

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits of shape (batch, classes) and indices into the training set, of shape (batch,)."""

_WARM_UP_STEPS = 3
_EVALUATION_BATCH = 1024


class Loop:
    """Trains one model on one training set.

    Deterministic for a seed, a device and a number of threads. Batches never span two epochs; a
    remainder of one sample is skipped, since batch normalisation needs two.

    Args:
        model: The network, on its device.
        inputs: Training inputs of shape (samples, *input_shape), on the same device.
        loss: Loss to minimise.
        optimizer: Makes an optimizer for parameters.
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps,
            advanced once per step; None, or a function that returns None, keeps the rate.
        batch_size: Samples per step.
        epochs: Length of the schedule.
        seed: Seed of the data order.
        precision: Number format of the forward pass.
        compiled: Whether to compile the network (torch.compile).
        part: Name of the module to train, the rest being frozen; empty for the whole network.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        inputs: torch.Tensor,
        loss: Loss,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        scheduler: Callable[..., LRScheduler | None] | None,
        batch_size: int,
        epochs: float,
        seed: int,
        precision: Precision,
        compiled: bool = False,
        part: str = "",
    ) -> None:
        self.model = model
        self._inputs = inputs
        self._loss = loss
        self._precision = precision
        self._part = part
        self._forward = _compiled(model) if compiled else model
        self._compiled = compiled
        self._batch_size = batch_size
        self._make_optimizer = optimizer
        self._optimizer = optimizer(model.get_submodule(part).parameters())
        self._scaler = precision.scaler()
        steps = max(1, round(epochs * len(self._epoch_slices())))
        self._scheduler = scheduler(self._optimizer, total_steps=steps) if scheduler else None
        # A separate generator: a model with dropout draws from the global one.
        self._generator = torch.Generator().manual_seed(seed)
        self._epoch_state, self._n_batches = self._generator.get_state(), 0
        self._batches = self._endless_batches()

    @property
    def epoch_samples(self) -> int:
        """Number of samples trained in an epoch."""
        return sum(end - begin for begin, end in self._epoch_slices())

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least `samples` samples."""
        self._set_train_mode(self.model)
        n_samples = steps = 0
        loss_sum = torch.zeros((), device=self._inputs.device)
        while n_samples < samples:
            batch = next(self._batches)
            loss = self._step(self._forward, self._optimizer, self._scaler, batch)
            if self._scheduler is not None:
                self._scheduler.step()
            loss_sum += loss * len(batch)
            n_samples += len(batch)
            steps += 1
        return TrainStep(n_samples, steps, float(loss_sum) / n_samples)

    @torch.inference_mode()
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's logits in evaluation mode, of shape (samples, classes)."""
        self.model.eval()
        with self._precision.cast():
            logits: torch.Tensor = self._forward(inputs)
        return logits

    def warm_up(self, evaluate: Callable[[], object]) -> None:
        """Make a few steps on a copy, to pay one-time costs: a process's first optimizer takes 1 s.

        Args:
            evaluate: Scores the network without changing it.
        """
        device = self._inputs.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            model = copy.deepcopy(self.model)
            self._set_train_mode(model)
            optimizer = self._make_optimizer(model.get_submodule(self._part).parameters())
            scaler = self._precision.scaler()
            batch = torch.arange(min(self._batch_size, len(self._inputs)))
            for _ in range(_WARM_UP_STEPS):
                self._step(model, optimizer, scaler, batch)
            if self._compiled:
                self._compile_all_shapes()
            evaluate()

    def state(self) -> dict[str, Any]:
        """Return everything that training has changed, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict() if self._scheduler is not None else None,
            "scaler": self._scaler.state_dict() if self._scaler is not None else None,
            "epoch_began": self._epoch_state,
            "taken": self._n_batches,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a loop with the same arguments."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        self._generator.set_state(state["epoch_began"])
        self._batches = self._endless_batches()
        for _ in range(state["taken"]):
            next(self._batches)

    def _step(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler | None,
        batch: torch.Tensor,
    ) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with self._precision.cast():
            loss = self._loss(forward(self._inputs[batch]), batch)
        if scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
        return loss.detach()

    def _set_train_mode(self, model: nn.Module) -> None:
        if self._part:
            model.eval()  # frozen modules use no dropout and keep their batch statistics
        model.get_submodule(self._part).train()

    def _compile_all_shapes(self) -> None:
        """Compile for all batch sizes of an epoch, with passes whose effects are undone."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self._set_train_mode(self.model)
        sizes = {end - begin for begin, end in self._epoch_slices()}
        try:
            for size in sorted(sizes):
                batch = torch.arange(size)
                with self._precision.cast():
                    loss = self._loss(self._forward(self._inputs[batch]), batch)
                loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # compilers raise errors of any type
            message = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"paradigm.compile=true: torch.compile cannot do it here ({message}); choose false"
            ) from error
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])

    def _epoch_slices(self) -> list[tuple[int, int]]:
        n_samples = len(self._inputs)
        begins = range(0, n_samples, self._batch_size)
        slices = [(begin, min(begin + self._batch_size, n_samples)) for begin in begins]
        if len(slices) > 1 and slices[-1][1] - slices[-1][0] == 1 < self._batch_size:
            slices.pop()
        return slices

    def _endless_batches(self) -> Iterator[torch.Tensor]:
        slices = self._epoch_slices()
        while True:
            # A resumed training draws the same order from this state, and skips these batches.
            self._epoch_state, self._n_batches = self._generator.get_state(), 0
            order = torch.randperm(len(self._inputs), generator=self._generator)
            order = order.to(self._inputs.device)
            for begin, end in slices:
                self._n_batches += 1
                yield order[begin:end]


def evaluation_slices(n_samples: int) -> Iterator[slice]:
    """Yield the slices of a split that are evaluated one at a time."""
    for begin in range(0, n_samples, _EVALUATION_BATCH):
        yield slice(begin, begin + _EVALUATION_BATCH)


def infer(forward: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> int:
    """Classify all samples, and return their number."""
    for part in evaluation_slices(len(inputs)):
        forward(inputs[part]).argmax(1).cpu()  # waits for the GPU: an inference includes its result
    return len(inputs)


def _compiled(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    # One program per shape: there are few shapes, and dynamic programs are slower.
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model, dynamic=False)
    return compiled
