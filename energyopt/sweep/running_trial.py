"""A trial that this run trains, from its parameters to its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import Trial

from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, TrialRecord
from energyopt.search.schedule import DEFAULT_SETUP


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A running trial.

    Attributes:
        trial: Optuna's.
        recipe: The overrides that reproduce it.
        context: Its context for this run.
    """

    trial: Trial
    recipe: tuple[str, ...]
    context: RunContext = field(default_factory=RunContext)

    def record(self, outcome: Outcome) -> TrialRecord:
        """Return its record with an outcome."""
        return TrialRecord(
            number=self.trial.number,
            state=outcome.state,
            params=self.trial.params,
            overrides=self.recipe,
            values=outcome.values,
            feasible=all(violation <= 0 for violation in outcome.constraints.values()),
            reason=outcome.reason,
            default=bool(self.trial.user_attrs.get(DEFAULT_SETUP)),
            result=outcome.result,
        )
