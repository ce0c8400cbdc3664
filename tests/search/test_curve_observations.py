"""Curves as readings: the epochs that each level of accuracy took, or took at least."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyopt.search.curve_observations import CurveObservations, Levels
from energyopt.search.schedule import TrialSnapshot
from tests.trained import EPOCHS, TARGET, to_target, trained

few = settings(max_examples=100, deadline=None)
ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
TARGETS = st.one_of(st.none(), st.floats(0, 1))


def trial(*accuracy: float, number: int = 0) -> TrialSnapshot:
    """One with an evaluation an epoch."""
    epochs = tuple(float(index + 1) for index in range(len(accuracy)))
    return TrialSnapshot(number, {}, epochs, epochs, accuracy, epoch_j=1.0)


def read(
    trials: Sequence[TrialSnapshot], target: float | None = TARGET, most: int = 8
) -> tuple[Levels, CurveObservations]:
    scale = Levels.of(trials, target)
    return scale, CurveObservations.of(trials, scale, target, most)


# --- the scale


@given(st.lists(ACCURACIES, max_size=4), TARGETS)
@few
def test_a_scale_rises_from_0_to_1_at_the_target(curves, target):
    scale = Levels.of([trial(*accuracy) for accuracy in curves], target)
    assert scale.low < scale.high
    levels = [scale.level(accuracy) for accuracy in np.linspace(0, 1, 21)]
    assert levels == sorted(levels)
    if target is not None:
        assert scale.level(target) == pytest.approx(1)


@given(ACCURACIES, st.floats(0, 1))
@few
def test_a_level_is_an_accuracy_again(accuracy, asked):
    scale = Levels.of([trial(*accuracy)], TARGET)
    level = scale.level(asked)
    if -0.5 < level < 2:
        assert scale.score(level) == pytest.approx(asked, abs=1e-9)


def test_a_scale_begins_at_the_usual_first_evaluation():
    scale = Levels.of([trial(0.1, 0.5), trial(0.3), trial(0.2), trial()], TARGET)
    assert scale.level(0.2) == pytest.approx(0)


def test_without_a_target_the_best_accuracy_is_level_1():
    scale = Levels.of([trial(0.1, 0.7, 0.6), trial(0.3)], None)
    assert scale.level(0.7) == pytest.approx(1)


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("target", [None, 0.0, 0.5, 1.0])
def test_a_scale_of_constant_accuracies_is_a_scale(constant, target):
    scale = Levels.of([trial(constant, constant)], target)
    assert math.isfinite(scale.level(constant))
    assert scale.level(0.0) <= scale.level(1.0)


def test_a_scale_before_any_evaluation_has_the_target_at_1():
    assert Levels.of([], TARGET).level(TARGET) == pytest.approx(1)
    assert math.isfinite(Levels.of([trial()], None).level(0.3))


# --- readings


def test_the_target_is_read_where_it_was_reached_and_nothing_waits_there():
    whole = to_target(0, {"batch_size": 64})
    _, readings = read([whole])
    assert not readings.unreached.any()
    (hit,) = np.flatnonzero(readings.level == 1.0)
    assert readings.log_epochs[hit] == pytest.approx(math.log(whole.epochs[-1]))
    assert readings.sd[hit] == readings.sd.min()


def test_the_target_is_read_exactly_where_a_jump_went_past_it():
    _, readings = read([trial(0.2, 0.95, 0.97)])
    (hit,) = np.flatnonzero(readings.level == 1.0)
    assert readings.log_epochs[hit] == pytest.approx(math.log(2))
    assert readings.level.max() > 1.01  # what came after it is read, too


@pytest.mark.parametrize("epochs", [0.5, 2, 5])
def test_an_unreached_target_took_more_than_the_epochs_until_now(epochs):
    _, readings = read([trained(0, {"batch_size": 64}, epochs)])
    assert (readings.level == 1.0).any()
    below = readings.unreached
    assert below[readings.level == 1.0].all()
    assert readings.log_epochs[below] == pytest.approx(math.log(epochs))
    assert readings.level[below].min() > readings.level[~below].max()


@given(st.lists(ACCURACIES, min_size=1, max_size=3), TARGETS, st.integers(2, 10))
@few
def test_any_curves_are_read(curves, target, most):
    scale, readings = read([trial(*accuracy) for accuracy in curves], target, most)
    assert np.isfinite([readings.level, readings.log_epochs, readings.sd]).all()
    assert (readings.sd > 0).all()
    for index, accuracy in enumerate(curves):
        own = readings.trial == index
        reached = own & ~readings.unreached
        assert reached.sum() <= most + 1
        assert (np.diff(readings.log_epochs[reached]) > 0).all()
        assert (np.diff(readings.level[reached]) >= 0).all()
        bounds = readings.log_epochs[own & readings.unreached]
        assert bounds == pytest.approx(math.log(len(accuracy)))
        last = readings.level[reached][-1]
        hit = target is not None and max(accuracy) >= target
        assert last >= min(scale.level(max(accuracy)), 1.0) - 1e-6 or hit
        if hit:
            assert (readings.level[reached] == 1.0).any()
            assert not bounds.size


@given(ACCURACIES)
@few
def test_what_is_read_is_what_was_seen(accuracy):
    scale, readings = read([trial(*accuracy)], None, most=100)
    for level, log_epochs in zip(readings.level, readings.log_epochs, strict=True):
        at = round(math.exp(log_epochs)) - 1
        if level == scale.level(accuracy[at]):
            assert max(accuracy[: at + 1]) == accuracy[at]


def test_thinning_keeps_the_hit_and_the_first_and_the_last():
    whole = trained(0, {"batch_size": 8}, EPOCHS)
    _, every = read([whole], most=1000)
    _, thin = read([whole], most=4)
    assert len(thin.level) <= 5 < len(every.level)
    for kept in (0, -1):
        assert thin.level[kept] == every.level[kept]
        assert thin.log_epochs[kept] == every.log_epochs[kept]
    assert thin.log_epochs[thin.level == 1.0] == every.log_epochs[every.level == 1.0]
    seen = set(zip(every.level, every.log_epochs, strict=True))
    assert set(zip(thin.level, thin.log_epochs, strict=True)) <= seen


def test_worse_evaluations_are_not_read():
    _, some = read([trial(0.2, 0.1, 0.5, 0.5, 0.4)])
    reached = ~some.unreached
    assert np.exp(some.log_epochs[reached]) == pytest.approx([1, 3])
    assert np.exp(some.log_epochs[~reached]) == pytest.approx(5)


def test_a_level_between_far_evaluations_is_read_less_sharply():
    near = TrialSnapshot(0, {}, (4.0, 4.5), (1.0, 2.0), (0.2, 0.5))
    far = TrialSnapshot(0, {}, (4.0, 8.0), (1.0, 2.0), (0.2, 0.5))
    assert read([far])[1].sd[1] > read([near])[1].sd[1]


def test_a_trial_without_evaluations_says_nothing():
    _, readings = read([trial(), trial(0.3), trial()])
    assert set(readings.trial) == {1}
    assert not len(read([trial()])[1].trial)


@pytest.mark.parametrize(
    "accuracy", [(math.nan, 0.4, 0.5), (0.4, math.nan, 0.5), (0.4, 0.5, math.nan)]
)
def test_evaluations_that_are_no_number_are_passed_over(accuracy):
    scale, readings = read([trial(*accuracy), trial(0.3, 0.6)])
    assert np.isfinite([scale.low, scale.high]).all()
    own = (readings.trial == 0) & ~readings.unreached
    assert np.exp(readings.log_epochs[own]) == pytest.approx(
        [index + 1 for index, value in enumerate(accuracy) if not math.isnan(value)]
    )


@pytest.mark.parametrize("target", [None, TARGET])
def test_a_curve_of_nothing_but_nan_is_a_bound(target):
    _, readings = read([trial(math.nan, math.nan), trial(0.3, 0.6)], target)
    own = readings.trial == 0
    assert readings.unreached[own].all()
    assert np.isfinite(readings.level).all()
