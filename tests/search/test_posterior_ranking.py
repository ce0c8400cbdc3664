"""The recommendation has the least expected energy, which need not be the least observed one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.search.encoding import Array
from energyopt.search.posterior_ranking import EmpiricalModel, recommend
from energyopt.search.schedule import TrialSnapshot, unique_params

TARGET = 0.9
POINTS = [{"lr": n} for n in range(3)]


@dataclass
class Given:
    """A given posterior."""

    mean: Sequence[float]
    covariance: Sequence[Sequence[float]]

    def posterior(self, points: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        count = len(points)
        return np.array(self.mean[:count]), np.array(self.covariance)[:count, :count]


def trial(number: int, lr: float, energy_j: float, *, hit: bool = True) -> TrialSnapshot:
    accuracy = TARGET if hit else TARGET - 0.1
    return TrialSnapshot(
        number, {"lr": lr}, (1.0,), (energy_j,), (accuracy,), energy_j, reached=hit
    )


def independent(means: Sequence[float], sds: Sequence[float]) -> Given:
    return Given(means, np.diag(np.square(sds)).tolist())


# Recommending ------------------------------------------------------------------------------


def test_the_least_expected_energy_comes_first():
    ranking = recommend(independent([2, 0, 1], [1, 1, 1]), POINTS)
    assert [each.params["lr"] for each in ranking] == [1, 2, 0]
    assert [each.energy_j for each in ranking] == pytest.approx([1, math.e, math.e**2])
    assert [each.sd for each in ranking] == [1, 1, 1]


def test_the_only_setup_is_the_best_and_none_is_none():
    (only,) = recommend(independent([0], [5]), POINTS[:1])
    assert only.probability == 1
    assert recommend(independent([], []), []) == []


def test_what_is_as_good_within_the_share_counts_as_the_best():
    model = independent([0, math.log(1.04)], [1e-9, 1e-9])
    assert [each.probability for each in recommend(model, POINTS[:2], within=0.05)] == [1, 1]
    assert [each.probability for each in recommend(model, POINTS[:2], within=0.03)] == [1, 0]


def test_what_two_setups_share_is_no_doubt_about_which_is_better():
    together = Given([0, 0.3], [[1, 1], [1, 1]])
    apart = Given([0, 0.3], [[1, 0], [0, 1]])
    assert [each.probability for each in recommend(together, POINTS[:2])] == [1, 0]
    first, second = recommend(apart, POINTS[:2])
    assert 0.5 < first.probability < 0.7
    assert 0.35 < second.probability < 0.5


floats = st.floats(-3, 3)
matrices = st.lists(st.lists(floats, min_size=3, max_size=3), min_size=3, max_size=3)


@given(st.lists(floats, min_size=3, max_size=3), matrices)
def test_probabilities_are_some_and_one_of_the_setups_is_the_best(mean, root):
    covariance = np.array(root) @ np.array(root).T
    model = Given(mean, covariance.tolist())
    ranking = recommend(model, POINTS)
    assert all(0 <= each.probability <= 1 for each in ranking)
    assert sum(each.probability for each in ranking) >= 1 - 1e-9
    assert [each.energy_j for each in ranking] == sorted(each.energy_j for each in ranking)
    assert ranking == recommend(model, POINTS)


# Without a model ---------------------------------------------------------------------------


def test_a_lucky_training_is_drawn_towards_the_others():
    """One training at 0.8 J says less than five at 1 J."""
    trials = [trial(0, 1, 0.8), *(trial(1 + n, 2, 1.0) for n in range(5)), trial(9, 3, 4.0)]
    mean, covariance = EmpiricalModel(trials, TARGET).posterior(
        unique_params(trial.params for trial in trials)
    )
    assert math.log(0.8) < mean[0] < math.log(1.0)
    assert mean[1] == pytest.approx(0, abs=0.02)
    assert covariance[1, 1] < covariance[0, 0]


def test_a_setup_that_missed_the_target_cost_more_than_it_used():
    trials = [trial(0, 1, 1.0), trial(1, 2, 3.0, hit=False), trial(2, 3, 1.5)]
    mean, _ = EmpiricalModel(trials, TARGET).posterior(
        unique_params(trial.params for trial in trials)
    )
    assert mean[1] > math.log(3.0)


def test_a_setup_is_the_same_with_another_seed():
    trials = [TrialSnapshot(n, {"lr": 1, "seed": n}) for n in range(3)]
    assert unique_params(trial.params for trial in trials) == [{"lr": 1, "seed": 2}]


@given(st.lists(st.tuples(st.integers(0, 3), floats, st.booleans()), max_size=12))
def test_whatever_trials_there_are_they_have_an_order(rows):
    trials = [trial(n, lr, math.exp(log), hit=hit) for n, (lr, log, hit) in enumerate(rows)]
    ranking = recommend(
        EmpiricalModel(trials, TARGET), unique_params(trial.params for trial in trials)
    )
    assert len(ranking) == len({lr for lr, _, _ in rows})
    assert all(math.isfinite(each.energy_j) and each.sd > 0 for each in ranking)
