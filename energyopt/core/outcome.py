"""How a trial that ended is told to its study: its state, values, constraint and attributes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from energyopt.core.accounting import head_hits
from energyopt.core.protocols import Objective
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import RAN_ITS_COURSE, TrialResult
from energyopt.errors import TrialError

_MOST_POINTS = 60  # of the curve that Optuna keeps of a trial; the whole one is in our own table

_ABOVE_ZERO = frozenset(
    {"energy_to_target_j", "time_to_target_s", "energy_delay_product_js", "life_cycle_j"}
)
"""Metrics that no training can have for nothing, whoever computes them."""


def judge(result: TrialResult, objective: Objective) -> Outcome:
    """Decide what is told to the study.

    Reached, or ran its course: complete. Stopped before the target (divergence, a stopping
    rule): pruned. The constraint `target - best accuracy` is set on each; a missed target
    violates it, and the energy told is a lower bound, marked `censored`. Paused: nothing yet.

    Raises:
        TrialError: If the objective returns other than one finite number a metric, or an energy
            or a time that is not above 0.
    """
    if result.end == "paused":
        return paused(result, _values(result, objective) if result.reached else ())
    complete = result.reached or result.end in RAN_ITS_COURSE
    return Outcome(
        state="complete" if complete else "pruned",
        values=_values(result, objective) if complete else (),
        constraints=_constraints(result),
        attributes=_attributes(result),
        reason=result.reason,
        result=result,
    )


def paused(result: TrialResult, values: tuple[float, ...] = ()) -> Outcome:
    """What is told of a trial that paused: how far it came, and values once it is at the target."""
    return Outcome(
        "paused",
        values=values,
        constraints=_constraints(result),
        attributes=_attributes(result),
        reason=result.reason,
        result=result,
    )


def not_promoted(outcome: Outcome) -> Outcome:
    """What is told of a paused trial that will not go on: it was stopped, or had reached it."""
    reason = "schedule: not promoted"
    result = outcome.result and replace(outcome.result, end="stopped", reason=reason)
    told = _attributes(result) if result is not None else outcome.attributes
    state: Literal["complete", "pruned"] = "complete" if outcome.values else "pruned"
    return replace(outcome, state=state, attributes=told, reason=reason, result=result)


def _constraints(result: TrialResult) -> dict[str, float]:
    return {"target_missed_by": result.target - result.best_accuracy}


def _values(result: TrialResult, objective: Objective) -> tuple[float, ...]:
    names = [metric.name for metric in objective.metrics]
    given = objective(result)
    try:
        values = tuple(float(value) for value in given)
    except (TypeError, ValueError):  # no sequence, or no numbers
        values = ()
    if len(values) != len(names) or not all(math.isfinite(value) for value in values):
        raise TrialError(
            f"{type(objective).__name__} returned {given}; one finite number for each of "
            f"{', '.join(names)} is expected"
        )
    for name, value in zip(names, values, strict=True):
        if name in _ABOVE_ZERO and value <= 0:
            raise TrialError(
                f"{name}={value:g} cannot be: a training takes energy and time; check the meter "
                f"and {type(objective).__name__}"
            )
    return values


def _attributes(result: TrialResult) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "provenance": result.start.provenance.kind,
        "meter": result.start.provenance.meter,
        "end": result.end,
        "censored": not result.reached,
        "best_accuracy": result.best_accuracy,
        "training_j": result.training_j,
        "evaluation_j": result.booked("evaluation").total_j,
        "spent_j": result.spent_j,
        "curve": _curve(result),
    }
    attributes |= _knowledge_attributes(result)
    if result.stopped_by is not None:
        attributes["stopped_by"] = result.stopped_by
    attributes |= _gpu_attributes(result)
    if result.hit is not None:
        attributes["energy_to_target_j"] = result.hit.training_j
        attributes["epochs_to_target"] = result.hit.epoch
    if result.flags:
        attributes["flags"] = list(result.flags)
    return attributes


def _curve(result: TrialResult) -> dict[str, Any]:
    """What samplers learn from: accuracy against joules, in few points."""
    curve = result.curve.thinned(_MOST_POINTS, result.target)
    upfront = {"upfront_j": result.upfront_j} if result.upfront else {}
    return {
        **upfront,
        "epochs": list(curve.epoch),
        "joules": list(curve.training_j),
        "accuracy": list(curve.accuracy),
        "epoch_j": result.epoch_j,
    }


def _knowledge_attributes(result: TrialResult) -> dict[str, Any]:
    """What was known before, of heads, and of answers; nothing where there is nothing."""
    attributes: dict[str, Any] = {}
    if result.upfront:
        burnt = (result.booked("pretraining") + result.booked("preparation")).total_j
        attributes |= {"upfront_j": result.upfront_j, "knowledge_j": burnt}
    hits = head_hits(result)
    if hits:
        attributes["heads_to_target_j"] = {
            name: None if hit is None else hit.training_j for name, hit in hits.items()
        }
    if result.inference_j_per_1000:
        attributes["inference_j_per_1000"] = dict(result.inference_j_per_1000)
    return attributes


def _gpu_attributes(result: TrialResult) -> dict[str, Any]:
    """What was found out about the GPUs; nothing where there are none."""
    found = result.conditions
    attributes = {
        "profiling_energy_j": result.booked("profiling").total_j if found.profile else None,
        "energy_idle_j": result.energy_idle_j,
        "energy_net_j": result.energy_net_j,
        "power_limit_w": found.limit_w,
        "temperature_before_c": found.temperature_before_c,
        "temperature_after_c": found.temperature_after_c,
    }
    return {key: value for key, value in attributes.items() if value is not None}
