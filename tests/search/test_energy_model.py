"""Predictions of the energy model after trainings that follow a law, and after outliers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from energyopt.search.energy_model import EnergyModel
from energyopt.search.schedule import TrialSnapshot
from tests.trained import LIMITS, SIZES, SPACE, TARGET, target_j, to_target, trained

few = settings(max_examples=15, deadline=None)
AT_64 = {"batch_size": 64}
THREE: Mapping[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-3, 1.0, log=True),
    "model.width": IntDistribution(8, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
}


def model(
    observed: Sequence[TrialSnapshot],
    space: Mapping[str, BaseDistribution] = SPACE,
    target: float | None = TARGET,
    **options: Any,
) -> EnergyModel:
    return EnergyModel(observed, space, target, **options)


def expected(of: EnergyModel, setup: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation of the log energy to the target."""
    mean, covariance = of.posterior([setup])
    return float(mean[0]), math.sqrt(covariance[0, 0])


def is_sound(of: EnergyModel, setups: Sequence[Mapping[str, Any]]) -> None:
    """All that it says is finite, and covariances are ones."""
    for level in (0.0, 0.5, 1.0):
        mean, covariance = of.posterior(setups, (level,))
        assert np.isfinite(mean).all()
        assert np.allclose(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > -1e-6
    for numbers in of.epoch_j(setups):
        assert np.isfinite(numbers).all()
        assert (numbers > 0).all()


SIZED = [{"batch_size": size} for size in SIZES]


# --- trainings to the target


def test_a_trained_setup_costs_what_it_cost():
    whole = to_target(0, AT_64)
    mean, sd = expected(model([whole]), AT_64)
    assert mean == pytest.approx(math.log(whole.joules[-1]), abs=0.05)
    assert sd < 0.3
    is_sound(model([whole]), SIZED)


def test_more_trainings_of_a_setup_leave_less_doubt():
    lucks = (1.0, 1.08, 0.94, 1.03, 0.97)
    runs = [to_target(index, AT_64, luck=luck) for index, luck in enumerate(lucks)]
    sds = [expected(model(runs[:count], refine=False), AT_64)[1] for count in range(1, 6)]
    assert sds == sorted(sds, reverse=True)
    assert sds[-1] < 0.6 * sds[0]


def test_the_longer_a_trial_trained_the_surer_is_its_end():
    sds = [
        expected(model([trained(0, AT_64, epochs)], refine=False), AT_64)[1]
        for epochs in (0.5, 1, 3, 6, 12)
    ]
    assert sds == sorted(sds, reverse=True)
    assert sds[-1] < 0.6 * sds[0]


def test_what_lies_apart_from_all_that_trained_is_the_least_known():
    fitted = model([to_target(0, AT_64), to_target(1, {"batch_size": 32})])
    doubts = [expected(fitted, setup)[1] for setup in SIZED]
    assert max(doubts) == doubts[-1] > expected(fitted, AT_64)[1]


def test_the_law_of_batch_sizes_is_learnt_from_three():
    runs = [to_target(index, {"batch_size": size}) for index, size in enumerate((16, 64, 256))]
    mean, covariance = model(runs).posterior(SIZED)
    true = np.log([target_j(setup) for setup in SIZED])
    assert np.abs(mean - true).max() < 3 * np.sqrt(np.diag(covariance)).max()
    assert np.abs(mean - true)[1:6].max() < 0.2
    assert SIZED[int(mean.argmin())] == AT_64


def test_larger_batches_are_expected_to_take_more_epochs_and_never_fewer():
    fitted = model([to_target(0, AT_64)])
    epochs = fitted.posterior(SIZED)[0] - np.log(fitted.epoch_j(SIZED)[0])
    assert (np.diff(epochs) > 0).all()


def test_a_power_limit_moves_only_the_energy_of_an_epoch():
    runs = [to_target(0, {"batch_size": 64, "power_limit_w": 250})]
    runs += [trained(1, {"batch_size": 64, "power_limit_w": 150}, 0.5)]
    fitted = model(runs, LIMITS)
    near = [dict(run.params) for run in runs]
    assert np.log(fitted.epoch_j(near)[0]) == pytest.approx(
        np.log([run.epoch_j or 0.0 for run in runs]), abs=0.05
    )
    mean, _ = fitted.posterior(near)
    assert mean[1] == pytest.approx(math.log(target_j(near[1])), abs=0.5)
    assert mean[1] < mean[0]


def test_noise_falls_towards_the_target_where_luck_is_left():
    fitted = model([to_target(0, AT_64)])
    noises = [fitted.noise(level) for level in (-0.5, 0.0, 0.5, 1.0, 1.5)]
    assert noises == sorted(noises, reverse=True)
    assert noises[-1] == noises[-2] > 0


# --- unfinished curves


def test_a_curve_that_fell_behind_is_expected_to_cost_more():
    first = to_target(0, AT_64)
    rival = {"batch_size": 32}
    alike = trained(1, rival, 3)
    behind = dataclasses.replace(alike, accuracy=trained(1, rival | {"slower": 3}, 3).accuracy)
    mean, _ = expected(model([first, alike]), rival)
    worse, _ = expected(model([first, behind]), rival)
    assert worse > mean + 0.4


def test_the_longer_a_curve_stays_flat_the_more_its_target_costs():
    first = to_target(0, AT_64)
    means = []
    for epochs in (4, 8, 16, 40):
        at = tuple(float(epoch) for epoch in range(1, epochs + 1))
        flat = TrialSnapshot(1, {"batch_size": 128}, at, at, (0.6,) * epochs, 15.0, at[-1])
        means.append(expected(model([first, flat], refine=False), {"batch_size": 128})[0])
    assert means == sorted(means)
    assert means[-1] > math.log(40 * 15)  # it was not there after these


def test_a_bound_below_what_is_expected_anyway_says_little():
    first = to_target(0, AT_64)
    mean, sd = expected(model([first], refine=False), AT_64)
    young = trained(1, AT_64, 0.5)
    assert expected(model([first, young], refine=False), AT_64)[0] == pytest.approx(mean, abs=0.2)
    assert expected(model([first, young], refine=False), AT_64)[1] < 1.5 * sd


def test_a_setup_that_does_not_learn_says_nothing_of_its_neighbours():
    runs = [to_target(index, {"batch_size": size}) for index, size in enumerate((32, 64))]
    epochs = tuple(float(epoch) for epoch in range(1, 61))
    stuck = TrialSnapshot(2, {"batch_size": 128}, epochs, epochs, (0.1,) * 60, 15.0, 60.0)
    fitted = model([*runs, stuck])
    assert expected(fitted, {"batch_size": 128})[0] > math.log(60 * 15)
    assert expected(fitted, AT_64)[0] == pytest.approx(math.log(target_j(AT_64)), abs=0.15)
    assert expected(fitted, {"batch_size": 256})[0] < math.log(60 * 15)


# --- any study


@st.composite
def studies(draw: st.DrawFn) -> list[TrialSnapshot]:
    accuracies = st.lists(st.floats(0, 1), max_size=12)
    trials = []
    for number in range(draw(st.integers(1, 6))):
        accuracy = tuple(draw(accuracies))
        epochs = tuple(0.25 * (i + 1) for i in range(len(accuracy)))
        energy_j = draw(st.floats(1e-3, 1e6))
        joules = tuple(energy_j * epoch for epoch in epochs)
        setup = draw(
            st.fixed_dictionaries(
                {"optimizer": st.sampled_from(["adam", "sgd"])},
                optional={"lr": st.floats(1e-3, 1.0), "model.width": st.integers(8, 64)},
            )
        )
        trials.append(TrialSnapshot(number, setup, epochs, joules, accuracy, energy_j))
    return trials


@given(studies(), st.one_of(st.none(), st.floats(0, 1)))
@few
def test_whatever_trained_the_model_is_sound(observed, target):
    fitted = model(observed, THREE, target)
    drawn = fitted.encoding.candidates([], np.random.default_rng(0), 10)
    is_sound(fitted, [*(dict(trial.params) for trial in observed), *drawn, {}])


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("target", [None, TARGET, 0.0, 1.0])
def test_accuracies_that_never_change(constant, target):
    epochs = (1.0, 2.0, 3.0)
    same = [
        TrialSnapshot(number, {"batch_size": size}, epochs, epochs, (constant,) * 3, 1.0)
        for number, size in enumerate((16, 64))
    ]
    is_sound(model(same, target=target), SIZED)


def test_accuracies_that_are_no_number():
    epochs = (1.0, 2.0, 3.0)
    reads = [(math.nan,) * 3, (0.5, math.nan, math.nan), (math.nan, 0.5, 0.6)]
    odd = [
        TrialSnapshot(number, AT_64, epochs, epochs, read, 1.0) for number, read in enumerate(reads)
    ]
    for count in (1, 2, 3):
        is_sound(model(odd[:count]), SIZED)


def test_one_trial_without_an_evaluation_tells_its_epochs_energy():
    fitted = model([TrialSnapshot(0, AT_64, epoch_j=20.0)])
    assert fitted.epoch_j([AT_64])[0] == pytest.approx([20], rel=0.05)
    is_sound(fitted, SIZED)


def test_trials_whose_epochs_energy_is_not_known_are_left_out_of_it():
    fitted = model([to_target(0, AT_64), TrialSnapshot(1, {"batch_size": 8}, epoch_j=None)])
    assert fitted.epoch_j([AT_64])[0] == pytest.approx([20], rel=0.05)
    is_sound(fitted, SIZED)


def test_keys_of_a_conditional_space_may_be_missing():
    space = {**SPACE, "momentum": FloatDistribution(0.0, 0.99)}
    runs = [
        to_target(0, AT_64),
        to_target(1, {"batch_size": 64, "momentum": 0.9, "slower": 2}),
        to_target(2, {"momentum": 0.8, "slower": 2}),
    ]
    fitted = model(runs, space)
    assert expected(fitted, AT_64)[0] == pytest.approx(math.log(target_j(AT_64)), abs=0.15)
    assert (
        expected(fitted, {"batch_size": 64, "momentum": 0.9})[0] > expected(fitted, AT_64)[0] + 0.3
    )
    is_sound(fitted, [*SIZED, {"batch_size": 64, "momentum": 0.1}, {"momentum": 0.5}, {}])


@pytest.mark.parametrize("choices", [[16, "all"], ["small", "large", "huge"], [None, 32], [-1, 64]])
def test_batch_sizes_that_are_no_numbers_are_choices_by_name(choices):
    space = {"batch_size": CategoricalDistribution(choices)}
    setups = [{"batch_size": choice} for choice in choices]
    epochs = (1.0, 2.0)
    runs = [
        TrialSnapshot(number, setup, epochs, epochs, (0.4, 0.92), 1.0)
        for number, setup in enumerate(setups)
    ]
    is_sound(model(runs, space), setups)


def test_the_same_setup_at_several_levels_is_one_setup():
    epochs = tuple(float(epoch) for epoch in range(1, 61))
    stuck = TrialSnapshot(2, {"batch_size": 128}, epochs, epochs, (0.1,) * 60, 15.0)
    fitted = model([to_target(0, AT_64), to_target(1, {"batch_size": 32}), stuck])
    points = [{"batch_size": 128}] * 3
    _, covariance = fitted.posterior(points, [0.5, 0.75, 1.0])
    assert np.linalg.eigvalsh(covariance).min() > -1e-6


def test_two_hundred_trials_in_three_dimensions():
    rng = np.random.default_rng(0)
    setups: list[dict[str, Any]] = [
        {
            "lr": 10 ** rng.uniform(-3, 0),
            "model.width": int(rng.integers(8, 65)),
            "optimizer": str(rng.choice(["adam", "sgd"])),
        }
        for _ in range(200)
    ]
    runs = [
        dataclasses.replace(
            trained(index, {"slower": 1 + abs(math.log10(setup["lr"]) + 1.5)}, 1 + index % 9),
            params=setup,
        )
        for index, setup in enumerate(setups)
    ]
    fitted = model(runs, THREE, refine=False)
    is_sound(fitted, setups[:40])
    near, far = ({"lr": lr, "model.width": 30, "optimizer": "adam"} for lr in (0.03, 0.9))
    assert expected(fitted, near)[0] < expected(fitted, far)[0]


# --- scales


def test_scales_that_were_found_are_a_start_and_fit_only_their_space():
    runs = [to_target(index, {"batch_size": size}) for index, size in enumerate((16, 64, 256))]
    fitted = model(runs)
    again = model(runs, hyper=fitted.hyper, refine=False)
    assert (again.hyper == fitted.hyper).all()
    assert again.posterior(SIZED)[0] == pytest.approx(fitted.posterior(SIZED)[0])
    other = model(runs, LIMITS, hyper=fitted.hyper, refine=False)
    assert len(other.hyper) == len(fitted.hyper) + 1


def test_the_same_trials_give_the_same_model():
    runs = [to_target(index, {"batch_size": size}) for index, size in enumerate((16, 64, 256))]
    one, other = (model(runs).posterior(SIZED) for _ in range(2))
    assert (one[0] == other[0]).all()
    assert (one[1] == other[1]).all()
