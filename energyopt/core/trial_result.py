"""The records of a trial, from a measured window to its whole curve.

All numbers are SI with the unit as suffix (`_j`, `_s`, `_w`); a number without suffix
has no dimension. What was not measured is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from energyopt.core.conditions import NOT_MEASURED, Conditions, Machine
from energyopt.core.curve import Checkpoint, Checkpoints, Curve, CurvePoint
from energyopt.core.energy import Energy
from energyopt.core.upfront_cost import UpfrontCost

Kind = Literal["measured", "estimated", "replayed", "simulated"]
"""Provenance of a number: read from a sensor, modelled, played back, or made up for a test."""

Purpose = Literal[
    "restarted",
    "idle",
    "pretraining",
    "loading",
    "warmup",
    "preparation",
    "profiling",
    "training",
    "evaluation",
    "inference",
]
"""What a window's energy was spent on; each has its own column in the books.

`pretraining` is the whole training of a source or a teacher, where this trial made it;
`preparation` is what a paradigm pays before its first step, such as a teacher's passes; `inference`
is measuring what an answer costs.

`restarted` is what executions of the same trial burnt that were cut before this one; `idle` is
waiting for a GPU to cool down and measuring what it draws at rest; `profiling` is what trying
power limits cost beyond training at the limit that was chosen.
"""

End = Literal[
    "target",
    "epochs",
    "plateau",
    "diverged",
    "stopped",
    "paused",
    "failed",
    "interrupted",
    "lost",
]
"""How a trial ended. The first three ran their course; the last three left no valid result; one
that is paused can go on, and what it measured so far is as valid as that of one that stopped."""

RAN_ITS_COURSE: frozenset[End] = frozenset({"target", "epochs", "plateau"})
BROKEN: frozenset[End] = frozenset({"failed", "interrupted", "lost"})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a trial's joules come from.

    Attributes:
        kind: Measured, estimated, replayed or simulated.
        meter: Name of the meter with the constants that change its numbers.
        version: Version of the meter, such as "zeus 0.16.0".
        scope: What the joules cover, such as "GPU board" or "CPU package + DRAM".
        device: Model of the device that trains, such as "NVIDIA H200".
        host: Name of the machine.
        uncertainty: What is known of the error, in words.
        resolution_s: Update period of the sensor, in s; 0 where it does not matter.
    """

    kind: Kind
    meter: str
    version: str
    scope: str
    device: str
    host: str
    uncertainty: str
    resolution_s: float = 0.0

    @property
    def binding(self) -> tuple[str, str, str, str]:
        """What all trials of a study must share: kind, meter, scope and device model."""
        return (self.kind, self.meter, self.scope, self.device)

    def __str__(self) -> str:
        return f"{self.kind} by {self.meter} ({self.scope}) on {self.device}"


QUALITY_PERIODS = (50.0, 100.0, 600.0)
"""Update periods of a sensor that make a training's joules poor, short and good (5, 10 and 60 s
for the 100 ms of a GPU)."""


@dataclass(frozen=True, slots=True)
class TrialStart:
    """What is known of a trial before its first window.

    Attributes:
        target: Accuracy to reach, in [0, 1].
        epochs: The most epochs it may train.
        seed: Seed of weights and data order.
        provenance: Where its joules will come from.
        flags: Warnings about the measuring conditions, as short words.
        machine: What it runs on and with; None in records of old.
        quality_periods: How long a training must be for its sensor: see `length_quality`.
    """

    target: float
    epochs: float
    seed: int
    provenance: Provenance
    flags: tuple[str, ...] = ()
    machine: Machine | None = None
    quality_periods: tuple[float, ...] = QUALITY_PERIODS


@dataclass(frozen=True, slots=True)
class Window:
    """One metered window: what it was for and what it cost.

    Attributes:
        purpose: What it was for.
        energy: What it cost; negative where it was booked for this purpose and is not any more.
        measured: Whether it was read from the meter; else it moves what was, between purposes.
    """

    purpose: Purpose
    energy: Energy
    measured: bool = True


