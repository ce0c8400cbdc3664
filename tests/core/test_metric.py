"""A metric is compared in its own direction, and its values stay as they were reported."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from energyopt.core.metric import ACCURACY, Monitor, Scale
from energyopt.errors import ConfigError

VALUES = st.floats(-1e150, 1e150)


@given(st.lists(VALUES, min_size=1), VALUES)
def test_less_is_better_where_the_mode_says_so(values: list[float], target: float) -> None:
    loss = Monitor("val_loss", "min")
    assert loss.best(values) == min(values)
    assert ACCURACY.best(values) == max(values)
    assert loss.reaches(values[0], target) == (values[0] <= target)
    assert ACCURACY.reaches(values[0], target) == (values[0] >= target)
    assert loss.is_better(values[0], target) == (values[0] < target)
    assert loss.value(loss.score(values[0])) == values[0]


def test_there_is_no_best_of_nothing() -> None:
    assert ACCURACY.best([]) is None


def test_a_mode_is_min_or_max() -> None:
    with pytest.raises(ConfigError, match="mode='maximise' is not allowed: choose min or max"):
        Monitor("accuracy", "maximise")  # type: ignore[arg-type]


# The scale of a search ---------------------------------------------------------------------------

SCORE = Monitor("score", "max")
EPOCHS = [2.0**i for i in range(-2, 6)]
Curves = list[list[tuple[float, float]]]


def power_laws(limit: float = 1.0, factor: float = 1.0) -> Curves:
    """Curves that approach a limit as power laws, with a little noise."""
    rng = random.Random(0)
    return [
        [
            (epochs, limit - factor * 0.5 * epochs**-slope * math.exp(rng.gauss(0, 0.05)))
            for epochs in EPOCHS
        ]
        for slope in (0.2, 0.4, 0.5, 0.7)
    ]


def levels(scale: Scale, low: float, high: float, scores: list[float]) -> list[float]:
    bottom, top = scale.place(low), scale.place(high)
    return [(scale.place(score) - bottom) / (top - bottom) for score in scores]


@given(st.floats(0, 1))
def test_an_accuracy_has_the_scale_that_it_always_had(accuracy: float) -> None:
    scale = Scale.of(ACCURACY, power_laws(), 0.9)
    assert scale == Scale()
    assert scale.place(accuracy) == -math.log(1.0 + 0.01 - accuracy)
    assert scale.score(scale.place(accuracy)) == pytest.approx(accuracy)


@given(st.floats(-1e6, 1e6), st.floats(-3, 3).map(lambda log: 10**log))
def test_a_scale_is_that_of_the_curves_however_they_are_shifted_and_scaled(
    limit: float, factor: float
) -> None:
    assume(factor > 1e-7 * abs(limit))  # smaller differences may be rounding
    probes = [0.5, 0.6, 0.7, 0.8]
    plain = levels(Scale.of(SCORE, power_laws(), 0.9), 0.4, 0.9, probes)
    moved = Scale.of(SCORE, power_laws(limit, factor), limit - 0.1 * factor)
    low, high, *scores = (limit - factor * (1 - score) for score in (0.4, 0.9, *probes))
    assert levels(moved, low, high, scores) == pytest.approx(plain, abs=1e-3)


def test_a_scale_that_is_learnt_makes_power_laws_straight() -> None:
    learnt = Scale.of(SCORE, power_laws(), 0.9)
    probes = [0.5, 0.6, 0.7, 0.8]
    known = levels(Scale(limit=1.0), 0.4, 0.9, probes)
    assert levels(learnt, 0.4, 0.9, probes) == pytest.approx(known, abs=0.1)


@example(values=[], target=5e-324)  # margins of it are 0
@given(st.lists(st.lists(VALUES, max_size=6), max_size=4), st.none() | VALUES)
def test_any_curves_have_a_finite_scale_that_rises(
    values: list[list[float]], target: float | None
) -> None:
    for monitor in (SCORE, Monitor("loss", "min")):
        curves = [[(float(i), value) for i, value in enumerate(of, 1)] for of in values]
        scale = Scale.of(monitor, curves, target)
        scores = sorted(score for curve in curves for _, score in curve)
        places = [scale.place(score) for score in scores]
        assert all(map(math.isfinite, places))
        assert places == sorted(places)
        assert math.isfinite(scale.place(scale.best))


@given(VALUES, VALUES)
def test_a_target_is_missed_by_the_distance_in_the_direction_of_the_metric(
    best: float, target: float
) -> None:
    loss = Monitor("loss", "min")
    assert (loss.missed_by(best, target) <= 0) == loss.reaches(best, target)
    assert loss.missed_by(None, target) > 0


def test_a_metric_that_is_not_called_accuracy_takes_any_finite_value() -> None:
    for value in (-3.0, 0.0, 93.0, math.nan):
        Monitor("percent").check_value(value, "evaluate() returned")
    Monitor("percent").check_target(93)
    with pytest.raises(ConfigError, match="target=nan is not allowed: a finite number"):
        Monitor("percent").check_target(math.nan)
