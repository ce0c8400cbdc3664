"""How a trial ends by itself: at the target, its last epoch, a plateau, or a loss that diverged."""

from __future__ import annotations

import math

from energyopt.core.curve import Checkpoint
from energyopt.core.metric import Monitor
from energyopt.core.trial_result import End
from energyopt.training.plan import Plan


def ending_of(
    checkpoints: list[Checkpoint], plan: Plan, last_sample: int, monitor: Monitor
) -> tuple[End, str] | None:
    """Return how a trial ended at its latest checkpoint, and why; None if it continues.

    Args:
        checkpoints: Its evaluations so far, at least one.
        plan: Its plan.
        last_sample: Samples after which it has trained all its epochs.
        monitor: The metric.
    """
    latest = checkpoints[-1]
    growth = _growth(checkpoints[0].loss, latest.loss, plan.max_loss_growth)
    if growth is not None:
        return "diverged", f"the training loss {growth} epoch {latest.epoch:.3g}"
    hits = [
        i for i, point in enumerate(checkpoints) if monitor.reaches(point.accuracy, plan.target)
    ]
    if hits and plan.stop_at_target:
        return "target", f"{monitor.name} {latest.accuracy:.4g} reached the target {plan.target:g}"
    if latest.samples is not None and latest.samples >= last_sample:
        return "epochs", f"trained all {latest.epoch:.4g} epochs"
    if hits and plan.patience is not None:
        since_hit = checkpoints[hits[0] :]
        best = max(range(len(since_hit)), key=lambda i: monitor.score(since_hit[i].accuracy))
        if len(since_hit) - 1 - best >= plan.patience:
            return "plateau", f"no better {monitor.name} in {plan.patience} evaluations"
    return None


def _growth(first: float | None, latest: float | None, max_growth: float) -> str | None:
    """Describe a loss that diverged, up to the epoch; return None if it did not."""
    if latest is None:
        return None
    if not math.isfinite(latest):
        return f"is {latest} at"
    if first is not None and latest > max_growth * abs(first):
        return f"grew from {first:.3g} to {latest:.3g} by"
    return None
