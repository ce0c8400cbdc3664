"""The records of a trial, from a measured window to its whole curve.

All numbers are SI with the unit as suffix (`_j`, `_s`, `_w`); a number without suffix
has no dimension. What was not measured is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from energyopt.core.conditions import NOT_MEASURED, Conditions, Machine
from energyopt.core.curve import Checkpoint, Checkpoints, Curve, CurvePoint
from energyopt.core.energy import Energy, total
from energyopt.core.gpu_trace import NO_TRACE, GpuTrace
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.core.window_quality import QUALITY_PERIODS, disturbance_flags, window_flags

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
"""The purpose of a window's energy; energy is summed by purpose.

`pretraining` is the whole training of a source or a teacher by this trial; `preparation` is a
paradigm's work before its first step, such as a teacher's passes; `inference` is the measurement of
the energy of inference, and the pass over the test split.

`restarted` is the energy of earlier executions of the trial that were cut; `idle` is waiting for a
GPU to cool down and measuring its idle power; `profiling` is the cost of trying power limits beyond
training at the chosen one.
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
that is paused can resume, and its measurements so far are as valid as those of a stopped one."""

METRIC_DIVERGED = "the metric "
"""Beginning of the reason of a trial whose metric was NaN or infinite."""

TARGET_AT_FIRST_EVALUATION = "target_at_first_evaluation"
"""Flag of a trial whose first evaluation was at the target already."""

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
        uncertainty: Description of the error.
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
        """The properties that all trials of a study share: kind, meter, scope and device model."""
        return (self.kind, self.meter, self.scope, self.device)

    def __str__(self) -> str:
        return f"{self.kind} by {self.meter} ({self.scope}) on {self.device}"


@dataclass(frozen=True, slots=True)
class TrialStart:
    """The record of a trial before its first window.

    Attributes:
        target: Value of the metric to reach.
        epochs: Maximum number of epochs.
        seed: Seed of weights and data order.
        provenance: Where its joules will come from.
        flags: Warnings about the measuring conditions, as short words.
        machine: Its hardware and software; None in records from older versions.
        quality_periods: Required lengths of a training for its sensor: see
            `window_quality.length_quality`.
        monitor: The metric that it is judged by; accuracy in records from older versions.
    """

    target: float
    epochs: float
    seed: int
    provenance: Provenance
    flags: tuple[str, ...] = ()
    machine: Machine | None = None
    quality_periods: tuple[float, ...] = QUALITY_PERIODS
    monitor: Monitor = ACCURACY


@dataclass(frozen=True, slots=True)
class Window:
    """One metered window: its purpose and its energy.

    Attributes:
        purpose: Its purpose.
        energy: Its energy; negative if it moves energy from this purpose to another.
        measured: Whether it was read from the meter; else it moves energy between purposes, or is
            what other ranks of the training metered.
    """

    purpose: Purpose
    energy: Energy
    measured: bool = True


@dataclass(frozen=True, slots=True)
class PausePoint:
    """A pause of a trial, with the part of its next checkpoint that came before the pause.

    What was not counted is None.

    Attributes:
        samples: Training samples seen since the first step.
        steps: Optimizer steps since the first.
        loss_sum: Loss of all samples since the last checkpoint.
        training: Energy of the training since the last checkpoint.
        index: Its number among the pauses of the trial, from 0. None before it is numbered, and in
            journals from older versions, whose pauses are identified by samples.
        state: Digest of the file that holds its training state; None in older journals.
    """

    samples: int | None
    steps: int | None
    loss_sum: float | None
    training: Energy
    index: int | None = field(default=None, compare=False)  # its position, not its content
    state: str | None = field(default=None, compare=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PausePoint:
        """Read one from plain data."""
        return cls(**{**data, "training": Energy.from_dict(data["training"])})


@dataclass(frozen=True)  # without slots: the cached curve needs a __dict__
class TrialResult:
    """The record of a trial; it carries the whole curve of checkpoints.

    Attributes:
        start: The record before the first window.
        checkpoints: All evaluations, in order.
        books: Energy by purpose: everything the trial used.
        end: How it ended.
        reason: Description of how it ended.
        conditions: Measurements around its training.
        upfront: Energy used before its first step: pretraining, teacher, preparation.
        head_targets: Target of each head, for several heads.
        inference_j_per_1000: Energy of 1,000 inferences of each metered model, in J; the first is
            the trained model.
        test_value: The metric on the test split, of the model as the training ended; None where it
            was not asked for.
        test_samples: Number of test samples of which its test value is a share; None if it was not
            tested, or is no share of them.
        trace: Samples of its GPUs over time.
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
    test_value: float | None = None
    test_samples: int | None = None
    trace: GpuTrace = NO_TRACE

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
        """Sum the windows by purpose and make the record.

        Args:
            start: The record before the first window.
            windows: All windows.
            checkpoints: All evaluations, in order.
            end: How it ended.
            reason: Description of how it ended.
            conditions: Measurements around its training.
            **more: Its other attributes.
        """
        books: dict[Purpose, Energy] = {}
        for window in windows:
            books[window.purpose] = books.get(window.purpose, Energy()) + window.energy
        return cls(start, Checkpoints.of(checkpoints), books, end, reason, conditions, **more)

    @property
    def target(self) -> float:
        """Value of the metric to reach."""
        return self.start.target

    @property
    def monitor(self) -> Monitor:
        """The metric that it is judged by."""
        return self.start.monitor

    @property
    def valid(self) -> bool:
        """True if the trial was metered to its end, so that its curve may be compared."""
        return self.end not in BROKEN

    @cached_property
    def curve(self) -> Curve:
        """The checkpoints with training energy and time summed from the first step.

        Each point includes the trial's share of the energy used before that.
        """
        upfront_s = sum(cost.share_s for cost in self.upfront)
        return self.checkpoints.curve(self.upfront_j, upfront_s, monitor=self.monitor)

    @property
    def upfront_j(self) -> float:
        """The trial's share of the energy used before its first step, in J."""
        return sum(cost.share_j for cost in self.upfront)

    def first_at(self, target: float) -> CurvePoint | None:
        """Return the first evaluation at a target or better, or None if it was missed."""
        if target not in self._hits:
            self._hits[target] = self.curve.first_at(target)
        return self._hits[target]

    @cached_property
    def _hits(self) -> dict[float, CurvePoint | None]:
        """The first evaluations at the targets that were asked for."""
        return {}

    @property
    def hit(self) -> CurvePoint | None:
        """The first evaluation at the trial's own target or better."""
        return self.first_at(self.target)

    @property
    def reached(self) -> bool:
        """True if an evaluation was at the target or better."""
        return self.hit is not None

    @property
    def energy_to_target_j(self) -> float | None:
        """Energy up to the first evaluation at the target, in J; None if missed.

        It includes the trial's share of the energy used before its first step.
        """
        return None if self.hit is None else self.hit.training_j

    @property
    def time_to_target_s(self) -> float | None:
        """Training time up to the first evaluation at the target, in s; None if missed."""
        return None if self.hit is None else self.hit.training_s

    @property
    def best_value(self) -> float | None:
        """The best value of the metric of all evaluations; None without any."""
        return self.curve.best

    @property
    def best_accuracy(self) -> float:
        """The best value of the metric of all evaluations; 0 without any."""
        return self.best_value or 0.0

    @property
    def metric_diverged(self) -> bool:
        """True if it ended because an evaluation was NaN or infinite: it missed the target."""
        return self.end == "diverged" and self.reason.startswith(METRIC_DIVERGED)

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
        """Return the energy used for a purpose."""
        return self.books.get(purpose, Energy())

    @property
    def training_j(self) -> float:
        """All training energy, in J, also after the target."""
        return self.booked("training").total_j

    @property
    def cost_j(self) -> float:
        """Training energy with the share of the energy used before the first step, in J."""
        return self.upfront_j + self.training_j

    @property
    def spent(self) -> Energy:
        """All energy that the trial used, by device."""
        return total(self.books.values())

    @property
    def spent_j(self) -> float:
        """All energy that the trial used, in J: its part of `search_energy_j`."""
        return sum(energy.total_j for energy in self.books.values())

    @property
    def energy_idle_j(self) -> float | None:
        """Idle energy of the GPUs for the time of the training, in J; None if unknown.

        E_idle = P_idle x t_training.
        """
        idle_w = self.conditions.idle_w
        return None if idle_w is None else idle_w * self.booked("training").time_s

    @property
    def energy_net_j(self) -> float | None:
        """Training energy of the GPUs above idle, in J; reported in addition to the gross one."""
        idle_j, gpu_j = self.energy_idle_j, self.booked("training").gpu_j
        return None if idle_j is None or gpu_j is None else gpu_j - idle_j

    @property
    def flags(self) -> tuple[str, ...]:
        """Warnings about how its energy to the target was measured; all training if it missed."""
        return self.flags_at(self.hit)

    def flags_at(self, point: CurvePoint | None) -> tuple[str, ...]:
        """Return the warnings about the energy up to a point of its curve, or of all training.

        The length is judged of the window behind that number.
        """
        start, windows = self.start, self.checkpoints.training
        training = self.booked("training")
        training_s, cpu_j = training.time_s, training.cpu_j or 0.0
        if point is not None:
            end = point.index + 1
            training_s = sum(windows.time_s[:end])
            cpu_j = sum(part_j or 0.0 for part_j in (windows.cpu_j or ())[:end])
        upfront = (flag for cost in self.upfront for flag in cost.warnings)
        measured = (*start.flags, *self.conditions.flags, *upfront)
        length = window_flags(training_s, cpu_j, start.provenance, start.quality_periods)
        return (*measured, *length, *disturbance_flags(self.conditions.disturbance))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        test = {"test_value": self.test_value, "test_samples": self.test_samples}
        tested = {name: value for name, value in test.items() if value is not None}
        return {
            "start": asdict(self.start),
            "checkpoints": self.checkpoints.to_dict(),
            "books": {purpose: asdict(energy) for purpose, energy in self.books.items()},
            "end": self.end,
            "reason": self.reason,
            "conditions": asdict(self.conditions),
            "upfront": [cost.to_dict() for cost in self.upfront],
            "head_targets": dict(self.head_targets),
            "inference_j_per_1000": dict(self.inference_j_per_1000),
            **tested,
            **({"trace": self.trace.text} if self.trace else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialResult:
        """Read what `to_dict` wrote."""
        return cls(
            start=start_from_dict(data["start"]),
            checkpoints=Checkpoints.from_dict(data["checkpoints"]),
            books={purpose: Energy.from_dict(energy) for purpose, energy in data["books"].items()},
            end=data["end"],
            reason=data["reason"],
            conditions=Conditions.from_dict(data["conditions"])
            if "conditions" in data
            else NOT_MEASURED,
            upfront=tuple(map(UpfrontCost.from_dict, data.get("upfront", ()))),
            head_targets=data.get("head_targets", {}),
            inference_j_per_1000=data.get("inference_j_per_1000", {}),
            test_value=data.get("test_value"),
            test_samples=data.get("test_samples"),
            trace=GpuTrace(data.get("trace", "")),
        )


def start_from_dict(data: Mapping[str, Any]) -> TrialStart:
    """Read a `TrialStart` from plain data."""
    fields = dict(data)
    fields["provenance"] = Provenance(**fields["provenance"])
    fields["flags"] = tuple(fields["flags"])
    fields["machine"] = fields.get("machine") and Machine.from_dict(fields["machine"])
    fields["quality_periods"] = tuple(fields.get("quality_periods", QUALITY_PERIODS))
    if "monitor" in fields:
        fields["monitor"] = Monitor(**fields["monitor"])
    return TrialStart(**fields)


def window_from_dict(data: Mapping[str, Any]) -> Window:
    """Read a `Window` from plain data."""
    return Window(data["purpose"], Energy.from_dict(data["energy"]), data.get("measured", True))
