"""Setups as rows of numbers, and setups drawn from a space."""

from __future__ import annotations

import math
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

from energyopt.search.encoding import Encoding

few = settings(max_examples=60, deadline=None)
BOUNDS = st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(sorted)
SIZES = CategoricalDistribution([16, 32, 64, 128, 256])
NAMES = CategoricalDistribution(["adam", "sgd", "lion"])


@st.composite
def distributions(draw: st.DrawFn) -> BaseDistribution:
    low, high = draw(BOUNDS)
    log = draw(st.booleans())
    kind = draw(st.sampled_from(["float", "step", "int", "numbers", "names"]))
    if kind == "float":
        return FloatDistribution(low / 100, high / 100, log=log)
    if kind == "step":
        steps = draw(st.integers(0, 50))
        step = draw(st.sampled_from([0.1, 0.3, 0.25, 7.0]))
        return FloatDistribution(low / 100, round(low / 100 + steps * step, 6), step=step)
    if kind == "int":
        step = 1 if log else draw(st.integers(1, 9))
        high -= (high - low) % step
        return IntDistribution(low, high, log=log, step=step)
    if kind == "numbers":
        return CategoricalDistribution(sorted({low, high, *range(low, high, 97)}))
    return CategoricalDistribution(["adam", None, True, 3])


SPACES = st.dictionaries(st.sampled_from("abc"), distributions(), min_size=1)


def contains(at: BaseDistribution, value: Any) -> bool:
    return at._contains(at.to_internal_repr(value))


def row(encoding: Encoding, **point: Any) -> list[float]:
    return list(encoding.rows([point])[0])


@given(SPACES, st.integers(0, 2**32 - 1))
@few
def test_candidates_lie_in_the_space_and_their_numbers_between_0_and_1(space, seed):
    encoding = Encoding(space)
    rng = np.random.default_rng(seed)
    near = encoding.candidates([], rng, 10)
    points = encoding.candidates(near[:2], rng, 10)
    assert points
    for point in points:
        assert list(point) == list(space)
        assert all(contains(space[key], value) for key, value in point.items())
    rows = encoding.rows(points)[:, ~encoding.by_name]
    assert ((rows >= 0) & (rows <= 1)).all()


@given(distributions(), st.integers(0, 2**32 - 1))
@few
def test_numbers_keep_their_order(at, seed):
    encoding = Encoding({"key": at})
    if encoding.by_name.any():
        return
    points = encoding.candidates([], np.random.default_rng(seed), 20)
    values = sorted(point["key"] for point in points)
    places = encoding.rows([{"key": value} for value in values])[:, 0]
    assert (np.diff(places) >= 0).all()
    if values[0] < values[-1]:
        assert places[0] < places[-1]


@pytest.mark.parametrize(
    ("at", "places"),
    [
        (FloatDistribution(1.0, 3.0), {1.0: 0, 2.0: 0.5, 3.0: 1}),
        (FloatDistribution(1e-4, 1.0, log=True), {1e-4: 0, 1e-2: 0.5, 1.0: 1}),
        (IntDistribution(4, 64, log=True), {4: 0, 16: 0.5, 64: 1}),
        (IntDistribution(0, 10), {0: 0, 5: 0.5, 10: 1}),
        (SIZES, {16: 0, 64: 0.5, 256: 1}),  # a wide ratio: even on a log scale
        (CategoricalDistribution([100, 150, 300]), {100: 0, 150: 0.25, 300: 1}),
        (CategoricalDistribution([0, 4, 8]), {0: 0, 4: 0.5, 8: 1}),
        (FloatDistribution(2.0, 2.0), {2.0: 0}),
        (IntDistribution(3, 3, log=True), {3: 0}),
    ],
)
def test_where_numbers_lie(at, places):
    encoding = Encoding({"key": at})
    for value, place in places.items():
        assert row(encoding, key=value) == pytest.approx([place])


@pytest.mark.parametrize(
    "choices", [["a", "b"], [1, 2], [True, False], [1, 2, "three"], [None, 1, 2], [1, 2, math.nan]]
)
def test_choices_by_name_are_equal_or_not(choices):
    encoding = Encoding({"key": CategoricalDistribution(choices)})
    assert encoding.by_name.all()
    rows = encoding.rows([{"key": choice} for choice in choices])
    apart = encoding.squared(rows, rows)[0]
    assert apart.tolist() == (1 - np.eye(len(choices))).tolist()


