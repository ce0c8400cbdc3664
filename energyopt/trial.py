"""The only training loop: train and evaluate in separate metered windows, keep the curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from energyopt.errors import HardwareError, TrialError
from energyopt.journal import JournalWriter
from energyopt.protocols import EnergyMeter, Paradigm, Trained, WarmsUp
from energyopt.records import (
    Checkpoint,
    End,
    Energy,
    Purpose,
    TrialResult,
    TrialStart,
    Window,
    total,
)

_EVALUATIONS_PER_EPOCH = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a trial trains and when it is scored.

    Attributes:
        target: Accuracy to reach, in [0, 1].
        epochs: The most epochs it may train.
        max_samples: Samples after which it ends in any case; None for no such end.
        eval_every: Samples between evaluations, the same for all batch sizes; None is a
            quarter of an epoch until the target is reached and an epoch after it (four
            evaluations an epoch cost 22-44 % of a small network's time).
        patience: Evaluations without a better accuracy, after the target, that end the trial;
            None trains all epochs.
        stop_at_target: End at the first evaluation at the target.
        max_loss_growth: Mean loss of a window, in units of the first window's, that counts
            as divergence.
    """

    target: float
    epochs: float
    max_samples: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    stop_at_target: bool = False
    max_loss_growth: float = 10.0

    def next_evaluation(self, samples: int, epoch_samples: int, *, reached: bool) -> int:
        """Samples since the first step at which to evaluate next.

        Marks are multiples counted from the start, so that a large batch that overshoots one
        does not shift the others.
        """
        if self.eval_every is not None:
            interval = float(self.eval_every)
        else:
            interval = epoch_samples / (1 if reached else _EVALUATIONS_PER_EPOCH)
        mark = math.ceil(round((math.floor(samples / interval + 1e-9) + 1) * interval, 6))
        return min(mark, self.last_sample(epoch_samples))

    def last_sample(self, epoch_samples: int) -> int:
        """Samples after which the trial has run its course."""
        last = max(1, round(self.epochs * epoch_samples))
        return last if self.max_samples is None else min(last, self.max_samples)


