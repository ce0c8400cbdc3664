"""What a study minimises or maximises, and what is told to it for each kind of ending.

An objective is anything with `metrics`, `stops_at_target` and `__call__(TrialResult)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from energyopt.core.accounting import head_hits
from energyopt.core.protocols import Objective
from energyopt.core.trial_result import RAN_ITS_COURSE, Metric, Outcome, TrialResult
from energyopt.errors import ConfigError, TrialError


def cost_j(result: TrialResult) -> float:
    """Energy to the target, in J; for a missed target the energy spent, a lower bound."""
    at = result.energy_to_target_j
    return result.cost_j if at is None else at


def cost_s(result: TrialResult) -> float:
    """Training time to the target, in s; for a missed target the time spent, a lower bound."""
    at = result.time_to_target_s
    return result.booked("training").time_s if at is None else at


class EnergyVsAccuracy:
    """Two objectives: less energy to the target, more accuracy. Trains beyond the target."""

    metrics = (Metric("energy_to_target_j", "minimize"), Metric("accuracy", "maximize"))
    stops_at_target = False

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Energy to target in J, best accuracy in [0, 1]."""
        return cost_j(result), result.best_accuracy


class EnergyToTarget:
    """One objective: the energy to the target. A trial stops there."""

    metrics = (Metric("energy_to_target_j", "minimize"),)
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Energy to target in J."""
        return (cost_j(result),)


class EnergyDelayProduct:
    """One objective: energy to target times time to target. A trial stops at the target."""

    metrics = (Metric("energy_delay_product_js", "minimize"),)
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Energy times time to target, in J s."""
        return (cost_j(result) * cost_s(result),)


class TimeVsEnergy:
    """Two objectives: less time and less energy to the target. A trial stops there."""

    metrics = (Metric("time_to_target_s", "minimize"), Metric("energy_to_target_j", "minimize"))
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Time to target in s, energy to target in J."""
        return cost_s(result), cost_j(result)


class LifeCycle:
    """One objective: energy to the target and of all answers. A trial stops at the target.

    What the search costs is the same whichever setup it finds, and is left out here.

    Args:
        n_inferences: Answers that the model will give over its life.
        embodied_j: Share of the energy of making the hardware, in J.

    Raises:
        ConfigError: If one is no finite number of at least 0.
    """

    metrics = (Metric("life_cycle_j", "minimize"),)
    stops_at_target = True
    needs_inference = True

    def __init__(self, n_inferences: float, embodied_j: float = 0.0) -> None:
        for key, value in (("n_inferences", n_inferences), ("embodied_j", embodied_j)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"objective.{key}={value}: a number of at least 0 is needed")
            if not 0 <= value < math.inf:
                raise ConfigError(f"objective.{key}={value}: a number of at least 0 is needed")
        self._n_inferences = n_inferences
        self._embodied_j = embodied_j

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Life-cycle energy, in J.

        Raises:
            TrialError: If the paradigm's models cannot be asked.
        """
        per_1000 = next(iter(result.inference_j_per_1000.values()), None)
        if per_1000 is None:
            raise TrialError(
                "objective=life_cycle needs the energy of an answer, and the paradigm has no "
                "inference(): see energyopt.core.protocols.Infers, or choose another objective"
            )
        train_j, answers_j = cost_j(result), self._n_inferences * per_1000 / 1000
        return (train_j + answers_j + self._embodied_j,)


class FunctionObjective:
    """A user's own function of a `TrialResult`.

    Args:
        function: Takes a `TrialResult`; returns a number, or one number a metric.
        metrics: Name (with the unit as suffix) to "minimize" or "maximize", in order.
        stops_at_target: Whether training beyond the target tells the function nothing.

    Raises:
        ConfigError: If a direction is neither "minimize" nor "maximize", or none is given.
    """

    def __init__(
        self,
        function: Callable[[TrialResult], float | Sequence[float]],
        metrics: Mapping[str, Literal["minimize", "maximize"]],
        *,
        stops_at_target: bool = False,
    ) -> None:
        if not metrics:
            raise ConfigError(
                "objective.metrics is empty; name each value, such as "
                "'objective.metrics={carbon_g: minimize}'"
            )
        for name, direction in metrics.items():
            if direction not in ("minimize", "maximize"):
                raise ConfigError(
                    f"objective.metrics.{name}={direction}: choose minimize or maximize"
                )
        self.metrics = tuple(Metric(name, direction) for name, direction in metrics.items())
        self.stops_at_target = stops_at_target
        self._function = function

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Whatever the function says, as a tuple."""
        values = self._function(result)
        return tuple(values) if isinstance(values, Sequence) else (values,)


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
