"""The points of a grid, planned before the first trial."""

from __future__ import annotations

import pytest

from energyopt.errors import ConfigError
from energyopt.storage.reconciliation import Point
from energyopt.sweep.composer import Composer
from energyopt.sweep.grid import MOST_POINTS, check_grid, plan_grid
from energyopt.sweep.space_parser import parse_space
from tests.composing import config_loader, multirun


def planned(*words: str, trained: tuple[Point, ...] = ()) -> list[Point]:
    loader = config_loader()
    space = parse_space(words, loader)
    composer = Composer(loader, multirun(*space.fixed), space)
    n_trials, next_point, _ = plan_grid(space, composer, 10_000)
    points: list[Point] = list(trained)
    while (point := next_point(points)) is not None:
        points.append(point)
    assert n_trials == len(points)
    return points


def test_points_are_decimal_and_in_order():
    values = [point["lr"] for point in planned("lr=range(0.1,1.0,0.1)")]
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [p["lr"] for p in planned("lr=range(0.3,0.0,-0.1)")] == [0.1, 0.2, 0.3]


def test_points_of_a_conditional_space_are_planned_once():
    points = planned("model=cnn,mlp", "model.depth=1,2")
    assert points == [
        {"model": "cnn"},
        {"model": "mlp", "model.depth": 1},
        {"model": "mlp", "model.depth": 2},
    ]


def test_a_point_that_an_older_version_stored_is_not_trained_again():
    older = {"lr": 0.1 + 2 * 0.1}
    assert older["lr"] != 0.3
    points = planned("lr=range(0.1,0.5,0.1)", trained=(older,))
    assert [point["lr"] for point in points[1:]] == [0.1, 0.2, 0.4]


def test_hundreds_of_points_are_planned():
    assert len(planned("+a=range(0,30)", "+b=range(0,20)")) == 600


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("lr=interval(0,1)",), "sampler=grid cannot count lr"),
        (("+n=tag(log,int(interval(1,9)))",), "sampler=grid cannot count n"),
        (("+a=range(0,1000000000)",), "the grid has 1,000,000,000 points, and at most"),
        (("+a=range(0,1,1e-9)",), "the grid has 1,000,000,000 points"),
        (("+a=range(0,1000)", "+b=range(0,1000)"), f"at most {MOST_POINTS:,} can be planned"),
    ],
)
def test_a_grid_that_cannot_be_planned_is_refused(words, says):
    with pytest.raises(ConfigError, match=says):
        check_grid(parse_space(words, config_loader()))
