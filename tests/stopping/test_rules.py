"""Rules that stop trials: each stops what it is for, says why, and leaves the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.core.curve import Curve
from energyopt.core.history import StudyHistory
from energyopt.core.metric import Monitor
from energyopt.core.protocols import StoppingRule
from energyopt.errors import ConfigError
from energyopt.stopping.dominance import Dominance
from energyopt.stopping.energy_cap import EnergyCap
from energyopt.stopping.extrapolate import Extrapolate, Future
from energyopt.stopping.rules import Rules
from energyopt.testing import stopping_rules
from energyopt.testing.pytest import StoppingRuleContract
from tests.curves import CURVES, TARGET, curve, progress, rivals_of, steady

GOOD = steady([0.3, 0.6, 0.8, 0.9, 0.95, 0.97, 0.98])
"""Reaches the target of 0.9 after 4 J."""

FLAT = steady([0.1, 0.11, 0.1, 0.11, 0.1, 0.11, 0.11, 0.1, 0.11])


@pytest.mark.parametrize("make", [EnergyCap, Dominance, Extrapolate])
@given(CURVES, st.lists(CURVES, max_size=5), st.integers(-9, 9))
def test_a_rule_decides_alike_of_a_metric_however_it_is_turned(
    make: Callable[[], StoppingRule], curve: Curve, others: list[Curve], log: int
):
    """A gain, its mirror image, and the gain in other units."""

    def decided(monitor: Monitor, factor: float = 1) -> bool:
        def value(accuracy: float) -> float:
            return monitor.score(factor * accuracy)

        def reported(of: Curve) -> Curve:
            return replace(of, accuracy=tuple(map(value, of.accuracy)), monitor=monitor)

        history = StudyHistory()
        for number, other in enumerate(others):
            history = history.updated_with(number, reported(other), value(TARGET))
        scores = reported(curve).scores
        plain = progress(curve, len(curve))
        shown = replace(plain, accuracy=scores, target=factor * TARGET, monitor=monitor)
        return make().decide(shown, history) is not None

    gain, loss = Monitor("gain", "max"), Monitor("loss", "min")
    # A factor of two has no rounding that could turn a comparison.
    assert decided(gain) == decided(loss) == decided(gain, 2.0**log)


def test_a_rule_says_the_values_of_a_loss():
    loss = Monitor("val_loss", "min")

    def reported(curve: Curve) -> Curve:
        return replace(curve, accuracy=tuple(2 - a for a in curve.accuracy), monitor=loss)

    history = (
        StudyHistory().updated_with(0, reported(GOOD), 1.1).updated_with(1, reported(GOOD), 1.1)
    )
    flat = reported(FLAT)
    shown = replace(progress(flat, 9), accuracy=flat.scores, target=-1.1, monitor=loss)
    assert Dominance().decide(shown, history) == (
        "with 9 J, val_loss 1.89, where 2 trials were better by more than 0.034 (trial 1: 1.02)"
    )


# Each subclass is about a rule of its own.
_ANY_CURVES = settings(suppress_health_check=[HealthCheck.differing_executors])


class AnyCurvesContract(StoppingRuleContract):
    """Properties that hold for any curves, not only the examples."""

    @_ANY_CURVES
    @given(CURVES)
    def test_stops_nothing_while_nothing_is_known_on_any_curve(self, curve: Curve):
        stopping_rules.stops_nothing_without_history(type(self).make(), curve)

    @_ANY_CURVES
    @given(CURVES, st.lists(CURVES, max_size=5))
    def test_never_stops_the_first_to_be_so_good_with_so_little_on_any_curve(
        self, curve: Curve, others: list[Curve]
    ):
        stopping_rules.leaves_what_is_on_the_front(type(self).make(), curve, others)

    @_ANY_CURVES
    @given(CURVES, st.lists(CURVES, max_size=5))
    def test_says_the_same_of_the_same_on_any_curve(self, curve: Curve, others: list[Curve]):
        stopping_rules.decides_the_same_twice(type(self).make, curve, others)


class TestEnergyCap(AnyCurvesContract):
    make = EnergyCap
    hopeless = progress(FLAT, 9), rivals_of([GOOD])


class TestDominance(AnyCurvesContract):
    make = Dominance
    hopeless = progress(FLAT, 4), rivals_of([GOOD, GOOD])


class TestExtrapolate(AnyCurvesContract):
    make = Extrapolate
    hopeless = progress(FLAT, 9), rivals_of([GOOD])


# --- energy_cap


def test_the_cap_names_the_joules_the_multiple_and_the_trial():
    rivals = rivals_of([steady([0.5]), GOOD])
    assert EnergyCap().decide(progress(FLAT, 8), rivals) is None  # 8 J are not more than 2 x 4 J
    assert EnergyCap().decide(progress(FLAT, 9), rivals) == (
        "used 9 J, more than 2 x the 4 J of the cheapest trial (trial 1)"
    )


def test_the_cap_is_for_the_way_to_the_target():
    rivals, slow = rivals_of([GOOD]), steady([0.5] * 8 + [0.9, 0.91, 0.92])
    assert EnergyCap().decide(progress(slow, 11), rivals) is None
    missed = rivals_of([steady([0.5, 0.6])])
    assert EnergyCap().decide(progress(FLAT, 9), missed) is None


def test_the_cap_can_follow_the_noise_of_seeds():
    cap = EnergyCap("noise", z=2.0)
    assert cap.beta(None) == 2
    assert cap.beta(0.0) == 1
    assert cap.beta(0.25) == pytest.approx(math.exp(0.5))
    rivals = rivals_of([GOOD])
    noisy = StudyHistory(
        rivals.incumbent_j, rivals.incumbent, rivals.curves, rivals.front, luck=0.6
    )
    why = cap.decide(progress(steady([0.1] * 20), 20), noisy)
    assert why is not None
    assert "more than 3.32 x the 4 J" in why


@given(CURVES, st.lists(CURVES, max_size=4), st.floats(1, 9), st.floats(1, 9))
def test_a_higher_cap_never_stops_more(of: Curve, others: list[Curve], a: float, b: float):
    so_far, rivals = progress(of, len(of)), rivals_of(others)
    if EnergyCap(max(a, b)).decide(so_far, rivals) is not None:
        assert EnergyCap(min(a, b)).decide(so_far, rivals) is not None


# --- dominance


def test_dominance_compares_at_the_same_joules_not_epochs():
    rivals = rivals_of([GOOD, GOOD])
    cheap = steady([0.1, 0.2, 0.3], epoch_j=0.3)  # three epochs for less than one of the others
    assert Dominance().decide(progress(cheap, 3), rivals) is None
    expensive = steady([0.1, 0.2, 0.3], epoch_j=2)
    assert Dominance().decide(progress(expensive, 3), rivals) == (
        "with 6 J, accuracy 0.300, where 2 trials were better by more than 0.05 (trial 1: 0.970)"
    )


def test_dominance_takes_so_many_others_by_a_margin():
    so_far, one = progress(steady([0.5, 0.58, 0.76]), 3), rivals_of([GOOD])
    assert Dominance(k=1, margin=0.03).decide(so_far, one) is not None
    assert "1 trial was better" in str(Dominance(k=1, margin=0.03).decide(so_far, one))
    assert Dominance(k=2, margin=0.03).decide(so_far, one) is None
    assert Dominance(k=1, margin=0.05).decide(so_far, one) is None
    assert Dominance(k=1, margin=0.03, evaluations=4).decide(so_far, one) is None


@given(
    CURVES,
    st.lists(CURVES, max_size=6),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_dominance_stops_less_the_more_it_asks_for(
    of: Curve, others: list[Curve], ks: tuple[int, int], margins: tuple[float, float]
):
    so_far, rivals = progress(of, len(of)), rivals_of(others)
    if Dominance(max(ks), max(margins), 1).decide(so_far, rivals) is not None:
        assert Dominance(min(ks), min(margins), 1).decide(so_far, rivals) is not None


# --- extrapolate


def powers(end: float, bend: float, epochs: int, start: float = 0.1) -> list[float]:
    """A curve that saturates."""
    return [end - (end - start) * (index + 1) ** -bend for index in range(epochs)]


def test_extrapolation_stops_what_saturates_too_low_and_says_how_probable_it_is():
    low = steady(powers(0.5, 1.0, 12))
    why = Extrapolate().decide(progress(low, 12), rivals_of([GOOD]))
    assert why is not None
    assert why.startswith(
        "after 12 J, at accuracy 0.467, 0.0 % probable to reach 0.9 below the 4 J"
    )
    assert why.endswith("% probable to come onto the front")


def test_extrapolation_leaves_what_may_win():
    slow = steady([0.3] * 20 + [0.92])  # the target after 21 J
    rising = steady([0.05 * index for index in range(1, 9)])
    assert Extrapolate().decide(progress(rising, 8), rivals_of([slow])) is None
    late_bloomer = steady(powers(0.999, 0.9, 10))
    assert Extrapolate().decide(progress(late_bloomer, 10), rivals_of([slow])) is None


def test_a_slow_winner_of_accuracy_goes_on_unless_the_target_is_all():
    first = steady([0.85, *[0.9] * 9])
    winner = steady(powers(0.97, 1.0, 8))
    so_far = progress(winner, 8)
    assert Extrapolate().decide(so_far, rivals_of([first])) is None
    alone = progress(winner, 8, goes_beyond=False)
    why = Extrapolate().decide(alone, rivals_of([first]))
    assert why is not None
    assert "front" not in why


def test_extrapolation_waits_for_evaluations():
    rivals = rivals_of([GOOD])
    for seen in range(1, 6):
        assert Extrapolate(evaluations=6).decide(progress(FLAT, seen), rivals) is None


def test_beyond_the_target_the_front_is_what_counts():
    flat = steady([0.5, 0.91, *[0.91] * 10])
    why = Extrapolate().decide(progress(flat, 12), rivals_of([GOOD]))
    assert why is not None
    assert "to reach" not in why
    assert "% probable to come onto the front" in why


@pytest.mark.parametrize(("end", "bend"), [(0.95, 0.5), (0.7, 1.0), (0.9, 2.0)])
def test_the_future_of_a_power_law_is_near_it(end: float, bend: float):
    known = steady(powers(end, bend, 12))
    future = Future.of(progress(known, 12))
    epochs = np.array([40.0])
    true = end - (end - 0.1) * 40**-bend
    assert future.above(epochs, np.array([true - 0.1])) > 0.8
    assert future.above(epochs, np.array([true + 0.1])) < 0.2


@given(CURVES, st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1), st.floats(1.1, 9))
def test_probabilities_are_such_and_fall_with_the_level(
    of: Curve, level: float, a: float, b: float, ahead: float
):
    future = Future.of(progress(of, len(of)))
    epochs = np.array([of.training_j[-1] * ahead])
    low, high = (future.above(epochs, np.array([level])) for level in (max(a, b), min(a, b)))
    assert 0 <= low <= high <= 1
    both = np.array([of.training_j[-1] * 1.05, *epochs])
    at_either = future.above(both, np.array([level, level]))
    assert at_either >= future.above(epochs, np.array([level])) - 1e-12


@given(CURVES, st.lists(CURVES, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_delta_never_stops_less(of: Curve, others: list[Curve], a: float, b: float):
    so_far, rivals = progress(of, len(of)), rivals_of(others)
    if Extrapolate(min(a, b)).decide(so_far, rivals) is not None:
        assert Extrapolate(max(a, b)).decide(so_far, rivals) is not None


# --- together


def test_the_first_rule_that_stops_is_named():
    hopeless = progress(FLAT, 9)
    both: dict[str, StoppingRule] = {"cap": EnergyCap(), "others": Dominance(k=1)}
    rivals = rivals_of([GOOD])
    assert str(Rules(both, rivals).stop(hopeless)).startswith("cap: used 9 J, ")
    swapped = dict(reversed(both.items()))
    assert str(Rules(swapped, rivals).stop(hopeless)).startswith("others: with 9 J, ")
    assert Rules(both, rivals).stop(progress(GOOD, 7)) is None
    assert not Rules({}, rivals)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EnergyCap(0.9), "energy_cap.beta=0.9 is not allowed: a number of at least 1"),
        (lambda: EnergyCap("loud"), "energy_cap.beta=loud is not allowed: a number of at least 1"),
        (lambda: EnergyCap(math.nan), "energy_cap.beta=nan is not allowed"),
        (lambda: EnergyCap(True), "energy_cap.beta=True is not allowed"),
        (lambda: EnergyCap(z=-1), "energy_cap.z=-1 is not allowed: a number of at least 0"),
        (lambda: Dominance(k=0), "dominance.k=0 is not allowed: a whole number of at least 1"),
        (lambda: Dominance(k=1.5), "dominance.k=1.5 is not allowed"),  # type: ignore[arg-type]
        (lambda: Dominance(margin=-0.1), r"dominance.margin=-0.1 is not allowed: .* in \[0, 1\]"),
        (lambda: Dominance(margin=5), "dominance.margin=5 is not allowed"),
        (lambda: Dominance(evaluations=0), "dominance.evaluations=0 is not allowed"),
        (lambda: Extrapolate(delta=1.5), r"extrapolate.delta=1.5 is not allowed: .* in \[0, 1\]"),
        (
            lambda: Extrapolate(evaluations=2),
            "extrapolate.evaluations=2 .* of at least 3 is needed",
        ),
    ],
)
def test_an_option_holds_only_what_it_may(make, says):
    with pytest.raises(ConfigError, match=rf"^stopping\.rules\.{says}"):
        make()


def test_curves_of_one_point_and_of_the_same_joules_are_no_trouble():
    still = curve((1, 0.1), (1, 0.2), (1, 0.3), (1, 0.3), (1, 0.3))
    for rule in (EnergyCap(), Dominance(k=1), Extrapolate()):
        for seen in range(1, 6):
            rule.decide(progress(still, seen), rivals_of([GOOD, still]))
    assert TARGET == 0.9
