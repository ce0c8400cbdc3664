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
    return Observed(
        number=trial.number,
        params=trial.params,
        epochs=tuple(curve.get("epochs", ())),
        joules=tuple(curve.get("joules", ())),
        accuracy=tuple(curve.get("accuracy", ())),
        epoch_j=curve.get("epoch_j"),
        spent_j=float(told.get("spent_j", 0.0)),
        state=_state(trial),
        reached="energy_to_target_j" in told,
        default=bool(told.get(DEFAULT_SETUP)),
    )


def _state(trial: FrozenTrial) -> Literal["running", "paused", "ended"]:
    if trial.state.is_finished():
        return "ended"
    is_paused = trial.state == TrialState.RUNNING and trial.user_attrs.get(PAUSED)
    return "paused" if is_paused else "running"
