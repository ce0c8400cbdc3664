"""What a trial has measured so far: its windows, its curve, its conditions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from energyopt.core.conditions import NOT_MEASURED
from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy, total
from energyopt.core.journal import JournalWriter, PausedRecord, Record, next_index
from energyopt.core.protocols import EnergyMeter, TrainStep
from energyopt.core.trial_result import End, PausePoint, Purpose, TrialResult, TrialStart, Window
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import HardwareError
from energyopt.hardware.plausibility import silent_part

_LEGIBLE_PERIODS = 1  # a sensor's update period is what a reading may be off by


@dataclass(slots=True)
class TrainingInterval:
    """The training between two evaluations, of which power profiling may be a part.

    Attributes:
        samples: Trained in all.
        steps: Made in all.
        loss_sum: Loss of all samples.
        plain: What was spent at the trial's own limit.
        tried: What was spent while limits were tried.
        tried_steps: The steps made meanwhile.
    """

    samples: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    plain: Energy = field(default_factory=Energy)
    tried: Energy = field(default_factory=Energy)
    tried_steps: int = 0

    def add(self, trained: TrainStep, spent: Energy, *, trying: bool) -> None:
        """Take in one call of `train`."""
        self.samples += trained.samples
        self.steps += trained.steps
        self.loss_sum += trained.loss * trained.samples
        if trying:
            self.tried += spent
            self.tried_steps += trained.steps
        else:
            self.plain += spent

    def training(self, step: Energy | None) -> Energy:
        """What the training cost: steps that tried limits cost `step` each, once that is known."""
        return self.plain + (self.tried if step is None else step * self.tried_steps)


class Recorder:
    """Meters windows and keeps what happened, in memory and in the journal."""

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
        if resumed is not None:
            self.upfront += resumed.upfront
            self._take(resumed.windows)
            self.checkpoints += resumed.checkpoints
            self.conditions = resumed.conditions
            self.next_pause = 1 + (resumed.at.index or 0)
        journal.append(start)

    @contextmanager
    def window(self, purpose: Purpose, doing: str | None = None) -> Iterator[None]:
        """Meter what runs inside; what it cost is kept even if it raises.

        Args:
            purpose: What it is for.
            doing: The same in words, where a person waits for it.
        """
        if doing is not None:
            self._journal.began(doing)
        self._meter.start()
        try:
            yield
        finally:
            self._add(Window(purpose, _plausible(self._meter.stop())))

    @property
    def legible_s(self) -> float:
        """Training time from which the sensor has seen something of it, in s."""
        return _LEGIBLE_PERIODS * self._start.provenance.resolution_s

    def last(self) -> Energy:
        """Energy of the window closed last."""
        return self._windows[-1].energy

    def rebook(self, energy: Energy) -> None:
        """Book what was spent while limits were tried as the training that it was, too."""
        self._add(
            Window("training", energy, measured=False),
            Window("profiling", energy * -1, measured=False),
        )

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep an evaluation: the next of the curve."""
        checkpoint = dataclasses.replace(checkpoint, index=next_index(self.checkpoints))
        self.checkpoints.append(checkpoint)
        self._journal.append(checkpoint)

    def correct(self, at: int, training: Energy) -> None:
        """Say anew what the training before an evaluation cost."""
        self.checkpoints[at] = dataclasses.replace(self.checkpoints[at], training=training)
        self._journal.append(self.checkpoints[at])

    def note(self, **conditions: Any) -> None:
        """Keep what was found out about the measuring conditions."""
        self.conditions = dataclasses.replace(self.conditions, **conditions)
        self._journal.append(self.conditions)

    def know(self, upfront: UpfrontCost) -> None:
        """Keep what knowledge cost; of a trial that goes on, what it said first stays."""
        if all(upfront.name != known.name for known in self.upfront):
            self.upfront.append(upfront)
            self._journal.append(upfront)

    @property
    def upfront_j(self) -> float:
        """What its knowledge cost before its first step, in J: its share of it."""
        return sum(each.share_j for each in self.upfront)

    def began(self, doing: str) -> None:
        """Say what the trial does now, for those who wait for it."""
        self._journal.began(doing)

    def part(self, purpose: Purpose) -> JournalWriter:
        """The journal of a training that is a part of this one: its joules are booked here."""
        return _Part(self, purpose)

    def booked(self, purpose: Purpose) -> Energy:
        """Energy spent on a purpose so far."""
        return self._booked.get(purpose, Energy())

    def spent(self) -> tuple[Energy, int]:
        """All energy so far, and the number of windows that it was read in."""
        return total(w.energy for w in self._windows), sum(w.measured for w in self._windows)

    def pause(self, at: PausePoint) -> None:
        """Mark in the journal that all up to here goes on later."""
        self._journal.append(at)

    def result(self, end: End, reason: str) -> TrialResult:
        """The record of the trial.

        Raises:
            HardwareError: If a part of the meter saw no energy in all the training.
        """
        trained = self.booked("training")
        silent = silent_part(trained)
        if silent is not None:
            raise HardwareError(
                f"{self._start.provenance.meter} read 0 J of {silent} over {trained.time_s:.3g} s "
                "of training, which cannot be; train longer or choose another hardware=..."
            )
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
        )

    def _add(self, *windows: Window) -> None:
        self._take(windows)
        self._journal.append(*windows)

    def _take(self, windows: Iterable[Window]) -> None:
        for window in windows:
            self._windows.append(window)
            self._booked[window.purpose] = self.booked(window.purpose) + window.energy


class _Part(JournalWriter):
    """Takes windows alone, all for one purpose of the trial that they are a part of."""

    def __init__(self, whole: Recorder, purpose: Purpose) -> None:
        super().__init__(None)
        self._whole = whole
        self._purpose = purpose

    def append(self, *records: Record) -> None:
        """Book what was spent."""
        windows = [each for each in records if isinstance(each, Window)]
        if windows:
            booked = (dataclasses.replace(each, purpose=self._purpose) for each in windows)
            self._whole._add(*booked)  # noqa: SLF001  # a part of it

    def began(self, doing: str) -> None:
        """Say what it does now."""
        self._whole.began(f"{self._purpose}: {doing}")


def _plausible(energy: object) -> Energy:
    if not isinstance(energy, Energy):
        raise HardwareError(f"the meter returned {energy!r}; an Energy is expected")
    parts = {name: getattr(energy, name) for name in ("time_s", "gpu_j", "cpu_j", "dram_j")}
    parts |= {f"gpus_j[{i}]": part for i, part in enumerate(energy.gpus_j)}
    for name, value in parts.items():
        if value is not None and not (_is_number(value) and math.isfinite(value) and value >= 0):
            raise HardwareError(
                f"the meter read {name}={value!r}, which cannot be; "
                "its counter may have been reset (driver reload) during the window"
            )
    return energy


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
