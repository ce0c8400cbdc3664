"""The objectives keep their contract, and each kind of ending is told as decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from energyopt.core.energy import Energy
from energyopt.core.metric import Monitor
from energyopt.core.outcome import outcome_of
from energyopt.core.protocols import Objective
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import End, TrialResult
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import ConfigError, TrialError
from energyopt.objectives import (
    EnergyDelayProduct,
    EnergyToTarget,
    EnergyVsAccuracy,
    FunctionObjective,
    LifeCycle,
    TimeVsEnergy,
)
from energyopt.search.schedule import CURVE
from energyopt.testing import EXAMPLE_RESULTS
from energyopt.testing.pytest import ObjectiveContract
from tests.toys import result


def grams(record: TrialResult) -> float:
    return 0.1 * record.training_j


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "energy_vs_accuracy": EnergyVsAccuracy,
    "energy_to_target": EnergyToTarget,
    "energy_delay_product": EnergyDelayProduct,
    "time_vs_energy": TimeVsEnergy,
    "function": lambda: FunctionObjective(grams, {"carbon_g": "minimize"}),
    "function of two": lambda: FunctionObjective(
        lambda record: [grams(record), record.best_accuracy],
        {"carbon_g": "minimize", "accuracy": "maximize"},
        stops_at_target=True,
    ),
}


class TestObjectives(ObjectiveContract):
    @pytest.fixture(params=OBJECTIVES)
    def objective(self, request: pytest.FixtureRequest) -> Objective:
        return OBJECTIVES[request.param]()


# Toy training takes 1 s for every 2 J.
@pytest.mark.parametrize(
    ("objective", "reached", "missed"),
    [
        (EnergyVsAccuracy(), (4, 0.95), (4, 0.6)),
        (EnergyToTarget(), (4,), (4,)),
        (EnergyDelayProduct(), (8,), (8,)),
        (TimeVsEnergy(), (2, 4), (2, 4)),
    ],
)
def test_values(objective: Objective, reached: tuple[float, ...], missed: tuple[float, ...]):
    assert objective(EXAMPLE_RESULTS["reached"]) == reached
    assert objective(EXAMPLE_RESULTS["missed"]) == missed


def test_joules_after_the_target_are_not_told():
    assert EnergyVsAccuracy()(EXAMPLE_RESULTS["went on"]) == (2, 0.97)


REACHED = [(100, 2, 0.5), (200, 4, 0.95)]
MISSED = [(100, 2, 0.5), (200, 4, 0.6)]


@pytest.mark.parametrize(
    ("curve", "end", "state", "censored"),
    [
        (REACHED, "target", "complete", False),
        (REACHED, "epochs", "complete", False),
        (REACHED, "plateau", "complete", False),
        (REACHED, "diverged", "complete", False),
        (REACHED, "stopped", "complete", False),
        (MISSED, "epochs", "complete", True),
        (MISSED, "diverged", "pruned", True),
        (MISSED, "stopped", "pruned", True),
    ],
)
def test_what_is_told_of_each_ending(
    curve: list[tuple[int, float, float]], end: End, state: str, censored: bool
):
    record = result(curve, end=end, reason="because", evaluation_j=1)
    outcome = outcome_of(record, EnergyVsAccuracy())
    assert outcome.state == state
    assert outcome.values == ((4, record.best_accuracy) if state == "complete" else ())
    violation = outcome.constraints["target_missed_by"]
    assert violation == pytest.approx(0.9 - record.best_accuracy)
    assert (violation > 0) == censored
    assert outcome.attributes["censored"] == censored
    assert ("energy_to_target_j" in outcome.attributes) != censored
    assert outcome.attributes["end"] == end
    assert outcome.attributes["spent_j"] == 6
    assert (outcome.reason, outcome.result) == ("because", record)


def test_a_metric_that_diverged_has_missed_the_target():
    reason = "the metric accuracy is nan at epoch 3"
    outcome = outcome_of(result(MISSED, end="diverged", reason=reason), EnergyVsAccuracy())
    assert (outcome.state, outcome.values) == ("complete", (4, 0.6))
    assert outcome.attributes["censored"]
    assert outcome.constraints["target_missed_by"] > 0
    never = outcome_of(result([], end="diverged", reason=reason), EnergyVsAccuracy())
    assert (never.state, never.values) == ("pruned", ())
    assert never.constraints["target_missed_by"] > 0


def test_a_loss_is_minimised_under_its_name():
    loss = Monitor("val_loss", "min")
    objective = EnergyVsAccuracy(loss)
    assert objective.metrics[1] == Metric("val_loss", "minimize")
    record = result([(100, 2, 2.5), (200, 4, 1.5)])
    record = replace(record, start=replace(record.start, monitor=loss, target=2.0))
    outcome = outcome_of(record, objective)
    assert (outcome.state, outcome.values) == ("complete", (4, 1.5))
    assert outcome.constraints["target_missed_by"] == -0.5
    assert outcome.attributes["monitor"] == {"name": "val_loss", "mode": "min"}
    assert outcome.attributes["curve"]["accuracy"] == [2.5, 1.5]


def test_the_curve_is_told_in_few_points_whatever_the_ending():
    told = outcome_of(
        result(MISSED, end="stopped", reason="cap: 4 J"), EnergyVsAccuracy()
    ).attributes
    assert told[CURVE] == {
        "epochs": [1, 2],
        "joules": [2, 4],
        "accuracy": [0.5, 0.6],
        "epoch_j": 2,
    }
    assert told["stopped_by"] == "cap"
    assert "stopped_by" not in outcome_of(result(MISSED), EnergyVsAccuracy()).attributes
    long = result([(index, index, index / 1000) for index in range(1, 951)])
    curve = outcome_of(long, EnergyVsAccuracy()).attributes[CURVE]
    assert len(curve["joules"]) == len(curve["epochs"]) == len(curve["accuracy"]) <= 60
    assert (curve["joules"][0], curve["joules"][-1]) == (1, 950)
    assert 900 in curve["joules"]  # where it reached the target


def test_warnings_are_told():
    record = result(REACHED, flags=("short_window",))
    assert outcome_of(record, EnergyToTarget()).attributes["flags"] == ["short_window"]
    assert "flags" not in outcome_of(result(REACHED), EnergyToTarget()).attributes


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, [], [1, 2], None, "many", {"carbon_g": 1}, object()]
)
def test_what_is_no_finite_number_a_metric_is_refused(value: Any):
    objective = FunctionObjective(lambda _: value, {"carbon_g": "minimize"})
    with pytest.raises(TrialError, match="one finite number for each of carbon_g"):
        outcome_of(EXAMPLE_RESULTS["reached"], objective)


@pytest.mark.parametrize(
    "name", ["energy_to_target_j", "time_to_target_s", "energy_delay_product_js"]
)
@pytest.mark.parametrize("value", [0, -0.0, -1.5])
def test_no_training_is_for_nothing(name: str, value: float):
    objective = FunctionObjective(lambda _: value, {name: "minimize"})
    with pytest.raises(TrialError, match=rf"^{name}={value:g} cannot be"):
        outcome_of(EXAMPLE_RESULTS["reached"], objective)
    own = FunctionObjective(lambda _: value, {"saved_j": "maximize"})
    assert outcome_of(EXAMPLE_RESULTS["reached"], own).values == (value,)


def test_a_function_is_not_asked_about_a_trial_without_values():
    objective = FunctionObjective(lambda _: math.nan, {"carbon_g": "minimize"})
    assert outcome_of(result(MISSED, end="stopped"), objective).state == "pruned"


def test_a_function_needs_names_and_directions():
    with pytest.raises(ConfigError, match="metrics is empty"):
        FunctionObjective(grams, {})
    with pytest.raises(ConfigError, match=r"carbon_g=down: choose minimize or maximize"):
        FunctionObjective(grams, {"carbon_g": "down"})  # type: ignore[dict-item]


# --- knowledge, heads and answers


def began_with(record: TrialResult, **more: Any) -> TrialResult:
    """A record that began with a source of 6 J, of which it counts a third."""
    source = UpfrontCost("source", "trained", Energy(3, cpu_j=6), reuse=3, fresh=False)
    return replace(record, upfront=(source,), **more)


def test_what_it_began_with_counts_whether_it_reached_or_missed():
    reached, missed = (began_with(EXAMPLE_RESULTS[name]) for name in ("reached", "missed"))
    assert outcome_of(reached, EnergyVsAccuracy()).values == (6, 0.95)
    assert outcome_of(missed, EnergyVsAccuracy()).values == (6, 0.6)
    assert outcome_of(reached, TimeVsEnergy()).values == (3, 6)
    told = outcome_of(reached, EnergyVsAccuracy()).attributes
    assert (told["upfront_j"], told["knowledge_j"], told["training_j"]) == (2, 0, 4)
    assert told[CURVE] == {
        "upfront_j": 2, "epochs": [1, 2], "joules": [4, 6], "accuracy": [0.5, 0.95], "epoch_j": 2,
    }  # fmt: skip


def test_a_life_is_training_and_all_answers():
    record = began_with(
        EXAMPLE_RESULTS["reached"], inference_j_per_1000={"student": 5.0, "teacher": 50.0}
    )
    assert LifeCycle(2000, embodied_j=4)(record) == (6 + 10 + 4,)
    outcome = outcome_of(record, LifeCycle(0))
    assert outcome.values == (6,)
    assert outcome.attributes["inference_j_per_1000"] == {"student": 5, "teacher": 50}
    with pytest.raises(TrialError, match=r"the paradigm has no inference\(\)"):
        LifeCycle(1)(EXAMPLE_RESULTS["reached"])


@pytest.mark.parametrize("options", [{"n_inferences": -1}, {"n_inferences": "many"},
                                     {"n_inferences": 1, "embodied_j": math.inf}])  # fmt: skip
def test_a_life_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError, match=r"^objective\..* a number of at least 0"):
        LifeCycle(**options)


def test_first_hits_of_heads_are_told():
    record = EXAMPLE_RESULTS["went on"]
    heads = {"a": (0.95, 0.97), "b": (0.5, 0.6)}
    record = replace(record, checkpoints=replace(record.checkpoints, heads=heads))
    assert outcome_of(record, EnergyVsAccuracy()).attributes["heads_to_target_j"] == {
        "a": 2,
        "b": None,
    }
