"""Which spaces continue a study, by their meaning."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial

from energyopt.storage.axes import from_plain, ordered, refusal, to_plain, with_changed
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader


def axis(sweep: str) -> BaseDistribution:
    return parse_space([f"x={sweep}"], config_loader()).axes["x"]


def trained(sweep: str, *values: Any) -> list[FrozenTrial]:
    return [
        create_trial(params={"x": value}, distributions={"x": axis(sweep)}, value=0.0)
        for value in values
    ]


def refused(old: str, new: str, *values: Any) -> str | None:
    return refusal("x", axis(old), axis(new), trained(old, *values))


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [
        ("interval(0,1)", "interval(0.0,1.0)", (0.0, 1.0)),
        ("interval(0,1)", "interval(0,2)", (0.0, 1.0)),
        ("interval(0,1)", "interval(-1,1)", (0.5,)),
        ("interval(0,1)", "interval(0,0.5)", (0.1, 0.5)),
        ("interval(0,1)", "interval(2,3)", ()),
        ("tag(log,interval(1e-4,1e-1))", "tag(log,interval(0.00001,1))", (1e-4, 1e-1)),
        ("int(interval(1,8))", "int(interval(1,64))", (1, 8)),
        ("int(interval(1,8))", "range(1,9)", (1, 8)),
        ("range(0,10,2)", "range(0,10)", (2, 8)),
        ("range(0,10)", "range(0,10,2)", (2, 8)),
        ("range(0.1,1.0,0.1)", "range(0.1,2.0,0.1)", (0.3, 0.7)),
        ("choice(a,b)", "choice(b,a)", ("a", "b")),
        ("choice(1,2)", "choice(1.0,2.0)", (1, 2)),
        ("choice([0.5,0.5],[1,2])", "choice([5e-1,0.5],[1,2])", ("[1,2]",)),
        ("null,1", "1,null", (None, 1)),
    ],
)
def test_these_continue(old, new, values):
    assert refused(old, new, *values) is None


@pytest.mark.parametrize(
    ("old", "new", "values", "says"),
    [
        ("interval(0,1)", "interval(0,0.5)", (0.2, 0.7), "trial -1 has x=0.7, which is not in it"),
        ("range(0,10)", "range(0,10,2)", (3,), "has x=3, which is not in it"),
        ("interval(0,1)", "range(0.0,1.1,0.5)", (0.3,), "has x=0.3, which is not in it"),
        ("interval(1,9)", "tag(log,interval(1,9))", (), "its scale, log or not, is fixed"),
        ("interval(1,9)", "int(interval(1,9))", (), "whole numbers and other numbers"),
        ("choice(1,2)", "range(1,3)", (), "choices, whole numbers"),
        ("choice(a,b)", "choice(a,b,c)", (), "choice(a,b) -> choice(a,b,c): its choices are fixed"),
        ("choice(a,b,c)", "choice(a,b)", (), "its choices are fixed"),
        ("choice(true,false)", "choice(1,0)", (), "its choices are fixed"),
        ("choice(1,2)", "choice('1','2')", (), "its choices are fixed"),
    ],
)
def test_these_do_not_and_it_is_said_why(old, new, values, says):
    reason = refused(old, new, *values)
    assert reason is not None
    assert reason.startswith("search of x: ")
    assert says in reason


def test_choices_are_asked_in_the_order_of_the_study():
    stored, requested = axis("choice(a,b)"), axis("choice(b,a)")
    assert ordered(requested, stored) == stored
    assert ordered(requested, None) == requested
    assert ordered(axis("interval(0,2)"), axis("interval(0,1)")) == axis("interval(0,2)")


def test_axes_are_stored_as_plain_data():
    axes = {"a": axis("a,null"), "b": axis("tag(log,interval(1e-4,1))")}
    assert from_plain(to_plain(axes)) == axes


def test_a_range_that_changed_is_that_of_the_last_run_if_all_trials_lie_in_it():
    stored = to_plain({"x": axis("interval(0,2)"), "c": axis("choice(a,b)")})
    assert with_changed({}, stored, [{"x": 0.5}, {"x": 2.0}, {}]) == {"x": axis("interval(0,2)")}
    assert with_changed({}, stored, [{"x": 2.5}]) == {}
    known = {"x": axis("interval(0,1)")}
    assert with_changed(known, stored, [{"x": 0.5}]) == known
    assert with_changed(known, None, []) == known
