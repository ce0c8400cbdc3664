"""The steps of one model: batches, their order, the schedule, what they compute in, and pauses.

All of our paradigms are made of these.
"""

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
"""Of logits of shape (batch, classes) and the samples' places in the training set, (batch,)."""

_WARM_UP_STEPS = 3
_EVALUATION_BATCH = 1024


class Loop:
    """Steps of one model on one training set.

    Deterministic for a seed, a device and a number of threads. Batches never straddle
    epochs; a left-over of one sample is skipped, since batch normalisation needs two.

    Args:
        model: The network, on its device.
        inputs: The training set's, of shape (samples, *input_shape), there, too.
        loss: What is made small.
        optimizer: Makes an optimizer for parameters.
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps,
            advanced once a step; None, or a maker of None, keeps the rate.
        batch_size: Samples a step.
        epochs: Length of the schedule.
        seed: Seed of the data order.
        precision: What steps compute in.
        compiled: Whether the network is compiled (torch.compile).
        part: Name of the part that is trained, the rest being frozen; empty for all of it.
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
        # Its own generator: a model with dropout draws from the global one.
        self._order = torch.Generator().manual_seed(seed)
        self._epoch_began, self._taken = self._order.get_state(), 0
        self._batches = self._endless_batches()

    @property
    def epoch_samples(self) -> int:
        """Samples of an epoch."""
        return sum(end - begin for begin, end in self._epoch_slices())

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least that many samples."""
        self._train_mode(self.model)
        seen = steps = 0
        loss_sum = torch.zeros((), device=self._inputs.device)
        while seen < samples:
            batch = next(self._batches)
            loss = self._step(self._forward, self._optimizer, self._scaler, batch)
            if self._scheduler is not None:
                self._scheduler.step()
            loss_sum += loss * len(batch)
            seen += len(batch)
            steps += 1
        return TrainStep(seen, steps, float(loss_sum) / seen)

    @torch.inference_mode()
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the network says, in evaluation mode, of shape (samples, classes)."""
        self.model.eval()
        with self._precision.cast():
            logits: torch.Tensor = self._forward(inputs)
        return logits

    def warm_up(self, evaluate: Callable[[], object]) -> None:
        """Make a few steps on a copy: the first optimizer of a process alone costs a second.

        Args:
            evaluate: Scores the network, which leaves it as it is.
        """
        device = self._inputs.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            model = copy.deepcopy(self.model)
            self._train_mode(model)
            optimizer = self._make_optimizer(model.get_submodule(self._part).parameters())
            scaler = self._precision.scaler()
            batch = torch.arange(min(self._batch_size, len(self._inputs)))
            for _ in range(_WARM_UP_STEPS):
                self._step(model, optimizer, scaler, batch)
            if self._compiled:
                self._compile_now()
            evaluate()

    def state(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict() if self._scheduler is not None else None,
            "scaler": self._scaler.state_dict() if self._scaler is not None else None,
            "epoch_began": self._epoch_began,
            "taken": self._taken,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` of one that was built alike returned."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        self._order.set_state(state["epoch_began"])
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

    def _train_mode(self, model: nn.Module) -> None:
        if self._part:
            model.eval()  # what is frozen keeps its statistics, and drops nothing
        model.get_submodule(self._part).train()

    def _compile_now(self) -> None:
        """Have all shapes of an epoch compiled, by passes that leave no trace."""
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self._train_mode(self.model)
        sizes = {end - begin for begin, end in self._epoch_slices()}
        try:
            for size in sorted(sizes):
                batch = torch.arange(size)
                with self._precision.cast():
                    loss = self._loss(self._forward(self._inputs[batch]), batch)
                loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # a compiler raises what it likes
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"paradigm.compile=true: torch.compile cannot do it here ({first}); choose false"
            ) from error
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(kept[name])

    def _epoch_slices(self) -> list[tuple[int, int]]:
        count = len(self._inputs)
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
            order = torch.randperm(len(self._inputs), generator=self._order)
            order = order.to(self._inputs.device)
            for begin, end in slices:
                self._taken += 1
                yield order[begin:end]


def evaluation_slices(count: int) -> Iterator[slice]:
    """Cut a split into the parts that a network is asked about at a time."""
    for begin in range(0, count, _EVALUATION_BATCH):
        yield slice(begin, begin + _EVALUATION_BATCH)


def pass_through(ask: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> int:
    """Pass all samples through a network, and return how many they were."""
    for part in evaluation_slices(len(inputs)):
        ask(inputs[part]).argmax(1).cpu()  # an answer is one when it has arrived
    return len(inputs)


def _compiled(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    # One program a shape: with few of them that is cheaper than programs for any shape.
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model, dynamic=False)
    return compiled
