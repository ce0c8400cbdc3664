"""The cost of a search, estimated from a dry run."""

from __future__ import annotations

import pytest

from energyopt.analysis.forecast import Forecast, Tried, forecast
from energyopt.report.forecast_view import forecast_lines
from energyopt.testing._records import EPOCH_SAMPLES
from tests.toys import result

EPOCH = [(EPOCH_SAMPLES, 2.0, 0.5)]


def found(**more: float) -> Forecast:
    tried = Tried(result(EPOCH, evaluation_j=1.0), start_j=20, other_j=4, start_s=5, time_s=2)
    return known(forecast(tried, epochs=10, n_trials=5, **more))  # type: ignore[arg-type]


def known(forecast: Forecast | None) -> Forecast:
    assert forecast is not None
    return forecast


def test_a_search_costs_between_an_epoch_and_all_epochs_of_each_trial_and_the_rest():
    assert found().other_j == 20 + 5 * 4
    assert found().least_j == pytest.approx(40 + 5 * 3)
    assert found().most_j == pytest.approx(40 + 5 * 30)
    assert found().default_j == pytest.approx(20)
    assert found(n_jobs=5).least_s == pytest.approx(5 + 2)


def test_it_pays_back_by_all_energy_also_where_that_takes_hundreds():
    assert found().trainings(0.1) == (28, 95)
    line = next(line for line in forecast_lines(found(), result(EPOCH), 5) if "pays back" in line)
    assert "28 to 95 if each saves 10 %" in line


def test_a_budget_bounds_it():
    assert found(budget_j=100).most_j == 100
    assert found(budget_j=1).most_j == found().least_j


def test_a_target_that_is_reached_gives_the_default_training():
    tried = Tried(result([(EPOCH_SAMPLES // 2, 1.0, 0.95)]), None, None, 0, 1)
    reached = known(forecast(tried, epochs=10, n_trials=5))
    assert reached.is_to_target
    assert reached.default_j == 1
    lines = forecast_lines(reached, tried.result, 5)
    assert any("1 J to 0.9" in line for line in lines)
    assert any("not metered with these joules" in line for line in lines)


def test_nothing_is_said_of_a_trial_that_trained_nothing():
    assert forecast(Tried(result(), 1, 1, 1, 1), epochs=10, n_trials=5) is None
