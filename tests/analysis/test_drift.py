"""Drift of a machine shows in the epochs of repeated setups, and is no noise of their seeds."""

from __future__ import annotations

import math

import pytest

from energyopt.analysis.drift import drift_of
from energyopt.analysis.seed_noise import noise_model
from energyopt.analysis.summary import summarize
from energyopt.core.study_record import StudyRecord
from energyopt.report.account_view import noise_lines
from tests.toys import result, study, trial

WIGGLE = (0.01, -0.01, -0.01, 0.01)


def drifting(total: float, others: int = 3) -> StudyRecord:
    """A default trained four times, and other setups between, on a machine that drifts."""
    count = 4 + 3 * others
    trials = []
    for number in range(count):
        is_default = number % (others + 1) == 0
        factor = math.exp(total * number / (count - 1) + WIGGLE[number // (others + 1)])
        params = {"lr": 0.5} if is_default else {"lr": number}
        trained = result([(100, 8 * factor, 0.95)])
        trials.append(trial(number, trained, params=params, default=number == 0))
    return study(trials)


def test_a_drift_is_told_and_is_no_noise():
    drift = drift_of(drifting(0.3))
    assert drift is not None
    assert drift.repetitions == 3
    assert drift.factor.low < math.exp(0.3) < drift.factor.high
    assert drift.is_certain
    moved, still = noise_model(drifting(0.3)), noise_model(drifting(0.0))
    assert moved is not None
    assert still is not None
    assert moved.noise.value == pytest.approx(still.noise.value, rel=0.15)
    text = " ".join(noise_lines(summarize(drifting(0.3))))
    assert "took +35 % of energy over the search" in text
    assert "is not counted as noise" in text


def test_a_steady_machine_is_said_to_be_steady():
    drift = drift_of(drifting(0.0))
    assert drift is not None
    assert not drift.is_certain
    assert "not told apart from none" in " ".join(noise_lines(summarize(drifting(0.0))))


def test_too_few_repetitions_say_nothing():
    assert drift_of(study()) is None
    single = [trial(number, result([(100, 8, 0.95)])) for number in range(9)]
    assert drift_of(study(single)) is None
