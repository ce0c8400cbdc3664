"""Train a small model to predict as a large one does (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from energyopt.core.protocols import PretrainedModel, TrainStep
from energyopt.errors import ConfigError
from energyopt.paradigms._batches import evaluation_slices, infer
from energyopt.paradigms._heads import split_logits
from energyopt.paradigms._metrics import is_regression
from energyopt.paradigms.multitask import Multitask


@dataclass(kw_only=True, eq=False, repr=False)
class Distillation(Multitask):
    """A student that learns from the labels and from a teacher's logits.

    The loss is (1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher || student), where both
    predictions are softened by the temperature T; T^2 keeps the gradients comparable for any T.
    The teacher classifies each training sample once (`prepare`).

    Args:
        task: Data in three splits.
        model: The student, freshly initialised.
        teacher: The teacher, trained on the same task.
        optimizer: Makes an optimizer for parameters.
        batch_size: Samples per step.
        epochs: Length of the learning-rate schedule.
        seed: Seed of the data order.
        device: Where to train: "cpu", "cuda", "cuda:1", "mps".
        scheduler: Makes a learning-rate schedule for an optimizer and a number of steps.
        target: Value of the metric to reach.
        weights: Weight of each head's loss if there are several; None for 1.
        targets: Accuracy that each head must reach; None for `target`.
        alpha: Weight of the teacher's logits against the labels, in [0, 1].
        temperature: Divisor of the logits before they are compared; above 0.
        precision: "fp32", "bf16" or "amp".
        compile: Whether to compile the student (torch.compile), as part of the warm-up.
        monitor: The metric: see `Multitask`.

    Raises:
        ConfigError: If an option is out of its range, or the teacher's weights do not fit.
    """

    teacher: PretrainedModel
    alpha: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"paradigm.alpha={self.alpha}: a number in [0, 1] is needed")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"paradigm.temperature={self.temperature}: a number above 0 is needed"
            )
        super().__post_init__()
        if is_regression(self.task):
            raise ConfigError(
                "paradigm=distillation learns from a teacher's classes; this task is a regression: "
                "choose paradigm=scratch"
            )
        self._teacher = self.teacher.model().to(self._device).eval()
        self._teacher.requires_grad_(requires_grad=False)
        # Of shape (samples, classes); the warm-up runs before `prepare`, on these zeros.
        self._teacher_logits = torch.zeros(
            len(self._train.labels), self.task.num_classes, device=self._device
        )
        self._prepared = False

    def warm_up(self) -> None:
        """Run a few steps on a copy, and one batch through the teacher."""
        super().warm_up()
        self._teach(self._train.inputs[next(evaluation_slices(len(self._train.labels)))])

    def prepare(self) -> None:
        """Compute the teacher's logits for each training sample."""
        for part in evaluation_slices(len(self._train.labels)):
            self._teacher_logits[part] = self._teach(self._train.inputs[part]).float()
        self._prepared = True

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least `samples` samples."""
        if not self._prepared:
            self.prepare()
        return super().train(samples)

    def loss(self, logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, as the class describes it."""
        teacher_logits = self._teacher_logits[batch]
        if self.heads:
            divergences = map(
                self._divergence,
                split_logits(logits, self.heads),
                split_logits(teacher_logits, self.heads),
            )
            divergence = self._weighted_sum(divergences)
        else:
            divergence = self._divergence(logits, teacher_logits)
        return (1 - self.alpha) * super().loss(logits, batch) + self.alpha * divergence

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """Return functions that classify the validation samples and return their number."""
        return {
            "student": lambda: infer(self._loop.logits, self._validation.inputs),
            "teacher": lambda: infer(self._teach, self._validation.inputs),
        }

    @torch.inference_mode()
    def _teach(self, inputs: torch.Tensor) -> torch.Tensor:
        with self._precision.cast():
            logits: torch.Tensor = self._teacher(inputs)
        return logits

    def _divergence(self, logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
        return self.temperature**2 * functional.kl_div(
            functional.log_softmax(logits / self.temperature, dim=1),
            functional.log_softmax(teacher_logits / self.temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
