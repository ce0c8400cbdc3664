"""The protocols that users implement. There are no base classes.

A user's model, task, paradigm, meter or objective only needs the methods of its protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from energyopt.core.energy import Energy
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.metric import Monitor
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.utils.deprecation import deprecated_names

if TYPE_CHECKING:
    import torch
    from torch import nn


@runtime_checkable
class EnergyMeter(Protocol):
    """Meters one window at a time.

    A meter that cannot read raises `HardwareError` when it is built; it never returns a silent 0.
    """

    @property
    def provenance(self) -> Provenance:
        """Where the joules of this meter come from."""

    def start(self) -> None:
        """Open a window, after pending device work has finished."""

    def stop(self) -> Energy:
        """Close the window. Returns its energy; parts that are not metered are None."""


class TrainStep(NamedTuple):
    """The result of one call of `train`.

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
    """Trains and scores a model. It knows nothing of energy, Hydra or Optuna."""

    @property
    def epoch_samples(self) -> int:
        """Size of the training set, in samples."""

    def train(self, samples: int) -> TrainStep:
        """Train on whole batches with at least `samples` samples in total."""

    def evaluate(self) -> float:
        """Return the monitored metric on the validation split; must not change the training.

        By default that is the accuracy, in [0, 1]; see `SupportsMonitor` for others. NaN or
        infinity ends the trial as diverged.
        """


@runtime_checkable
class SupportsMonitor(Protocol):
    """A task or a paradigm that states which metric `evaluate` returns; a task's counts first.

    It is an attribute of the class, since a trial's record begins before anything is built. Where
    neither states one, the root keys `monitor` and `mode` do; without them it is the accuracy.
    """

    @property
    def monitor(self) -> Monitor:
        """Name and direction of the metric."""


@runtime_checkable
class SupportsWarmUp(Protocol):
    """A paradigm that can pay one-time costs (lazy imports, kernels, caches) beforehand."""

    def warm_up(self) -> None:
        """Run a few real steps on a temporary copy; weights and random state must not change."""


@runtime_checkable
class SupportsPause(Protocol):
    """A paradigm that can be paused and resumed in another process, with the same results.

    The state of the global random generators is saved and restored for it.
    """

    def state(self) -> dict[str, Any]:
        """Return everything that training has changed, as tensors and plain data."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore a `state` of a paradigm that was built from the same config."""


@runtime_checkable
class SupportsTest(Protocol):
    """A paradigm with a test split, for reports after the search."""

    def test(self) -> float:
        """Return the monitored metric on the test split."""


@runtime_checkable
class SupportsHeads(Protocol):
    """A paradigm that scores several heads; `evaluate` returns one number for all of them."""

    @property
    def head_targets(self) -> Mapping[str, float]:
        """Target of each head; empty for a single head."""

    @property
    def head_accuracies(self) -> Mapping[str, float]:
        """Accuracy of each head at the latest `evaluate`, in [0, 1]."""


@runtime_checkable
class SupportsPrepare(Protocol):
    """A paradigm with work between loading and its first step.

    Its energy is part of the energy to the target, in addition to the training.
    """

    def prepare(self) -> None:
        """Do the work; called again when a paused trial resumes."""


@runtime_checkable
class SupportsInference(Protocol):
    """A paradigm whose inference energy can be metered."""

    def inference(self) -> Mapping[str, Callable[[], int]]:
        """Return by name functions that pass samples through a model and return their number.

        The first is the trained model.
        """


@runtime_checkable
class SupportsSave(Protocol):
    """A paradigm whose trained model can be saved."""

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""


class Tokens(tuple[int, ...]):
    """The `input_shape` of samples of integers below `num_classes`, such as characters.

    A model of measurements refuses it.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a data set, in memory.

    Attributes:
        inputs: Float tensor of shape (samples, *input_shape), standardised; of `Tokens`, integers.
        labels: Integer tensor of shape (samples,), classes from 0; of shape (samples, heads)
            where the task has several heads. For a regression, floats of shape (samples,) or
            (samples, 1), standardised.
    """

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """A pretrained model: a source's weights, or a teacher.

    Attributes:
        state: The weights, by name.
        model: Makes the network in which they were trained, with these weights.
    """

    state: Mapping[str, torch.Tensor]
    model: Callable[[], nn.Module]


@runtime_checkable
class Task(Protocol):
    """A data set in three splits. The search sees validation; `retrain` reports test."""

    @property
    def train(self) -> Split:
        """The training split."""

    @property
    def validation(self) -> Split:
        """The validation split, on which the search scores."""

    @property
    def test(self) -> Split:
        """The test split, for reports after the search."""

    @property
    def input_shape(self) -> Sequence[int]:
        """Shape of one sample: (channels, height, width), (channels, time) or (features,)."""

    @property
    def num_classes(self) -> int:
        """Number of classes; 1 for a regression."""


@runtime_checkable
class MultiHeadTask(Protocol):
    """A task with several labels for each sample.

    Its labels have the shape (samples, heads), and its `num_classes` is the sum of all heads'
    classes: one linear layer then holds all heads, and a head's logits are a slice of its output.
    """

    @property
    def heads(self) -> Mapping[str, int]:
        """Number of classes of each head, by name, in the order of the labels."""


@runtime_checkable
class Objective(Protocol):
    """The values that a study minimises or maximises, computed from a trial's whole record."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """Names and directions of the values, in order."""

    @property
    def stops_at_target(self) -> bool:
        """True if training beyond the target does not change the values."""

    def __call__(self, result: TrialResult) -> Sequence[float]:
        """Return the values; lower bounds from the energy used if the trial missed the target."""


@runtime_checkable
class StoppingRule(Protocol):
    """Decides whether a trial is worth more energy; a pure function of its arguments."""

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Return why to stop now, as text with numbers; None to continue.

        Args:
            progress: The trial so far; called after each evaluation.
            rivals: The history of the study's earlier trials.
        """