class _Recorder:
    """Meters windows and keeps what happened, in memory and in the journal."""

    def __init__(self, meter: EnergyMeter, journal: JournalWriter, start: TrialStart) -> None:
        self._meter = meter
        self._journal = journal
        self._start = start
        self._windows: list[Window] = []
        self.checkpoints: list[Checkpoint] = []
        journal.append(start)

    @contextmanager
    def window(self, purpose: Purpose) -> Iterator[None]:
        """Meter what runs inside; what it cost is kept even if it raises."""
        self._meter.start()
        try:
            yield
        finally:
            window = Window(purpose, _plausible(self._meter.stop()))
            self._windows.append(window)
            self._journal.append(window)

    def last(self) -> Energy:
        """Energy of the window closed last."""
        return self._windows[-1].energy

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep an evaluation."""
        self.checkpoints.append(checkpoint)
        self._journal.append(checkpoint)

    def result(self, end: End, reason: str) -> TrialResult:
        """The record of the trial.

        Raises:
            HardwareError: If the meter saw no energy in all the training.
        """
        trained = total(w.energy for w in self._windows if w.purpose == "training")
        if trained.total_j <= 0:
            raise HardwareError(
                f"{self._start.provenance.meter} read {trained.total_j} J over "
                f"{trained.time_s:.3g} s of training, which cannot be; train longer or choose "
                "another hardware=..."
            )
        return TrialResult.assemble(self._start, self._windows, self.checkpoints, end, reason)


def run_trial(
    make_paradigm: Callable[[], Paradigm],
    meter: EnergyMeter,
    plan: Plan,
    start: TrialStart,
    journal: JournalWriter,
) -> TrialResult:
    """Train once, from loading the data to the end of the plan.

    Args:
        make_paradigm: Loads the data and builds what is trained; its energy is booked as
            loading.
        meter: Meters each window.
        plan: When to evaluate and when to stop.
        start: What is known beforehand; it becomes part of the record.
        journal: Where progress and joules are appended.

    Returns:
        The record with the whole curve. A missed target or a diverged loss is an outcome.

    Raises:
        TrialError: If the paradigm breaks its contract.
        HardwareError: If the meter reads what cannot be.
    """
    recorder = _Recorder(meter, journal, start)
    with recorder.window("loading"):
        paradigm = make_paradigm()
    if isinstance(paradigm, WarmsUp):
        with recorder.window("warmup"):
            paradigm.warm_up()
    return recorder.result(*_train(paradigm, plan, recorder))


def _train(paradigm: Paradigm, plan: Plan, recorder: _Recorder) -> tuple[End, str]:
    epoch_samples = paradigm.epoch_samples
    _check_epoch(epoch_samples)
    samples = steps = 0
    ended: tuple[End, str] | None = None
    while ended is None:
        best = max((at.accuracy for at in recorder.checkpoints), default=0.0)
        mark = plan.next_evaluation(samples, epoch_samples, reached=best >= plan.target)
        with recorder.window("training"):
            trained = paradigm.train(mark - samples)
        training = recorder.last()
        _check_trained(trained)
        samples += trained.samples
        steps += trained.steps
        with recorder.window("evaluation"):
            accuracy = float(paradigm.evaluate())
        _check_accuracy(accuracy)
        recorder.add(
            Checkpoint(
                samples=samples,
                steps=steps,
                epoch=samples / epoch_samples,
                accuracy=accuracy,
                loss=trained.loss,
                training=training,
                evaluation=recorder.last(),
            )
        )
        ended = _end(recorder.checkpoints, plan, plan.last_sample(epoch_samples))
    return ended


def _end(checkpoints: list[Checkpoint], plan: Plan, last_sample: int) -> tuple[End, str] | None:
    """Why the trial is over after its latest checkpoint; None while it is not."""
    now = checkpoints[-1]
    first_loss = checkpoints[0].loss
    if not math.isfinite(now.loss):
        return "diverged", f"the training loss is {now.loss} at epoch {now.epoch:.3g}"
    if now.loss > plan.max_loss_growth * abs(first_loss):
        return (
            "diverged",
            f"the training loss grew from {first_loss:.3g} to {now.loss:.3g} "
            f"by epoch {now.epoch:.3g}",
        )
    hits = [i for i, at in enumerate(checkpoints) if at.accuracy >= plan.target]
    if hits and plan.stop_at_target:
        return "target", f"accuracy {now.accuracy:.4g} reached the target {plan.target:g}"
    if now.samples >= last_sample:
        return "epochs", f"trained all {now.epoch:.4g} epochs"
    if hits and plan.patience is not None:
        since_hit = checkpoints[hits[0] :]
        best = max(range(len(since_hit)), key=lambda i: since_hit[i].accuracy)
        if len(since_hit) - 1 - best >= plan.patience:
            return "plateau", f"no better accuracy in {plan.patience} evaluations"
    return None


def _plausible(energy: Energy) -> Energy:
    for name in ("time_s", "gpu_j", "cpu_j", "dram_j"):
        value = getattr(energy, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise HardwareError(
                f"the meter read {name}={value}, which cannot be; "
                "its counter may have been reset (driver reload) during the window"
            )
    return energy


def _check_epoch(epoch_samples: int) -> None:
    if epoch_samples <= 0:
        raise TrialError(
            f"the paradigm says epoch_samples={epoch_samples}; a training set of at least one "
            "sample is needed"
        )


def _check_trained(trained: Trained) -> None:
    if trained.samples <= 0 or trained.steps < 0:
        raise TrialError(
            f"train() returned samples={trained.samples}, steps={trained.steps}; "
            "it must train at least one batch and say so"
        )


def _check_accuracy(accuracy: float) -> None:
    if not 0 <= accuracy <= 1:
        raise TrialError(
            f"evaluate() returned {accuracy}; an accuracy in [0, 1] is expected, "
            "higher is better (divide a percentage by 100)"
        )
