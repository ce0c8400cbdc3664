"""Small records for tests: trials and studies from a few numbers, without any training.

    lr_01 = trial(0, result([(100, 2, 0.7), (200, 4, 0.9)]), params={"lr": 0.1})
    toy = study([lr_01], target=0.9)

And a scripted training, whose work moves a made-up energy counter:

    counter = Counter()
    run_trial(lambda: Scripted(counter, [0.5, 0.9]), ToyMeter(counter), plan, start, journal)

Joules are whole or dyadic numbers in most tests: they survive the sums along a curve exactly.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from energyopt.core.curve import Checkpoints
from energyopt.core.energy import Energy
from energyopt.core.protocols import TrainStep
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import BROKEN, Provenance, TrialResult
from energyopt.testing._records import EPOCH_SAMPLES, make_result

ESTIMATED = Provenance(
    kind="estimated",
    meter="cpu-time 4 W/core",
    version="energyopt 0.1.0",
    scope="CPU package",
    device="Toy CPU",
    host="toy",
    uncertainty="a constant power: good for comparing, not as absolute joules",
)

METRICS = (Metric("energy_to_target_j", "minimize"), Metric("best_accuracy", "maximize"))

State = Literal["complete", "pruned", "failed", "running", "paused", "waiting"]


result = functools.partial(make_result, provenance=ESTIMATED)
"""Make a trial's record from its curve: `energyopt.testing.make_result`, of estimated joules."""


def uncounted(of: TrialResult) -> TrialResult:
    """Return the training without samples, steps and loss."""
    rows = (
        replace(checkpoint, samples=None, steps=None, loss=None) for checkpoint in of.checkpoints
    )
    return replace(of, checkpoints=Checkpoints.of(rows))


def trial(
    number: int,
    of: TrialResult | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    state: State | None = None,
    default: bool = False,
    overrides: tuple[str, ...] | None = None,
    values: tuple[float, ...] = (),
) -> TrialRecord:
    """Make a trial as the store would remember it.

    Args:
        number: Its number.
        of: Its record; without one it is still running, unless `state` says otherwise.
        params: What the sampler chose; `{"lr": (number + 1) / 100}` if not given.
        state: Its state; follows from the record if not given.
        default: Whether it is the default setup.
        overrides: Its command-line words; they follow from `params` if not given.
        values: What it told; for a complete trial they follow from the record if there is one.
    """
    params = {"lr": (number + 1) / 100} if params is None else params
    state = state or _state(of)
    told = state == "complete" and of is not None
    return TrialRecord(
        number=number,
        state=state,
        params=params,
        overrides=overrides or tuple(f"{key}={value}" for key, value in params.items()),
        values=_values(of) if told and of is not None else values,
        feasible=of is None or of.reached,
        reason="" if of is None else of.reason,
        default=default,
        result=of,
    )


def study(
    trials: Iterable[TrialRecord] = (),
    *,
    target: float | None = 0.9,
    name: str = "toy",
    overrides: tuple[str, ...] = (),
    metrics: tuple[Metric, ...] = METRICS,
) -> StudyRecord:
    """Make a study of some trials."""
    return StudyRecord(
        name=name,
        metrics=metrics,
        overrides=overrides,
        sweep=("lr=interval(0,1)",),
        target=target,
        trials=tuple(trials),
    )


@dataclass
class Counter:
    """A made-up energy counter that toy work advances, in J."""

    total_j: float = 0.0


class ToyMeter:
    """Reads a `Counter`; time is energy over 2 W.

    Args:
        counter: What it reads.
        factor: What it multiplies, to read what cannot be.
    """

    provenance = ESTIMATED

    def __init__(self, counter: Counter, factor: float = 1.0) -> None:
        self._counter = counter
        self._factor = factor
        self._began_j: float | None = None

    def start(self) -> None:
        assert self._began_j is None, "a window is open already"
        self._began_j = self._counter.total_j

    def stop(self) -> Energy:
        assert self._began_j is not None, "no window is open"
        energy_j = self._counter.total_j - self._began_j
        self._began_j = None
        return Energy(energy_j / 2, cpu_j=self._factor * energy_j)


@dataclass
class Scripted:
    """A paradigm that follows a script; the last accuracy and loss are repeated for ever.

    Building it costs 64 J, a warm-up 32 J, an evaluation 16 J, a sample 1 J.

    Attributes:
        counter: Its work is counted there.
        accuracies: One an evaluation; an exception is raised.
        losses: One a call of `train`; an exception is raised after half the work.
        batch_size: Samples a step.
        epoch_samples: Size of its training set.
        asked: Samples that each call of `train` asked for.
    """

    counter: Counter
    accuracies: Sequence[float | Exception] = (0.0,)
    losses: Sequence[float | Exception] = (1.0,)
    batch_size: int = 1
    epoch_samples: int = EPOCH_SAMPLES
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counter.total_j += 64
        self._accuracies = _endless(self.accuracies)
        self._losses = _endless(self.losses)

    def warm_up(self) -> None:
        self.counter.total_j += 32

    def train(self, samples: int) -> TrainStep:
        self.asked.append(samples)
        steps = -(-samples // self.batch_size)
        loss = next(self._losses)
        if isinstance(loss, Exception):
            self.counter.total_j += steps * self.batch_size / 2
            raise loss
        self.counter.total_j += steps * self.batch_size
        return TrainStep(steps * self.batch_size, steps, loss)

    def evaluate(self) -> float:
        self.counter.total_j += 16
        accuracy = next(self._accuracies)
        if isinstance(accuracy, Exception):
            raise accuracy
        return accuracy


@dataclass
class Pausable(Scripted):
    """A script that can be paused, and resumes at the same line."""

    trained: int = 0
    evaluated: int = 0

    def train(self, samples: int) -> TrainStep:
        self.trained += 1
        return super().train(samples)

    def evaluate(self) -> float:
        self.evaluated += 1
        return super().evaluate()

    def state(self) -> dict[str, Any]:
        return {"trained": self.trained, "evaluated": self.evaluated}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.trained, self.evaluated = state["trained"], state["evaluated"]
        self._losses = itertools.islice(self._losses, self.trained, None)
        self._accuracies = itertools.islice(self._accuracies, self.evaluated, None)


def _endless(script: Sequence[float | Exception]) -> Iterator[float | Exception]:
    return itertools.chain(script, itertools.repeat(script[-1]))


def _state(of: TrialResult | None) -> State:
    if of is None:
        return "running"
    if of.end in BROKEN:
        return "failed"
    if of.end == "paused":
        return "paused"
    return "pruned" if of.end in {"stopped", "diverged"} and not of.reached else "complete"


def _values(of: TrialResult) -> tuple[float, float]:
    energy_j = of.energy_to_target_j
    return (of.training_j if energy_j is None else energy_j, of.best_accuracy)
