"""The few seams of the house. Each is owned by the code that calls it; no base classes.

A user's own model, task, paradigm, meter or objective fits by shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from energyopt.core.energy import Energy
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.utils.deprecation import deprecated_names

if TYPE_CHECKING:
    import torch
    from torch import nn


@runtime_checkable
class EnergyMeter(Protocol):
    """Meters one window at a time.

    A meter that cannot read raises `HardwareError` when it is built; it never reads a silent 0.
    """

    @property
    def provenance(self) -> Provenance:
        """Where its joules come from."""

    def start(self) -> None:
        """Open a window; pending device work is waited for first."""

    def stop(self) -> Energy:
        """Close the window; parts that are not metered are None."""


class TrainStep(NamedTuple):
    """What one call of `train` did.

    Attributes:
        samples: Training samples seen.
        steps: Optimizer steps made.
        loss: Mean loss over them.
    """

    samples: int
    steps: int
    loss: float


if TYPE_CHECKING:
    Trained = TrainStep
else:
    __getattr__ = deprecated_names(__name__, {"Trained": "energyopt.TrainStep"})


@runtime_checkable
class Paradigm(Protocol):
    """How a model is trained and scored. It knows nothing of energy, Hydra or Optuna."""

    @property
    def epoch_samples(self) -> int:
        """Size of the training set, in samples."""

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches, at least that many samples."""

    def evaluate(self) -> float:
        """Accuracy on the validation split, in [0, 1]; must not change what training does."""


@runtime_checkable
class SupportsWarmUp(Protocol):
    """A paradigm that can pay one-time costs (lazy imports, kernels, caches) beforehand."""

    def warm_up(self) -> None:
        """Run a few real steps on a throw-away copy; weights and random state stay as they are."""


@runtime_checkable
class SupportsPause(Protocol):
    """A paradigm that can be paused, and go on in another process as if it had not been.

    What it draws from the global random generators is kept for it.
    """

    def state(self) -> dict[str, Any]:
        """All that training has changed, as tensors and plain data."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` of one that was built alike returned."""


@runtime_checkable
class SupportsTest(Protocol):
    """A paradigm with a test split, for what is reported after the search."""

    def test(self) -> float:
        """Accuracy on the test split, in [0, 1]."""


@runtime_checkable
class SupportsHeads(Protocol):
    """A paradigm that scores several heads; `evaluate` is one number for all of them."""

    @property
    def head_targets(self) -> Mapping[str, float]:
        """Accuracy that each head is to reach, in [0, 1]; empty where there is but one."""

    @property
    def head_accuracies(self) -> Mapping[str, float]:
        """Accuracy of each head at the latest `evaluate`, in [0, 1]."""


@runtime_checkable
class SupportsPrepare(Protocol):
    """A paradigm that has something to pay between loading and its first step.

    What it costs is a part of the energy to the target, beside the training.
    """

    def prepare(self) -> None:
        """Do it; again where a paused trial goes on."""


@runtime_checkable
class SupportsInference(Protocol):
    """A paradigm whose models can be asked, to meter what an answer costs."""

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """By name, what passes samples through a model and says how many they were.

        The first is the model that is trained.
        """


@runtime_checkable
class SupportsSave(Protocol):
    """A paradigm whose trained model can be kept."""

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""


class Tokens(tuple[int, ...]):
    """The `input_shape` of samples that are whole numbers below `num_classes`, as characters are.

    A model of measurements refuses it.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a data set, in memory.

    Attributes:
        inputs: Float tensor of shape (samples, *input_shape), standardised; of `Tokens`, integers.
        labels: Integer tensor of shape (samples,), classes from 0; of shape (samples, heads)
            where the task has several heads.
    """

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """What was learnt elsewhere: a source's weights, or a teacher.

    Attributes:
        state: The weights, by name.
        model: Makes the network that they were trained in, with them.
    """

    state: Mapping[str, torch.Tensor]
    model: Callable[[], nn.Module]


@runtime_checkable
class Task(Protocol):
    """A data set in three splits. The search sees validation; `retrain` reports test."""

    @property
    def train(self) -> Split:
        """What models learn from."""

    @property
    def validation(self) -> Split:
        """What the search scores on."""

    @property
    def test(self) -> Split:
        """What is reported at the end."""

    @property
    def input_shape(self) -> Sequence[int]:
        """Shape of one sample: (channels, height, width), (channels, time) or (features,)."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""


@runtime_checkable
class MultiHeadTask(Protocol):
    """A task that asks several questions about each sample.

    Its labels have the shape (samples, heads), and its `num_classes` is the sum of all heads'
    classes: one linear layer is then all heads, and a head's logits are its slice.
    """

    @property
    def heads(self) -> Mapping[str, int]:
        """Number of classes of each head, by name, in the order of the labels."""


@runtime_checkable
class Objective(Protocol):
    """What a study minimises or maximises, computed from a trial's whole record."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """Names and directions of the values, in order."""

    @property
    def stops_at_target(self) -> bool:
        """Whether training beyond the target tells it nothing."""

    def __call__(self, result: TrialResult) -> Sequence[float]:
        """The values; for a trial that missed the target, lower bounds from what it spent."""


@runtime_checkable
class StoppingRule(Protocol):
    """Says whether a trial is worth no more joules; a pure function of what it is told."""

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Why to stop now, in words with numbers; None to go on.

        Args:
            progress: The trial, asked after each evaluation.
            rivals: What the earlier trials of the study did.
        """
