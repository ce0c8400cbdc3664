"""The measurements of a trial so far: its windows, its curve, its conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from energyopt.core.conditions import NOT_MEASURED
from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy, total
from energyopt.core.gpu_trace import GpuTrace, TraceSample
from energyopt.core.journal import JournalWriter, PausedRecord, Record, next_index
from energyopt.core.metric import Monitor
from energyopt.core.number_checks import is_number
from energyopt.core.protocols import EnergyMeter, TrainStep
from energyopt.core.trial_result import (
    TARGET_AT_FIRST_EVALUATION,
    End,
    PausePoint,
    Purpose,
    TrialResult,
    TrialStart,
    Window,
)
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import HardwareError, TrialError
from energyopt.hardware.cpu_disturbance import DisturbanceWatch
from energyopt.hardware.gpu_tracer import GpuTracer
from energyopt.hardware.plausibility import silent_part

_TRAINING: tuple[Purpose, ...] = ("training", "profiling")
_MIN_PERIODS = 1  # a reading may be off by one update period of the sensor


@dataclass(slots=True)
class TrainingInterval:
    """The training between two evaluations, of which power profiling may be a part.

    Attributes:
        samples: Samples trained.
        steps: Optimizer steps made.
        loss_sum: Sum of the loss over all samples.
        unprofiled: Energy at the trial's own limit.
        profiled: Energy while limits were tried.
        profiled_steps: Optimizer steps while limits were tried.
    """

    samples: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    unprofiled: Energy = field(default_factory=Energy)
    profiled: Energy = field(default_factory=Energy)
    profiled_steps: int = 0

    def add(self, step: TrainStep, energy: Energy, *, is_profiling: bool) -> None:
        """Add one call of `train`."""
        self.samples += step.samples
        self.steps += step.steps
        self.loss_sum += step.loss * step.samples
        if is_profiling:
            self.profiled += energy
            self.profiled_steps += step.steps
        else:
            self.unprofiled += energy

    def training(self, step: Energy | None) -> Energy:
        """Return the energy of the training.

        Steps that tried limits count as `step` each, the energy at the chosen limit, once one is
        chosen.
        """
        return self.unprofiled + (self.profiled if step is None else step * self.profiled_steps)


class Recorder:
    """Meters windows and records them with the curve, in memory and in the journal."""

    def __init__(
        self,
        meter: EnergyMeter,
        journal: JournalWriter,
        start: TrialStart,
        resumed: PausedRecord | None = None,
    ) -> None:
        self._meter = meter
        self._journal = journal
        self._start = start
        self._windows: list[Window] = []
        self._booked: dict[Purpose, Energy] = {}
        self.checkpoints: list[Checkpoint] = []
        self.next_pause = 0
        self.conditions = NOT_MEASURED
        self.upfront: list[UpfrontCost] = []
        self.head_targets: Mapping[str, float] = {}
        self.inference_j_per_1000: dict[str, float] = {}
        self.test_value: float | None = None
        self.trace: list[TraceSample] = []
        self.tracer: GpuTracer | None = None
        if resumed is not None:
            self.upfront += resumed.upfront
            self.trace += resumed.trace
            self._collect(resumed.windows)
            self.checkpoints += resumed.checkpoints
            self.conditions = resumed.conditions
            self.next_pause = 1 + (resumed.at.index or 0)
        self._watch = DisturbanceWatch(self.conditions.disturbance)
        journal.append(start)

    @contextmanager
    def window(self, purpose: Purpose, activity: str | None = None) -> Iterator[None]:
        """Meter the body of the context; its energy is recorded even if it raises.

        Args:
            purpose: Purpose of the energy.
            activity: Text for people who wait for it.
        """
        if activity is not None:
            self._journal.began(activity)
        if purpose in _TRAINING:
            self._watch.begin()
        self._mark_edge()
        self._meter.start()
        try:
            yield
        finally:
            self._add(Window(purpose, _checked(self._meter.stop())))
            self._mark_edge()

    @property
    def min_metered_s(self) -> float:
        """Training time after which the sensor has been updated during it, in s."""
        return _MIN_PERIODS * self._start.provenance.resolution_s

    @property
    def monitor(self) -> Monitor:
        """The metric that the trial is judged by."""
        return self._start.monitor

    @property
    def first_hit(self) -> int | None:
        """Position of the first evaluation at the target; None before there is one."""
        reaches, target = self.monitor.reaches, self._start.target
        hits = (i for i, point in enumerate(self.checkpoints) if reaches(point.accuracy, target))
        return next(hits, None)

    def last(self) -> Energy:
        """Return the energy of the window closed last."""
        return self._windows[-1].energy

    def move_to_training(self, energy: Energy) -> None:
        """Account for energy as training that was metered while limits were tried."""
        self._add(
            Window("training", energy, measured=False),
            Window("profiling", energy * -1, measured=False),
        )

    def add_elsewhere(self, purpose: Purpose, energy: Energy) -> None:
        """Account for energy that another process of the training metered."""
        self._add(Window(purpose, energy, measured=False))

    def restate(self, start: TrialStart) -> None:
        """Record the start again, once more of it is known."""
        self._start = start
        self._journal.append(start)

    def add(self, checkpoint: Checkpoint) -> None:
        """Record an evaluation: the next point of the curve."""
        checkpoint = dataclasses.replace(checkpoint, index=next_index(self.checkpoints))
        self.checkpoints.append(checkpoint)
        self._journal.append(checkpoint)
        if self.first_hit == len(self.checkpoints) - 1:
            self._record_disturbance()
            if len(self.checkpoints) == 1:
                self.add_flag(TARGET_AT_FIRST_EVALUATION)

    def correct(self, index: int, training: Energy) -> None:
        """Correct the energy of the training before an evaluation."""
        self.checkpoints[index] = dataclasses.replace(self.checkpoints[index], training=training)
        self._journal.append(self.checkpoints[index])

    def record_conditions(self, **conditions: Any) -> None:
        """Record measuring conditions."""
        self.conditions = dataclasses.replace(self.conditions, **conditions)
        self._journal.append(self.conditions)

    def add_flag(self, flag: str) -> None:
        """Record a warning about the measuring conditions, once."""
        if flag not in self.conditions.flags:
            self.record_conditions(flags=(*self.conditions.flags, flag))

    def add_sample(self, sample: TraceSample) -> None:
        """Record a sample of the GPUs; called by the thread that traces them."""
        self.trace.append(sample)
        self._journal.append(sample)

    def add_upfront_cost(self, upfront: UpfrontCost) -> None:
        """Record the cost of pretraining; a resumed trial keeps the cost from its first start."""
        if all(upfront.name != recorded.name for recorded in self.upfront):
            self.upfront.append(upfront)
            self._journal.append(upfront)

    @property
    def upfront_j(self) -> float:
        """The trial's share of the energy used before its first step, in J."""
        return sum(cost.share_j for cost in self.upfront)

    def began(self, activity: str) -> None:
        """Report the trial's current activity, for people who wait for it."""
        self._journal.began(activity)

    def sub_journal(self, purpose: Purpose) -> JournalWriter:
        """Return a journal for a training inside this one; its energy is recorded here."""
        return _SubJournal(self, purpose)

    def booked(self, purpose: Purpose) -> Energy:
        """Return the energy used for a purpose so far."""
        return self._booked.get(purpose, Energy())

    def spent(self) -> tuple[Energy, int]:
        """Return all energy so far, and the number of metered windows."""
        return total(w.energy for w in self._windows), sum(w.measured for w in self._windows)

    def pause(self, point: PausePoint) -> None:
        """Mark a pause in the journal, from which the trial can be resumed."""
        if self.first_hit is None:
            self._record_disturbance()
        self._journal.append(point)

    def check_energy(self) -> None:
        """Check that each part of the meter read energy during the training.

        Raises:
            HardwareError: If a part read none.
        """
        training = self.booked("training")
        silent = silent_part(training)
        if silent is not None:
            raise HardwareError(
                f"{self._start.provenance.meter} read 0 J of {silent} over {training.time_s:.3g} s "
                "of training, which cannot be; train longer or choose another hardware=..."
            )

    def result(self, end: End, reason: str, *, checked: bool = True) -> TrialResult:
        """Return the record of the trial.

        Args:
            end: How it ended.
            reason: Description of how it ended.
            checked: Whether to call `check_energy` first.

        Raises:
            HardwareError: If a part of the meter read no energy during the whole training.
        """
        if checked:
            self.check_energy()
        if self.first_hit is None and end != "paused":  # a pause has recorded it
            with suppress(TrialError):  # a full disk, which was said already
                self._record_disturbance()
        return TrialResult.assemble(
            self._start,
            (*self._journal.carried, *self._windows),
            self.checkpoints,
            end,
            reason,
            conditions=self.conditions,
            upfront=tuple(self.upfront),
            head_targets=dict(self.head_targets),
            inference_j_per_1000=self.inference_j_per_1000,
            test_value=self.test_value,
            trace=GpuTrace.of(self.trace),
        )

    def _record_disturbance(self) -> None:
        """Record what disturbed an estimate so far; energy counters do not depend on it."""
        disturbance = self._watch.so_far()
        if self._start.provenance.kind == "estimated" and disturbance is not None:
            self.record_conditions(disturbance=disturbance)

    def _mark_edge(self) -> None:
        if self.tracer is not None:
            self.tracer.mark()

    def _add(self, *windows: Window) -> None:
        self._collect(windows)
        self._journal.append(*windows)

    def _collect(self, windows: Iterable[Window]) -> None:
        for window in windows:
            self._windows.append(window)
            self._booked[window.purpose] = self.booked(window.purpose) + window.energy


