"""Checks of objectives."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from energyopt.core.protocols import Objective
from energyopt.core.trial_result import TrialResult
from energyopt.testing._check import Check, check, require, require_protocols, run_checks
from energyopt.testing._records import EXAMPLE_RESULTS

_DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True, slots=True)
class ObjectiveCase:
    """An objective and records of trials to compute it from, by what happened."""

    objective: Objective
    results: Mapping[str, TrialResult]


@check
def is_an_objective(case: ObjectiveCase) -> None:
    """Check that it can be called, and has `metrics` and `stops_at_target`."""
    require_protocols(case.objective, [Objective])
    stops = case.objective.stops_at_target
    require(
        isinstance(stops, bool),
        "stops_at_target to be True or False",
        repr(stops),
        "say whether training beyond the target tells the objective nothing",
    )


@check
def names_its_metrics(case: ObjectiveCase) -> None:
    """Check that each metric has a unique name and a direction."""
    metrics = case.objective.metrics
    names = [metric.name for metric in metrics]
    require(names, "at least one metric", "none", "name what is minimised or maximised")
    require(
        len(set(names)) == len(names),
        "a different name for each metric",
        ", ".join(names),
        "rename one; the unit belongs to the name",
    )
    for metric in metrics:
        require(
            metric.direction in _DIRECTIONS,
            f"the direction of {metric.name} to be {' or '.join(_DIRECTIONS)}",
            repr(metric.direction),
            "choose one",
        )


@check
def gives_a_finite_number_for_each_metric(case: ObjectiveCase) -> None:
    """Check that every trial gets one finite number per metric."""
    metrics = case.objective.metrics
    for name, result in case.results.items():
        values = case.objective(result)
        require(
            len(values) == len(metrics),
            f"{len(metrics)} values for the trial that {name}",
            f"{len(values)}: {values}",
            "return one number per metric, in their order",
        )
        for metric, value in zip(metrics, values, strict=True):
            require(
                math.isfinite(value),
                f"a finite {metric.name} for the trial that {name}",
                value,
                "return a lower bound from what it spent where a trial missed the target",
            )


@check
def is_a_pure_function(case: ObjectiveCase) -> None:
    """Check that the same record always gives the same values."""
    for name, result in case.results.items():
        first, second = list(case.objective(result)), list(case.objective(result))
        require(
            first == second,
            f"the same values each time for the trial that {name} ({first})",
            second,
            "compute them from the record alone",
        )


OBJECTIVE_CHECKS: tuple[Check[ObjectiveCase], ...] = (
    is_an_objective,
    names_its_metrics,
    gives_a_finite_number_for_each_metric,
    is_a_pure_function,
)
"""Checks that every objective must pass."""


def check_objective(
    objective: Objective,
    *,
    results: Mapping[str, TrialResult] = EXAMPLE_RESULTS,
    skip: Collection[str] = (),
) -> tuple[str, ...]:
    """Check an objective.

    Args:
        objective: The objective.
        results: Records of trials to compute it from, by what happened.
        skip: Names of checks to leave out.
    """
    return run_checks(OBJECTIVE_CHECKS, ObjectiveCase(objective, results), skip=skip)