def test_a_setup_outside_of_the_space_lies_at_its_border():
    encoding = Encoding({"lr": FloatDistribution(0.1, 1.0, log=True), "optimizer": NAMES})
    assert row(encoding, lr=0.0, optimizer="adam")[0] == 0
    assert row(encoding, lr=50.0, optimizer="adam")[0] == 1
    rows = encoding.rows([{"optimizer": "own"}, {"optimizer": "adam"}, {"optimizer": "own"}])
    assert encoding.squared(rows, rows)[1].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_what_a_setup_has_not_is_as_far_from_it_as_can_be_and_equal_where_both_have_it_not():
    encoding = Encoding({"lr": FloatDistribution(0.0, 1.0), "optimizer": NAMES})
    points: list[dict[str, Any]] = [
        {"lr": 0.2},
        {"lr": 0.5, "optimizer": "sgd"},
        {"optimizer": "sgd"},
        {},
    ]
    rows = encoding.rows(points)
    assert np.isnan(rows).tolist() == [[False, True], [False, False], [True, False], [True, True]]
    lr, optimizer = encoding.squared(rows, rows)
    assert lr[0].tolist() == pytest.approx([0, 0.09, 1, 1])
    assert optimizer[0].tolist() == [0, 1, 1, 0]
    assert lr[3].tolist() == [1, 1, 0, 0]


@given(SPACES, st.integers(0, 2**32 - 1))
@few
def test_distances_are_symmetric_at_most_1_and_0_to_itself(space, seed):
    encoding = Encoding(space)
    rows = encoding.rows(encoding.candidates([], np.random.default_rng(seed), 12)[:12])
    squared = encoding.squared(rows, rows)
    assert squared.shape == (len(space), len(rows), len(rows))
    assert (squared == squared.transpose(0, 2, 1)).all()
    assert ((squared >= 0) & (squared <= 1)).all()
    assert (squared[:, range(len(rows)), range(len(rows))] == 0).all()


def test_all_of_a_small_space_is_listed_once():
    space = {
        "batch_size": SIZES,
        "optimizer": NAMES,
        "layers": IntDistribution(1, 5, step=2),
        "dropout": FloatDistribution(0.0, 0.3, step=0.1),
    }
    listed = Encoding(space).candidates([], np.random.default_rng(0), 4)
    assert len(listed) == 5 * 3 * 3 * 4
    assert len({tuple(point.items()) for point in listed}) == len(listed)
    assert all(contains(at, point[key]) for point in listed for key, at in space.items())


@pytest.mark.parametrize(
    "space",
    [
        {"lr": FloatDistribution(0.0, 1.0)},
        {"seed": IntDistribution(0, 10**9)},
        {"a": IntDistribution(1, 30), "b": IntDistribution(1, 30)},
        {"lr": FloatDistribution(0.0, 1.0, step=1e-6)},
    ],
    ids=["float", "wide", "product", "fine"],
)
def test_of_a_large_space_as_many_as_asked_for_are_drawn(space):
    encoding = Encoding(space)
    near = encoding.candidates([], np.random.default_rng(0), 2)
    assert len(encoding.candidates(near, np.random.default_rng(1), 40)) == 40
    one, other = (encoding.candidates(near, np.random.default_rng(1), 40) for _ in "ab")
    assert one == other


def test_neighbours_are_near():
    encoding = Encoding({"lr": FloatDistribution(0.0, 1.0), "x": FloatDistribution(0.0, 1.0)})
    drawn = encoding.candidates([{"lr": 0.5, "x": 0.5}], np.random.default_rng(0), 400)
    rows = np.abs(encoding.rows(drawn) - 0.5).max(axis=1)
    assert np.median(rows[200:]) < 0.6 * np.median(rows[:200])


def test_a_neighbour_of_a_setup_that_lacks_keys_has_them():
    encoding = Encoding({"lr": FloatDistribution(0.0, 1.0), "optimizer": NAMES})
    for point in encoding.candidates([{"optimizer": "sgd"}], np.random.default_rng(0), 20):
        assert set(point) == {"lr", "optimizer"}


def test_a_space_of_nothing_has_one_setup():
    encoding = Encoding({})
    assert encoding.candidates([], np.random.default_rng(0), 10) == [{}]
    rows = encoding.rows([{}, {"other": 1}])
    assert encoding.squared(rows, rows).shape == (0, 2, 2)
