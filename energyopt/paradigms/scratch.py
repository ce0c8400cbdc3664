"""Train classifiers from random weights: one, or one for each head of a task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import Task, TrainStep
from energyopt.errors import ConfigError
from energyopt.paradigms import _backbone  # a config could name what is imported from it
from energyopt.paradigms._heads import heads_of, score, targets_by_head, tasks_by_head
from energyopt.paradigms._metrics import check_metric
from energyopt.paradigms._precision import PrecisionName
from energyopt.paradigms.multitask import Multitask

_ALL = ""


class Scratch:
    """Supervised training from random weights.

    The loss is the cross-entropy, or the mean squared error where the labels are measurements.

    A task with several heads is trained as separate tasks, each with a separate model; their
    energy adds up. A head that has reached its target is not trained until all have.

    Args:
        task: Data in three splits.
        model: The network, freshly initialised; not used if the task has several heads.
        make_model: Makes a network for a number of classes.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples per step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps,
            advanced once per step; None, or a function that returns None, keeps the rate.
        target: Value of the metric to reach.
        targets: Accuracy that each head must reach; None for `target`.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the network (torch.compile), as part of the warm-up.
        monitor: The metric: see `Multitask`.

    Raises:
        ConfigError: If the metric is not evaluated for the task.
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
        precision: PrecisionName = "fp32",
        compile: bool = False,  # noqa: A002  # the config key
        monitor: Monitor = ACCURACY,
    ) -> None:
        heads = heads_of(task)
        check_metric(monitor, task, heads)
        self.monitor = monitor
        self._target = target
        self.head_targets: Mapping[str, float] = targets_by_head(targets, heads, target)
        self.head_accuracies: Mapping[str, float] = {}
        self._reached: set[str] = set()

        make_learner = functools.partial(
            Multitask,
            optimizer=optimizer,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            device=device,
            scheduler=scheduler,
            precision=precision,
            compile=compile,
            monitor=monitor,
        )
        if not heads:
            self._learners = {_ALL: make_learner(task=task, model=model)}
            return
        if make_model is None:
            raise ConfigError(
                f"the task has the heads {', '.join(heads)}, each of which takes a model of its "
                "own: make_model is needed"
            )
        self._learners = {
            name: make_learner(task=head_task, model=make_model(head_task.num_classes))
            for name, head_task in tasks_by_head(task, heads, torch.device(device)).items()
        }

    @property
    def model(self) -> nn.Module:
        """The network; for several heads a `ModuleDict` of theirs, by name."""
        models = {name: learner.model for name, learner in self._learners.items()}
        return models[_ALL] if _ALL in models else nn.ModuleDict(models)

    @property
    def epoch_samples(self) -> int:
        """Number of samples trained in an epoch."""
        return next(iter(self._learners.values())).epoch_samples

    def train(self, samples: int) -> TrainStep:
        """Train each head that has not reached its target on at least `samples` samples."""
        names = self._learners.keys() - self._reached or self._learners.keys()
        steps = [
            learner.train(samples) for name, learner in self._learners.items() if name in names
        ]
        if len(steps) == 1:
            return steps[0]
        loss_sum = sum(step.loss * step.samples for step in steps)
        return TrainStep(
            max(step.samples for step in steps),
            sum(step.steps for step in steps),
            loss_sum / sum(step.samples for step in steps),
        )

    def evaluate(self) -> float:
        """Return the metric on the validation split; see `score` for several heads."""
        accuracies = {name: learner.evaluate() for name, learner in self._learners.items()}
        if _ALL in accuracies:
            return accuracies[_ALL]
        self.head_accuracies = accuracies
        self._reached |= {
            name for name, target in self.head_targets.items() if accuracies[name] >= target
        }
        return score(accuracies, self.head_targets, self._target)

    def test(self) -> float:
        """Return the metric on the test split."""
        accuracies = {name: learner.test() for name, learner in self._learners.items()}
        if _ALL in accuracies:
            return accuracies[_ALL]
        return score(accuracies, self.head_targets, self._target)

    def warm_up(self) -> None:
        """Run a few steps on copies, and compile the networks if `compile` is set."""
        for learner in self._learners.values():
            learner.warm_up()

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """Return a function that classifies the validation samples and returns their number."""
        passes = [learner.inference()["model"] for learner in self._learners.values()]
        return {"model": lambda: max(run() for run in passes)}

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file, each head's under its name."""
        _backbone.save_weights(self.model.state_dict(), path)

    def state(self) -> dict[str, Any]:
        """Return everything that training has changed, as tensors and plain data."""
        states = {name: learner.state() for name, learner in self._learners.items()}
        if _ALL in states:
            return states[_ALL]
        return {"heads": states, "reached": sorted(self._reached)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a paradigm with the same arguments."""
        if _ALL in self._learners:
            self._learners[_ALL].load_state(state)
            return
        self._reached = set(state["reached"])
        for name, learner in self._learners.items():
            learner.load_state(state["heads"][name])
