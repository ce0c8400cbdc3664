"""A trial that this run trains, from its parameters to its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, TrialRecord
from energyopt.search.schedule import DEFAULT_SETUP
from energyopt.search.space import Dimension, Value


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


def suggest(trial: Trial, dimension: Dimension) -> Value:
    """Choose the value of a dimension for a trial."""
    key, axis = dimension.key, dimension.distribution
    if isinstance(axis, CategoricalDistribution):
        choice: Value = trial.suggest_categorical(key, axis.choices)
        return choice
    if isinstance(axis, IntDistribution):
        return trial.suggest_int(key, axis.low, axis.high, step=axis.step, log=axis.log)
    assert isinstance(axis, FloatDistribution)  # noqa: S101  # for the type checker
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)