@dataclass(frozen=True, slots=True)
class PausePoint:
    """Where a trial paused: what its next checkpoint will be made of, beside what is to come.

    What was not counted is None.

    Attributes:
        samples: Training samples seen since the first step.
        steps: Optimizer steps since the first.
        loss_sum: Loss of all samples since the last checkpoint.
        training: Energy of the training since the last checkpoint.
        index: Its number among the pauses of the trial, from 0. None where nobody has numbered
            it yet, and in lines of old, which are told apart by samples.
    """

    samples: int | None
    steps: int | None
    loss_sum: float | None
    training: Energy
    index: int | None = field(default=None, compare=False)  # where it is, not what it is

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PausePoint:
        """Read one from plain data."""
        return cls(**{**data, "training": Energy.from_dict(data["training"])})


@dataclass(frozen=True)  # without slots: there is no place for the curve in them
class TrialResult:
    """The record of a trial; it carries the whole curve of checkpoints.

    Attributes:
        start: What was known before the first window.
        checkpoints: All evaluations, in order.
        books: Energy by purpose: everything the trial burnt.
        end: How it ended.
        reason: The same in words, for people.
        conditions: What was measured around its training.
        upfront: What its knowledge cost before its first step.
        head_targets: Accuracy that each head was to reach, where there are several.
        inference_j_per_1000: Energy of 1,000 answers of each model that was asked, in J; the
            first is the one that was trained.
    """

    start: TrialStart
    checkpoints: Checkpoints
    books: Mapping[Purpose, Energy]
    end: End
    reason: str
    conditions: Conditions = NOT_MEASURED
    upfront: tuple[UpfrontCost, ...] = ()
    head_targets: Mapping[str, float] = field(default_factory=dict)
    inference_j_per_1000: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def assemble(
        cls,
        start: TrialStart,
        windows: Iterable[Window],
        checkpoints: Iterable[Checkpoint],
        end: End,
        reason: str,
        *,
        conditions: Conditions = NOT_MEASURED,
        **more: Any,
    ) -> TrialResult:
        """Book the windows by purpose and make the record.

        Args:
            start: What was known before the first window.
            windows: All windows.
            checkpoints: All evaluations, in order.
            end: How it ended.
            reason: The same in words.
            conditions: What was measured around its training.
            **more: Its other attributes.
        """
        books: dict[Purpose, Energy] = {}
        for window in windows:
            books[window.purpose] = books.get(window.purpose, Energy()) + window.energy
        return cls(start, Checkpoints.of(checkpoints), books, end, reason, conditions, **more)

    @property
    def target(self) -> float:
        """Accuracy to reach, in [0, 1]."""
        return self.start.target

    @property
    def valid(self) -> bool:
        """Whether the trial was metered to its end, so that its curve may be compared."""
        return self.end not in BROKEN

    @cached_property
    def curve(self) -> Curve:
        """The checkpoints with training energy and time summed from the first step.

        The share of what went into it before that is a part of each point.
        """
        return self.checkpoints.curve(self.upfront_j, sum(each.share_s for each in self.upfront))

    @property
    def upfront_j(self) -> float:
        """What its knowledge cost before its first step, in J: its share of it."""
        return sum(each.share_j for each in self.upfront)

    def first_at(self, target: float) -> CurvePoint | None:
        """The first evaluation at or above a target, or None where it was missed."""
        return self.curve.first_at(target)

    @property
    def hit(self) -> CurvePoint | None:
        """The first evaluation at or above the trial's own target."""
        return self.first_at(self.target)

    @property
    def reached(self) -> bool:
        """Whether an evaluation was at or above the target."""
        return self.hit is not None

    @property
    def energy_to_target_j(self) -> float | None:
        """Energy up to the first evaluation at the target, in J; None if missed.

        That of training, and its share of what went into it before.
        """
        return None if self.hit is None else self.hit.training_j

    @property
    def time_to_target_s(self) -> float | None:
        """Training time up to the first evaluation at the target, in s; None if missed."""
        return None if self.hit is None else self.hit.training_s

    @property
    def best_accuracy(self) -> float:
        """The best validation accuracy of all evaluations; 0 without any."""
        return max(self.curve.accuracy, default=0.0)

    @property
    def epoch_j(self) -> float | None:
        """Training energy of an epoch at the trial's power limit, in J; None before any."""
        curve = self.curve
        if not len(curve):
            return self.conditions.epoch_j
        return (curve.training_j[-1] - self.upfront_j) / curve.epoch[-1]

    @property
    def stopped_by(self) -> str | None:
        """Name of the rule that stopped it, which its reason begins with; None if none did."""
        return self.reason.partition(":")[0] if self.end == "stopped" else None

    def booked(self, purpose: Purpose) -> Energy:
        """Energy spent on a purpose."""
        return self.books.get(purpose, Energy())

    @property
    def training_j(self) -> float:
        """All training energy, in J: also what came after the target."""
        return self.booked("training").total_j

    @property
    def cost_j(self) -> float:
        """The same with its share of what went into it before, in J."""
        return self.upfront_j + self.training_j

    @property
    def spent_j(self) -> float:
        """Everything the trial burnt, in J: its share of `search_energy_j`."""
        return sum(energy.total_j for energy in self.books.values())

    @property
    def energy_idle_j(self) -> float | None:
        """What the GPUs would have drawn at rest during the training, in J; None if unknown."""
        idle_w = self.conditions.idle_w
        return None if idle_w is None else idle_w * self.booked("training").time_s

    @property
    def energy_net_j(self) -> float | None:
        """Training energy of the GPUs beyond that, in J: beside the gross joules, not for them."""
        idle_j, gpu_j = self.energy_idle_j, self.booked("training").gpu_j
        return None if idle_j is None or gpu_j is None else gpu_j - idle_j

    @property
    def flags(self) -> tuple[str, ...]:
        """Warnings about the measuring conditions, the length of the measurement included."""
        start = self.start
        training_s = self.booked("training").time_s
        quality = length_quality(training_s, start.provenance, start.quality_periods)
        length = () if quality == "ok" else (f"{quality}_window",)
        before = (flag for each in self.upfront for flag in each.warnings)
        return (*start.flags, *self.conditions.flags, *before, *length)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "start": asdict(self.start),
            "checkpoints": self.checkpoints.to_dict(),
            "books": {purpose: asdict(energy) for purpose, energy in self.books.items()},
            "end": self.end,
            "reason": self.reason,
            "conditions": asdict(self.conditions),
            "upfront": [each.to_dict() for each in self.upfront],
            "head_targets": dict(self.head_targets),
            "inference_j_per_1000": dict(self.inference_j_per_1000),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialResult:
        """Read what `to_dict` wrote."""
        return cls(
            start=start_from_dict(data["start"]),
            checkpoints=Checkpoints.from_dict(data["checkpoints"]),
            books={purpose: Energy.from_dict(of) for purpose, of in data["books"].items()},
            end=data["end"],
            reason=data["reason"],
            conditions=Conditions.from_dict(data["conditions"])
            if "conditions" in data
            else NOT_MEASURED,
            upfront=tuple(map(UpfrontCost.from_dict, data.get("upfront", ()))),
            head_targets=data.get("head_targets", {}),
            inference_j_per_1000=data.get("inference_j_per_1000", {}),
        )


