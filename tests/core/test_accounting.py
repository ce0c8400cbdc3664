"""Sums about joules are what the formulas say, for all numbers, floats or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from energyopt.core.accounting import (
    head_hits,
    life_cycle_j,
    payback_n,
    recycled,
    recycled_j,
    shared,
    spread,
)
from energyopt.core.trial_result import TrialResult
from tests.toys import result

JOULES = st.floats(1e-3, 1e9)
DECIMALS = st.decimals("0.01", "10000", places=2)


# --- spread


def test_setups_of_which_a_seed_missed_are_counted_and_not_compared() -> None:
    found = spread([[2, 4], [1, None], [30, 30], [None], []])
    assert (found.best_j, found.worst_j, found.ratio) == (3, 30, 10)
    assert (found.setups, found.censored) == (2, 2)


def test_of_nothing_there_is_no_spread() -> None:
    found = spread([[None]])
    assert (found.best_j, found.ratio, found.setups, found.censored) == (None, None, 0, 1)


@given(st.lists(st.lists(st.none() | JOULES, min_size=1, max_size=3), max_size=6))
def test_a_spread_is_at_least_one_and_counts_all(setups: list[list[float | None]]) -> None:
    found = spread(setups)
    assert found.setups + found.censored == len(setups)
    assert found.ratio is None or found.ratio >= 1


# --- recycled knowledge


@pytest.mark.parametrize(
    ("pre", "scratch", "tuned", "n"),
    [
        (10, 4, 2, 5),
        (100, 5, 1, 25),
        (3, 1, 0.9, 30),  # 31 for those who trust floats
        (3, 1, 0.91, 34),
        (0, 5, 1, 1),
        (1e-9, 5, 1, 1),
        (10, 2, 2, None),
        (10, 2, 3, None),
    ],
)
def test_pretraining_pays_back_from_a_number_of_trainings_on(pre, scratch, tuned, n) -> None:
    assert payback_n(pre, scratch, tuned) == n


@given(DECIMALS, DECIMALS, DECIMALS)
def test_the_payback_of_decimals_is_that_of_exact_fractions(pre, scratch, tuned) -> None:
    assume(tuned < scratch)
    exact = Fraction(pre) / (Fraction(scratch) - Fraction(tuned))
    assert payback_n(float(pre), float(scratch), float(tuned)) == max(1, math.ceil(exact))


@given(JOULES, JOULES, JOULES)
def test_from_the_payback_on_and_not_before_it_is_cheaper(pre, scratch, tuned) -> None:
    n = payback_n(pre, scratch, tuned)
    if n is None:
        assert tuned >= scratch or not math.isfinite(pre / (scratch - tuned))
        return
    assert recycled_j(pre, tuned, n) <= scratch * (1 + 1e-6)
    if n > 1:
        assert recycled_j(pre, tuned, n - 1) > scratch * (1 - 1e-6)


@given(JOULES, JOULES, st.integers(1, 10**6))
def test_the_more_share_it_the_cheaper_but_never_than_fine_tuning(pre, tuned, n) -> None:
    assert tuned <= recycled_j(pre, tuned, n + 1) <= recycled_j(pre, tuned, n)
    assert recycled_j(pre, tuned, 1) == pre + tuned


def test_three_regimes() -> None:
    energy = recycled(10, 4, 2, n=10)
    assert (energy.own_j, energy.shared_j, energy.downloaded_j) == (12, 3, 2)
    assert energy.payback == 5
    assert energy.savings == {"own": -2, "shared": 0.25, "downloaded": 0.5}


@pytest.mark.parametrize(
    "numbers", [(-1, 2, 1, 1), (1, 0, 1, 1), (1, 2, math.inf, 1), (1, 2, 1, 0.5), (1, 2, 1, 0)]
)
def test_what_cannot_be_is_refused(numbers) -> None:
    with pytest.raises(ValueError, match=r"is needed|at least one"):
        recycled(*numbers)


# --- shared knowledge


def headed(
    curve: Mapping[str, list[float]], *, target: float = 0.9, **targets: float
) -> TrialResult:
    """A trial of several heads: 1 J an evaluation."""
    rows = list(zip(*curve.values(), strict=True))
    record = result([(100 * (i + 1), i + 1.0, min(row)) for i, row in enumerate(rows)])
    checkpoints = replace(
        record.checkpoints, heads={name: tuple(column) for name, column in curve.items()}
    )
    own = targets or dict.fromkeys(curve, target)
    return replace(record, checkpoints=checkpoints, head_targets=own)


def test_each_head_has_its_first_hit() -> None:
    record = headed({"a": [0.5, 0.9, 0.8, 0.9], "b": [0.9, 0.2, 0.9, 0.95], "c": [0.1] * 4})
    hits = head_hits(record)
    assert hits["c"] is None
    assert (hits["a"].training_j, hits["a"].samples, hits["a"].steps) == (2, 200, 20)  # type: ignore[union-attr]
    assert hits["b"].training_j == 1  # type: ignore[union-attr]
    assert head_hits(record, {"a": 0.95, "b": 0.95, "c": 0.1})["c"].training_j == 1  # type: ignore[union-attr]
    assert head_hits(result([(100, 1, 0.5)])) == {}


def test_sharing_saves_what_the_formula_says() -> None:
    together = headed({"a": [0.5, 0.9, 0.92], "b": [0.95, 0.95, 0.95]})
    alone = {"a": result([(100, 3, 0.9)]), "b": result([(100, 1, 0.9), (200, 5, 0.99)])}
    saving = shared(together, alone)
    assert (saving.multitask_j, saving.single_j, saving.missed) == (2, {"a": 3, "b": 1}, ())
    assert saving.saving == 0.5
    assert saving.accuracy_gain == pytest.approx({"a": 0.02, "b": -0.04})


@pytest.mark.parametrize(
    ("curve", "alone", "missed"),
    [
        ({"a": [0.5], "b": [0.9]}, 0.9, ("a with several heads",)),
        ({"a": [0.9, 0.8], "b": [0.8, 0.9]}, 0.9, ("all heads at one evaluation",)),
        ({"a": [0.9], "b": [0.9]}, 0.8, ("b alone",)),
    ],
)
def test_where_a_target_is_missed_nothing_is_saved(curve, alone, missed) -> None:
    saving = shared(headed(curve), {"a": result([(100, 3, 0.9)]), "b": result([(100, 3, alone)])})
    assert saving.missed == missed
    assert saving.saving is None


def test_a_separate_training_counts_to_the_target_of_its_head() -> None:
    together = headed({"a": [0.9], "b": [0.9]}, a=0.9, b=0.6)
    alone = {"a": result([(100, 3, 0.9)]), "b": result([(100, 1, 0.6), (200, 9, 0.95)])}
    assert shared(together, alone).single_j == {"a": 3, "b": 1}
    with pytest.raises(ValueError, match="differ"):
        shared(together, {"a": alone["a"]})


# --- a life


@given(JOULES, JOULES, st.integers(0, 10**9), JOULES, JOULES)
def test_a_life_is_the_sum_of_its_parts(search, train, n, per_1000, embodied) -> None:
    life = life_cycle_j(search, train, n, per_1000, embodied)
    assert life == pytest.approx(search + train + n * per_1000 / 1000 + embodied)
    assert life_cycle_j(search, train, 0, per_1000) == search + train


def test_a_life_has_no_negative_parts() -> None:
    with pytest.raises(ValueError, match="n_inferences=-1"):
        life_cycle_j(1, 1, -1, 1)
