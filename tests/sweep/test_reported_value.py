"""The outcome of a job that a pruner judges: pruned, what it returned, or the best it reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from energyopt.core.metric import Monitor
from energyopt.core.trial_result import TrialResult
from energyopt.objectives import BestMetric
from energyopt.sweep.reported_value import outcome_of_reports
from tests.toys import result

LOSS = BestMetric(Monitor("loss", "min"))
POINTS = [(100, 1, 0.5), (200, 2, 0.2), (300, 3, 0.3)]


def record(**more: Any) -> TrialResult:
    made = result(POINTS, target=0.1, **more)
    return replace(made, start=replace(made.start, monitor=Monitor("loss", "min")))


@pytest.mark.parametrize(
    ("returned", "value"),
    [(None, 0.2), (RuntimeError("the export failed"), 0.2), (0.3, 0.3), ({"objectives": 7}, 7)],
)
def test_the_value_is_what_was_returned_or_else_the_best(returned: object, value: float) -> None:
    outcome = outcome_of_reports(record(), returned, LOSS)
    assert (outcome.state, outcome.values, outcome.constraints) == ("complete", (value,), {})
    assert outcome.reports == (0.5, 0.2, 0.3)
    assert outcome.attributes["spent_j"] == 3


@pytest.mark.parametrize("end", ["stopped", "diverged"])
def test_a_training_that_was_cut_is_pruned_with_its_joules(end: str) -> None:
    cut = outcome_of_reports(record(end=end, reason="median: at report 3"), 0.1, LOSS)
    assert (cut.state, cut.values) == ("pruned", ())
    assert cut.reports == (0.5, 0.2, 0.3)
    assert cut.result is not None
    assert cut.result.spent_j == 3


def test_a_value_that_is_none_fails_with_the_joules() -> None:
    outcome = outcome_of_reports(record(), "anything", LOSS)
    assert outcome.state == "failed"
    assert "1 number expected" in outcome.reason
    assert outcome.result is not None


def test_an_objective_has_the_direction_of_its_metric_and_perhaps_another_name() -> None:
    assert LOSS.metrics[0].direction == "minimize"
    (metric,) = BestMetric(Monitor("accuracy", "max"), "acc").metrics
    assert (metric.name, metric.direction) == ("acc", "maximize")
