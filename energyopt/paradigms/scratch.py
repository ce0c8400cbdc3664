"""Train classifiers from random weights: one, or one for each head of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import Task, TrainStep
from energyopt.errors import ConfigError
from energyopt.paradigms import _backbone  # not its names: a config could give a public one
from energyopt.paradigms._heads import heads_of, one_by_one, score, targets_by_head
from energyopt.paradigms._precision import Name
from energyopt.paradigms.multitask import Multitask

_ALL = ""


class Scratch:
    """Supervised training from random weights with cross-entropy.

    A task with several heads is trained as that many separate tasks would be, each with a model
    of its own; their joules add up. A head that has reached its target is trained no more until
    all have.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised; not used where each head has its own.
        make_model: Makes a network for a number of classes.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps,
            advanced once a step; None, or a maker of None, keeps the rate.
        target: Accuracy to reach, in [0, 1].
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
        make_model: Callable[[int], nn.Module] | None = None,
        device: str = "cpu",
        scheduler: Callable[..., LRScheduler | None] | None = None,
        target: float = 1.0,
        targets: Mapping[str, float] | None = None,
        precision: Name = "fp32",
        compile: bool = False,  # noqa: A002  # the config key
    ) -> None:
        heads = heads_of(task)
        self._target = target
        self.head_targets: Mapping[str, float] = targets_by_head(targets, heads, target)
        self.head_accuracies: Mapping[str, float] = {}
        self._reached: set[str] = set()

        def learner(of: Task, network: nn.Module) -> Multitask:
            return Multitask(
                task=of,
                model=network,
                optimizer=optimizer,
                batch_size=batch_size,
                epochs=epochs,
                seed=seed,
                device=device,
                scheduler=scheduler,
                precision=precision,
                compile=compile,
            )

        if not heads:
            self._learners = {_ALL: learner(task, model)}
            return
        if make_model is None:
            raise ConfigError(
                f"the task has the heads {', '.join(heads)}, each of which takes a model of its "
                "own: make_model is needed"
            )
        self._learners = {
            name: learner(own, make_model(own.num_classes))
            for name, own in one_by_one(task, heads, torch.device(device)).items()
        }

    @property
    def model(self) -> nn.Module:
        """The network; of several heads all theirs, by name."""
        models = {name: each.model for name, each in self._learners.items()}
        return models[_ALL] if _ALL in models else nn.ModuleDict(models)

    @property
    def epoch_samples(self) -> int:
        """Size of the training set, in samples."""
        return next(iter(self._learners.values())).epoch_samples

    def train(self, samples: int) -> TrainStep:
        """Train each head that is not at its target on at least that many samples."""
        open_ones = self._learners.keys() - self._reached or self._learners.keys()
        trained = [
            each.train(samples) for name, each in self._learners.items() if name in open_ones
        ]
        seen = sum(each.samples for each in trained)
        loss = sum(each.loss * each.samples for each in trained) / seen
        if len(trained) == 1:
            return trained[0]
        return TrainStep(
            max(each.samples for each in trained), sum(each.steps for each in trained), loss
        )

    def evaluate(self) -> float:
        """Accuracy on the validation split, in [0, 1]: of all heads, if there are several."""
        accuracies = {name: each.evaluate() for name, each in self._learners.items()}
        if _ALL in accuracies:
            return accuracies[_ALL]
        self.head_accuracies = accuracies
        self._reached |= {n for n, own in self.head_targets.items() if accuracies[n] >= own}
        return score(accuracies, self.head_targets, self._target)

    def test(self) -> float:
        """The same on the test split."""
        accuracies = {name: each.test() for name, each in self._learners.items()}
        if _ALL in accuracies:
            return accuracies[_ALL]
        return score(accuracies, self.head_targets, self._target)

    def warm_up(self) -> None:
        """Run a few steps on copies; compile, if that is asked for."""
        for each in self._learners.values():
            each.warm_up()

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """What passes the validation samples through all models, and says how many they were."""
        passes = [each.inference()["model"] for each in self._learners.values()]
        return {"model": lambda: max(once() for once in passes)}

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file, each head's under its name."""
        _backbone.save_weights(self.model.state_dict(), path)

    def state(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain data."""
        states = {name: each.state() for name, each in self._learners.items()}
        if _ALL in states:
            return states[_ALL]
        return {"heads": states, "reached": sorted(self._reached)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` of one that was built alike returned."""
        if _ALL in self._learners:
            self._learners[_ALL].load_state(state)
            return
        self._reached = set(state["reached"])
        for name, each in self._learners.items():
            each.load_state(state["heads"][name])