def length_quality(
    training_s: float, provenance: Provenance, periods: Sequence[float] = QUALITY_PERIODS
) -> Literal["ok", "short", "poor", "invalid"]:
    """Judge whether a trial trained long enough for its sensor.

    A counter that moves every 100 ms is off by up to 2 % after 5 s and by 0.2 % after 60 s
    (quantisation alone). Meters without such a period are never too short.

    Args:
        training_s: Summed training time of the trial, in s.
        provenance: The meter, with its sensor's update period.
        periods: Update periods from which it is poor, short and ok.
    """
    poor_s, short_s, ok_s = (count * provenance.resolution_s for count in periods)
    if provenance.resolution_s == 0 or training_s >= ok_s:
        return "ok"
    if training_s >= short_s:
        return "short"
    return "poor" if training_s >= poor_s else "invalid"


def start_from_dict(data: Mapping[str, Any]) -> TrialStart:
    """Read a `TrialStart` from plain data."""
    fields = dict(data)
    fields["provenance"] = Provenance(**fields["provenance"])
    fields["flags"] = tuple(fields["flags"])
    fields["machine"] = fields.get("machine") and Machine.from_dict(fields["machine"])
    fields["quality_periods"] = tuple(fields.get("quality_periods", QUALITY_PERIODS))
    return TrialStart(**fields)


def window_from_dict(data: Mapping[str, Any]) -> Window:
    """Read a `Window` from plain data."""
    return Window(data["purpose"], Energy.from_dict(data["energy"]), data.get("measured", True))
