"""How a training ends or pauses by itself: our own loop and those of `Run` decide it here."""

from __future__ import annotations

import math

from energyopt.core.curve import Checkpoints
from energyopt.core.history import TrialProgress
from energyopt.core.trial_result import METRIC_DIVERGED, End
from energyopt.core.units import joules
from energyopt.stopping.rules import Rules
from energyopt.training.plan import Plan
from energyopt.training.recorder import Recorder


class Ending:
    """Decides from the record of a training whether it ends or pauses, and says why.

    Args:
        recorder: The record.
        plan: The plan of the training.
        rules: Rules that may stop it before its plan does; None for none.
    """

    def __init__(self, recorder: Recorder, plan: Plan, rules: Rules | None) -> None:
        self._recorder = recorder
        self._plan = plan
        self._rules = rules

    def at_value(self, value: float, epoch: float) -> tuple[End, str] | None:
        """Return how it ends if a value is not finite; such a value is no point of the curve."""
        if math.isfinite(value):
            return None
        name = self._recorder.monitor.name
        return "diverged", f"{METRIC_DIVERGED}{name} is {value} at epoch {epoch:.3g}"

    def at_evaluation(self, *, trained_all: bool) -> tuple[End, str] | None:
        """Return how it ends at its latest evaluation; None if it continues.

        Args:
            trained_all: Whether it has trained all that was planned.
        """
        checkpoints, monitor, plan = self._recorder.checkpoints, self._recorder.monitor, self._plan
        latest = checkpoints[-1]
        growth = _growth(checkpoints[0].loss, latest.loss, plan.max_loss_growth)
        if growth is not None:
            return "diverged", f"the training loss {growth} epoch {latest.epoch:.3g}"
        first_hit = self._recorder.first_hit
        if first_hit is not None and plan.stop_at_target:
            value = f"{monitor.name} {latest.accuracy:.4g}"
            return "target", f"{value} reached the target {plan.target:g}"
        if trained_all:
            return "epochs", f"trained all {latest.epoch:.4g} epochs"
        if first_hit is not None and plan.patience is not None:
            scores = [monitor.score(point.accuracy) for point in checkpoints[first_hit:]]
            if len(scores) - 1 - scores.index(max(scores)) >= plan.patience:
                return "plateau", f"no better {monitor.name} in {plan.patience} evaluations"
        return None

    def by_rule(self, last_epoch: float) -> tuple[End, str] | None:
        """Return how a stopping rule ends it at its latest evaluation; None if it continues.

        Args:
            last_epoch: Maximum number of epochs.
        """
        if not self._rules:
            return None
        monitor, upfront_j = self._recorder.monitor, self._recorder.upfront_j
        curve = Checkpoints.of(self._recorder.checkpoints).curve(upfront_j, monitor=monitor)
        if not len(curve):
            return None
        epoch_j = (curve.training_j[-1] - upfront_j) / curve.epoch[-1]
        progress = TrialProgress(
            curve.in_epochs(epoch_j, upfront_j),
            curve.training_j,
            curve.scores,
            monitor.score(self._plan.target),
            last_epoch + upfront_j / epoch_j,
            beyond=not self._plan.stop_at_target,
            monitor=monitor,
        )
        reason = self._rules.stop(progress)
        return None if reason is None else ("stopped", reason)

    def pause_is_due(self) -> bool:
        """Return True if it has used the energy at which it pauses, and the sensor has seen it."""
        if self._plan.pause_at_j is None:
            return False
        training = self._recorder.booked("training")
        energy_j = self._recorder.upfront_j + training.total_j
        return energy_j >= self._plan.pause_at_j and training.time_s >= self._recorder.min_metered_s

    def pause(self, epochs: float) -> tuple[End, str]:
        """Record the energy of an epoch for those who wait, and return that it pauses.

        Args:
            epochs: Epochs trained so far.
        """
        training_j = self._recorder.booked("training").total_j
        self._recorder.record_conditions(epoch_j=training_j / epochs)
        epochs_text = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
        return "paused", f"paused after {epochs_text}, {joules(training_j)} of training"


def _growth(first: float | None, latest: float | None, max_growth: float) -> str | None:
    """Describe a loss that diverged, up to the epoch; return None if it did not."""
    if latest is None:
        return None
    if not math.isfinite(latest):
        return f"is {latest} at"
    if first is not None and latest > max_growth * abs(first):
        return f"grew from {first:.3g} to {latest:.3g} by"
    return None
