"""Attributes that a job returns become the record of a training."""

from __future__ import annotations

from typing import Any

import pytest

from energyopt.core.metric import Monitor
from energyopt.core.study_record import Outcome
from energyopt.sweep.returned_record import outcome_of_attributes, with_returned_record
from energyopt.sweep.training_goal import TrainingGoal

GOAL = TrainingGoal(Monitor("rmse", "min"), 0.2, 8.0)
CURVE = {"joules": [10.0, 20.0, 40.0], "rmse": [0.5, 0.2, 0.1], "epochs": [1, 2, 4]}


def outcome(**attributes: Any) -> Outcome:
    return outcome_of_attributes({"objectives": 1, "attributes": attributes}, GOAL, time_s=10.0)


def test_a_curve_is_a_training_with_all_its_joules() -> None:
    told = outcome(curve=CURVE, spent_j=50.0, note="hi")
    record = told.result
    assert record is not None
    assert (told.state, told.values) == ("complete", (20.0, 0.1))
    assert told.constraints == {"target_missed_by": pytest.approx(-0.1)}
    assert told.attributes["note"] == "hi"
    assert told.attributes["curve"]["epoch_j"] == 10.0
    assert record.spent_j == 50.0
    assert record.training_j == 40.0
    assert record.booked("training").time_s == pytest.approx(8.0)
    assert record.start.provenance.kind == "estimated"
    assert list(record.curve.epoch) == [1, 2, 4]


def test_energies_alone_are_a_training_too() -> None:
    reached = outcome(energy_to_target_j=7.0, provenance="measured", meter="a wattmeter")
    assert reached.values == (7.0, 0.2)
    assert reached.result is not None
    assert str(reached.result.start.provenance).startswith("measured by a wattmeter")
    spent = outcome(spent_j=9.0)
    assert spent.state == "pruned"
    assert spent.result is not None
    assert spent.result.spent_j == 9.0


def test_returned_values_are_told_as_they_are() -> None:
    curve = {"joules": [10, 20], "accuracy": [0.5, 0.9]}
    returned = Outcome("complete", (3.0,), attributes={"curve": curve, "energy_to_target_j": 20})
    told = with_returned_record(returned, 1.0)
    assert told.values == (3.0,)
    assert told.constraints == {}
    assert told.result is not None
    assert told.result.energy_to_target_j == 20
    plain = Outcome("complete", (3.0,), attributes={"note": "hi"})
    assert with_returned_record(plain, 1.0) is plain


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({}, "made no energyopt.Run, and returned none of the attributes curve"),
        ({"curve": [1, 2]}, "a mapping with lists of numbers is expected: joules, rmse"),
        ({"curve": {"joules": [1.0]}}, "a mapping with lists of numbers is expected"),
        ({"curve": CURVE | {"joules": [3, 2, 1]}}, "above 0, and rising"),
        ({"curve": CURVE | {"rmse": [0.5]}}, "its lists need one length"),
        ({"spent_j": "much"}, "spent_j='much'; a number of joules is expected"),
        ({"energy_to_target_j": 0}, "energy_to_target_j=0; a number of joules is expected"),
    ],
)
def test_what_is_no_training_is_refused(attributes: dict[str, Any], says: str) -> None:
    told = outcome(**attributes)
    assert told.state == "failed"
    assert says in told.reason
