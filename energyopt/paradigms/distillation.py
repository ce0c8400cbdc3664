"""Train a small model to answer as a large one does (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from energyopt.core.protocols import PretrainedModel, Task, TrainStep
from energyopt.errors import ConfigError
from energyopt.paradigms._batches import evaluation_slices, pass_through
from energyopt.paradigms._heads import parts
from energyopt.paradigms._precision import Name, Precision
from energyopt.paradigms.multitask import Multitask


class Distillation(Multitask):
    """A student that learns from the labels and from a teacher's answers.

    The loss is (1 - alpha) times the cross-entropy, plus alpha T^2 times the divergence of the
    student's answers from the teacher's, both softened by the temperature T. The teacher is asked
    about each training sample once (`prepare`).

    Args:
        task: Data in three splits.
        model: The student, freshly initialised.
        teacher: The teacher, trained on the same task.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples a step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Accuracy to reach, in [0, 1].
        weights: Weight of each head's loss, where there are several; None for 1.
        targets: Accuracy that each head is to reach; None for `target`.
        alpha: Weight of the teacher's answers against the labels, in [0, 1].
        temperature: What divides logits before they are compared; above 0.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the student (torch.compile), as a part of the warm-up.

    Raises:
        ConfigError: If an option is out of its range, or the teacher's weights do not fit.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        teacher: PretrainedModel,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        batch_size: int,
        epochs: float,
        seed: int,
        device: str = "cpu",
        scheduler: Callable[..., LRScheduler | None] | None = None,
        target: float = 1.0,
        weights: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        alpha: float = 0.5,
        temperature: float = 2.0,
        precision: Name = "fp32",
        compile: bool = False,  # noqa: A002  # the config key
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError(f"paradigm.alpha={alpha}: a number in [0, 1] is needed")
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"paradigm.temperature={temperature}: a number above 0 is needed")
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
        self._alpha = alpha
        self._temperature = temperature
        self._precision = Precision(precision, self.device)
        self._teacher = teacher.model().to(self.device).eval().requires_grad_(requires_grad=False)
        # Of shape (samples, classes); the warm-up, which comes first, needs no real ones.
        self._answers = torch.zeros(len(self._train.labels), task.num_classes, device=self.device)
        self._prepared = False

    def warm_up(self) -> None:
        """Run a few steps on a copy, and ask the teacher once."""
        super().warm_up()
        self._ask(self._train.inputs[next(evaluation_slices(len(self._train.labels)))])

    def prepare(self) -> None:
        """Ask the teacher about each training sample."""
        for part in evaluation_slices(len(self._train.labels)):
            self._answers[part] = self._ask(self._train.inputs[part]).float()
        self._prepared = True

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least that many samples."""
        if not self._prepared:
            self.prepare()
        return super().train(samples)

    def loss(self, logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: see the class."""
        answers = self._answers[batch]
        pairs = [(logits, answers)]
        weights = [1.0]
        if self.heads:
            pairs = list(zip(parts(logits, self.heads), parts(answers, self.heads), strict=True))
            weights = list(self._weights.values())
        apart = [
            weight * self._divergence(*pair) for weight, pair in zip(weights, pairs, strict=True)
        ]
        labelled = super().loss(logits, batch)
        return (1 - self._alpha) * labelled + self._alpha * torch.stack(apart).sum()

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """What asks the student, and the teacher, about the validation samples."""
        return {
            "student": lambda: pass_through(self._loop.logits, self._validation.inputs),
            "teacher": lambda: pass_through(self._ask, self._validation.inputs),
        }

    @torch.inference_mode()
    def _ask(self, inputs: torch.Tensor) -> torch.Tensor:
        with self._precision.cast():
            answers: torch.Tensor = self._teacher(inputs)
        return answers

    def _divergence(self, logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        soft = self._temperature
        return soft**2 * functional.kl_div(
            functional.log_softmax(logits / soft, dim=1),
            functional.log_softmax(answers / soft, dim=1),
            reduction="batchmean",
            log_target=True,
        )
