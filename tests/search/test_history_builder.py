"""The history passed to the next trial, and its estimate of the seed noise."""

from __future__ import annotations

import math

import pytest

from energyopt.search.history_builder import HistoryBuilder
from tests.toys import result, trial


def reached(energy_j: float):
    return result([(100, energy_j / 2, 0.5), (200, energy_j, 0.95)])


def test_trials_with_a_valid_curve_count():
    builder = HistoryBuilder(
        [
            trial(0, reached(8)),
            trial(1),
            trial(2, result([(100, 1, 0.95)], end="failed")),
            trial(3, result([(100, 1, 0.7)], end="stopped")),
        ]
    )
    rivals = builder.history
    assert (rivals.incumbent_j, rivals.incumbent) == (8, 0)
    assert [rival.number for rival in rivals.curves] == [0, 3]
    assert rivals.front == ((1, 0.7), (8, 0.95))
    builder.add(4, {"lr": 1}, reached(2))
    assert builder.history.incumbent == 4


def test_luck_is_what_repetitions_of_a_setup_differ_by():
    builder = HistoryBuilder()
    for number, (lr, log_j) in enumerate([(1, 0), (1, 1), (2, 4), (2, 5), (3, 9), (2, 6)]):
        assert builder.history.luck is None  # two repetitions say little
        builder.add(number, {"lr": lr, "seed": number}, reached(math.exp(log_j)))
    assert builder.history.luck == pytest.approx(math.sqrt((0.5 + 2) / 3))
    builder.add(4, {"lr": 3, "seed": 4}, reached(math.exp(8)))  # it was resumed: no repetition
    assert builder.history.luck == pytest.approx(math.sqrt((0.5 + 2) / 3))