class _SubJournal(JournalWriter):
    """Records only windows, all under one purpose of the enclosing trial."""

    def __init__(self, parent: Recorder, purpose: Purpose) -> None:
        super().__init__(None)
        self._parent = parent
        self._purpose = purpose

    def append(self, *records: Record) -> None:
        """Record the windows in the enclosing trial."""
        windows = [
            dataclasses.replace(record, purpose=self._purpose)
            for record in records
            if isinstance(record, Window)
        ]
        if windows:
            self._parent._add(*windows)  # noqa: SLF001  # a part of it

    def began(self, activity: str) -> None:
        """Report the current activity."""
        self._parent.began(f"{self._purpose}: {activity}")


def _checked(energy: object) -> Energy:
    """Return the energy that a meter read; raise if it is impossible."""
    if not isinstance(energy, Energy):
        raise HardwareError(f"the meter returned {energy!r}; an Energy is expected")
    parts = {name: getattr(energy, name) for name in ("time_s", "gpu_j", "cpu_j", "dram_j")}
    parts |= {f"gpus_j[{i}]": part for i, part in enumerate(energy.gpus_j)}
    for name, value in parts.items():
        if value is not None and not (is_number(value) and value >= 0):
            raise HardwareError(
                f"the meter read {name}={value!r}, which cannot be; "
                "its counter may have been reset (driver reload) during the window"
            )
    return energy
