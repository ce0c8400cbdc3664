"""The learning curve of a `Run`, and when its loop ends or pauses."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.metric import Monitor
from energyopt.core.trial_result import End, PausePoint
from energyopt.errors import TrialError
from energyopt.stopping.rules import Rules
from energyopt.training.ending import Ending
from energyopt.training.plan import Plan
from energyopt.training.recorder import Recorder
from energyopt.training.run_setup import Question

_ROUNDING = 1e-9  # of an epoch: rounding errors of fractions
# A power profile measures three limits at least, and the first epoch is as long as the first of
# them, or over before: with so many epochs there is time for all three.
_MIN_UNSEEN_EPOCHS = 3


@dataclass(slots=True)
class Counts:
    """The amounts that a run has trained; what its loop does not count is None.

    Attributes:
        epoch: Epochs at the last report.
        samples: Training samples seen.
        steps: Optimizer steps made.
    """

    epoch: float = 0.0
    samples: int | None = None
    steps: int | None = None

    def add_step(self, samples: int) -> None:
        """Count an optimizer step.

        Raises:
            TrialError: If the samples are no number.
        """
        self.samples = (self.samples or 0) + checked_samples("step", samples)
        self.steps = (self.steps or 0) + 1


@dataclass(frozen=True, slots=True)
class Point:
    """A report with the energy so far: given to `on_report`.

    Attributes:
        epoch: Epochs trained so far.
        value: The reported value.
        metrics: The other metrics of the report.
        training_j: Training energy so far, in J.
        training_s: Training time so far, in s.
        evaluation_j: Energy of the evaluations so far, in J.
        samples: Training samples seen so far; None where they are not counted.
        steps: Optimizer steps so far; None where they are not counted.
    """

    epoch: float
    value: float
    metrics: Mapping[str, Any]
    training_j: float
    training_s: float
    evaluation_j: float
    samples: int | None
    steps: int | None


class Progress:
    """Adds reports to the record, and decides after each whether the run ends or pauses.

    Args:
        recorder: The record.
        question: What the run is asked to reach.
        rules: Rules that may stop it; None for none.
        pause_at_j: Training energy at which its study pauses it, in J; None never.

    Attributes:
        counts: How much it has trained.
        epochs: Maximum number of epochs; None while no loop has declared it.
        others_samples: Training samples that other ranks have seen.
        n_ranks: Number of ranks of the training.
        ending: Decides when it ends or pauses.
    """

    def __init__(
        self,
        recorder: Recorder,
        question: Question,
        rules: Rules | None,
        pause_at_j: float | None,
    ) -> None:
        self._recorder = recorder
        plan = Plan(
            question.target,
            question.epochs or math.inf,
            stop_at_target=question.stop_at_target,
            pause_at_j=pause_at_j,
        )
        self.ending = Ending(recorder, plan, rules)
        self.counts = Counts()
        self.epochs = question.epochs
        self.others_samples = 0
        self.n_ranks = 1

    def resume(self, point: PausePoint) -> None:
        """Continue from a pause."""
        last = self._recorder.checkpoints[-1].epoch if self._recorder.checkpoints else 0.0
        self.counts = Counts(last, point.samples, point.steps)

    def epoch_of(self, epoch: Any, body: int | None) -> float:
        """Return the epochs trained at a report.

        Args:
            epoch: What the report says; None for one more.
            body: Number of the epoch in whose body the report is, from 0; None in other loops.

        Raises:
            TrialError: If they are no more than at the last report.
        """
        last = self.counts.epoch
        trained = epoch
        if trained is None:
            trained = last + 1 if body is None else body + 1
        if isinstance(trained, numbers.Real) and last < float(trained) < math.inf:
            return float(trained)  # of NumPy as well
        if epoch is None:
            raise TrialError(
                f"a second report() in epoch {body}; give both the epochs trained so far, such as "
                f"report(..., epoch={(body or 0) + 0.5:g})"
            )
        raise TrialError(
            f"report(epoch={epoch!r}) after epoch {last:g} is not allowed: it is the number of "
            "epochs trained so far, and grows; in a loop that counts from 0 give epoch + 1, or "
            "leave it out"
        )

    def add(self, value: float, epoch: float, training: Energy, evaluation: Energy) -> None:
        """Record an evaluation with the energy since the last one."""
        steps = self.counts.steps
        self._recorder.add(
            Checkpoint(self.samples, steps, epoch, value, None, training, evaluation)
        )

    @property
    def samples(self) -> int | None:
        """Training samples that all ranks have seen; None where they are not counted."""
        own = self.counts.samples
        return None if own is None else own + self.others_samples

    def remaining_samples(self) -> int | None:
        """Return how many samples the loop trains from here on, at least; None if that is unknown.

        An epoch has as many as the first one; before that is over, at least those counted so far.
        """
        if not self.epochs:
            return None
        samples = epoch_samples = self.counts.samples or 0
        first = next(iter(self._recorder.checkpoints), None)
        if first is not None and first.samples:
            epoch_samples = round(first.samples / first.epoch / self.n_ranks)
        elif self.epochs < _MIN_UNSEEN_EPOCHS:
            return None
        return max(round(self.epochs * epoch_samples) - samples, 0)

    def end(self, value: float, *, is_profiling: bool = False) -> tuple[End, str] | None:
        """Return how the run ends after a report, and why; None if it continues.

        Args:
            value: The reported value.
            is_profiling: Whether power limits are being tried, so that no rule knows the energy of
                a step yet.
        """
        diverged = self.ending.at_value(value, self.counts.epoch)
        if diverged is not None:
            return diverged
        epoch, last = self.counts.epoch, self.epochs
        trained_all = last is not None and epoch >= last - _ROUNDING
        ended = self.ending.at_evaluation(trained_all=trained_all)
        if ended is not None or is_profiling:
            return ended
        return self.ending.by_rule(last or epoch)

    def natural_end(self) -> tuple[End, str]:
        """Return how a run ended whose program ended its loop."""
        epoch = self.counts.epoch
        if not epoch:
            return "failed", "it ended without a report"
        if self.epochs is None or epoch >= self.epochs - _ROUNDING:
            return "epochs", f"trained all {epoch:.4g} epochs"
        return "epochs", f"its program left the loop after {epoch:.4g} of {self.epochs:.4g} epochs"


def checked_samples(call: str, samples: Any) -> int:
    """Return a number of samples.

    Args:
        call: Name of the function that was given it.
        samples: The number, also one of NumPy.

    Raises:
        TrialError: If it is none.
    """
    if (
        isinstance(samples, numbers.Integral)
        and not isinstance(samples, bool)
        and int(samples) >= 0
    ):
        return int(samples)
    raise TrialError(f"{call}(samples={samples!r}) is not allowed: a whole number is needed")


def checked_value(value: Any, monitor: Monitor) -> float:
    """Return a reported value as a number; NaN and infinity are allowed.

    Raises:
        TrialError: If it is something else, or no accuracy where one is expected.
    """
    try:
        number = value.item() if hasattr(value, "item") else value  # of torch and NumPy
    except (RuntimeError, ValueError, TypeError):  # more than one element
        number = None
    if not isinstance(number, numbers.Real) or isinstance(number, bool):
        text = repr(value) if isinstance(value, str | bool | None) else type(value).__name__
        raise TrialError(
            f"report({text}) is not allowed: one number is expected, the value of {monitor.name}"
        )
    reported = float(number)
    monitor.check_value(reported, "report() was given")
    return reported
