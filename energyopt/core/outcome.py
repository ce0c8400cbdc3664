"""The outcome of a trial for its study: its state, values, constraint and attributes."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any, Literal

from energyopt.core.accounting import head_hits
from energyopt.core.metric import ACCURACY
from energyopt.core.protocols import Objective
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import RAN_ITS_COURSE, TrialResult
from energyopt.errors import TrialError

MONITOR = "monitor"
"""Attribute of a trial: its metric, where it is not the accuracy."""

_MAX_POINTS = 60  # of the curve in Optuna's attributes; our own table has the whole curve

_ABOVE_ZERO = frozenset(
    {"energy_to_target_j", "time_to_target_s", "energy_delay_product_js", "life_cycle_j"}
)
"""Metrics that must be above 0, also those of a user's objective."""


def outcome_of(result: TrialResult, objective: Objective) -> Outcome:
    """Return the outcome of a trial for its study.

    A trial that reached its target or ran its course is complete; one that was stopped before the
    target (divergence of the loss, a stopping rule) is pruned. A trial whose metric diverged has
    missed the target: it is complete where it has a finite value, else pruned. Each has the
    constraint `target - best value` (its negative where less is better): a missed target violates
    it, and the energy value is then a lower bound, marked `censored`. A paused trial has no values
    yet.

    Raises:
        TrialError: If the objective does not return one finite number for each metric, or returns
            an energy or a time that is not above 0.
    """
    if result.end == "paused":
        return outcome_of_paused(result, _values(result, objective) if result.reached else ())
    has_missed = result.end in RAN_ITS_COURSE or result.metric_diverged
    complete = result.reached or (has_missed and result.best_value is not None)
    return Outcome(
        state="complete" if complete else "pruned",
        values=_values(result, objective) if complete else (),
        constraints=_constraints(result),
        attributes=_attributes(result),
        reason=result.reason,
        result=result,
    )


def outcome_of_paused(result: TrialResult, values: tuple[float, ...] = ()) -> Outcome:
    """Return the outcome of a paused trial, with values once it has reached the target."""
    return Outcome(
        "paused",
        values=values,
        constraints=_constraints(result),
        attributes=_attributes(result),
        reason=result.reason,
        result=result,
    )


def outcome_of_stopped(outcome: Outcome) -> Outcome:
    """Return the outcome of a paused trial that is not resumed: pruned, or complete with values."""
    reason = "schedule: not promoted"
    result = outcome.result and replace(outcome.result, end="stopped", reason=reason)
    attributes = _attributes(result) if result is not None else outcome.attributes
    state: Literal["complete", "pruned"] = "complete" if outcome.values else "pruned"
    return replace(outcome, state=state, attributes=attributes, reason=reason, result=result)


def _constraints(result: TrialResult) -> dict[str, float]:
    return {"target_missed_by": result.monitor.missed_by(result.best_value, result.target)}


def _values(result: TrialResult, objective: Objective) -> tuple[float, ...]:
    names = [metric.name for metric in objective.metrics]
    returned = objective(result)
    try:
        values = tuple(float(value) for value in returned)
    except (TypeError, ValueError):  # not a sequence, or not numbers
        values = ()
    if len(values) != len(names) or not all(math.isfinite(value) for value in values):
        raise TrialError(
            f"{type(objective).__name__} returned {returned}; one finite number for each of "
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
        "training_j": result.training_j,
        "evaluation_j": result.booked("evaluation").total_j,
        "spent_j": result.spent_j,
        "curve": _curve(result),
    }
    if result.monitor != ACCURACY:
        attributes[MONITOR] = asdict(result.monitor)
    if result.best_value is not None:
        attributes["best_accuracy"] = result.best_value  # of any metric: see `Checkpoint`
    attributes |= _pretraining_attributes(result)
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
    """Return the curve for samplers: the metric against energy, in few points."""
    curve = result.curve.thinned(_MAX_POINTS, result.target)
    upfront = {"upfront_j": result.upfront_j} if result.upfront else {}
    return {
        **upfront,
        "epochs": list(curve.epoch),
        "joules": list(curve.training_j),
        "accuracy": list(curve.accuracy),
        "epoch_j": result.epoch_j,
    }


def _pretraining_attributes(result: TrialResult) -> dict[str, Any]:
    """Return the attributes of pretraining, heads and inference; only those that exist."""
    attributes: dict[str, Any] = {}
    if result.upfront:
        prepared_j = (result.booked("pretraining") + result.booked("preparation")).total_j
        attributes |= {"upfront_j": result.upfront_j, "knowledge_j": prepared_j}
    hits = head_hits(result)
    if hits:
        attributes["heads_to_target_j"] = {
            name: None if hit is None else hit.training_j for name, hit in hits.items()
        }
    if result.inference_j_per_1000:
        attributes["inference_j_per_1000"] = dict(result.inference_j_per_1000)
    return attributes


def _gpu_attributes(result: TrialResult) -> dict[str, Any]:
    """Return the attributes of the GPUs; empty without GPUs."""
    conditions = result.conditions
    attributes = {
        "profiling_energy_j": result.booked("profiling").total_j if conditions.profile else None,
        "energy_idle_j": result.energy_idle_j,
        "energy_net_j": result.energy_net_j,
        "power_limit_w": conditions.limit_w,
        "temperature_before_c": conditions.temperature_before_c,
        "temperature_after_c": conditions.temperature_after_c,
    }
    return {key: value for key, value in attributes.items() if value is not None}
