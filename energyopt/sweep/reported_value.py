"""The outcome of a job whose study has one objective, on which a pruner judges it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from energyopt.core.outcome import outcome_of
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.jobs.job_result import outcome_of_value
from energyopt.objectives import BestMetric


def outcome_of_reports(result: TrialResult, returned: object, objective: BestMetric) -> Outcome:
    """Return the outcome of a job that reported through `Run`.

    A training that was stopped, or whose metric diverged, is pruned. Of one that ran its course the
    value is what the job returned, as with any Optuna study; where it returned nothing, or raised
    something after its loop, the best that it reported. Whether a target was missed is no
    constraint: the study does not ask for it.

    Args:
        result: Its record.
        returned: What it returned or raised.
        objective: The objective of the study.
    """
    outcome = replace(
        outcome_of(result, objective),
        constraints={},
        reports=tuple(point.accuracy for point in result.checkpoints),
    )
    if result.end in ("stopped", "diverged"):
        return replace(outcome, state="pruned", values=())
    if returned is None or isinstance(returned, BaseException):
        return outcome
    answer = outcome_of_value(returned, objective.metrics)
    if answer.state != "complete":
        return replace(answer, result=result)
    attributes: dict[str, Any] = {**answer.attributes, **outcome.attributes}
    return replace(
        outcome,
        state="complete",
        values=answer.values,
        constraints=answer.constraints,
        attributes=attributes,
    )
