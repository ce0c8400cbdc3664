"""Read the trials of a study, in Optuna's tables, as the curves that a search looks at."""

from __future__ import annotations

from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from energyopt.search.observed import CURVE, Observed
from energyopt.store.settlement import DEFAULT_SETUP, PAUSED


def observed_of(trial: FrozenTrial) -> Observed:
    """A trial as far as it has come, from what was told of it.

    Args:
        trial: Running, paused or ended; one of another app has no curve.
    """
    told = trial.user_attrs
    curve = told.get(CURVE, {})
    joules, epoch_j = tuple(curve.get("joules", ())), curve.get("epoch_j")
    epochs = tuple(curve.get("epochs", ()))
    upfront_j = curve.get("upfront_j", 0.0)
    if upfront_j and epoch_j:  # knowledge that it came with is epochs that it has spent
        epochs = tuple(energy_j / epoch_j for energy_j in joules)
    # What was burnt for that may be less than its share, or more: the share is what counts.
    spent_j = float(told.get("spent_j", 0.0)) - float(told.get("knowledge_j", 0.0)) + upfront_j
    return Observed(
        number=trial.number,
        params=trial.params,
        epochs=epochs,
        joules=joules,
        accuracy=tuple(curve.get("accuracy", ())),
        epoch_j=epoch_j,
        spent_j=spent_j,
        state=_state(trial),
        reached="energy_to_target_j" in told,
        default=bool(told.get(DEFAULT_SETUP)),
    )


def _state(trial: FrozenTrial) -> Literal["running", "paused", "ended"]:
    if trial.state.is_finished():
        return "ended"
    is_paused = trial.state == TrialState.RUNNING and trial.user_attrs.get(PAUSED)
    return "paused" if is_paused else "running"
