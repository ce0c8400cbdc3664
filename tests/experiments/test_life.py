"""The joules of a model's life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energyopt.experiments.life import ANSWERS, life_of, life_table
from energyopt.experiments.rows import GRID
from energyopt.experiments.summary import data_of, summarize, text_of
from tests.small_experiments import AGAIN, SEEDS, experiment, raw, row

GRID_ROWS = [row("all", GRID, seed, 9.0) for seed in SEEDS]  # each with 1 J of evaluation
ROWS = [row("all", "best", seed, 4.0, answers_j={"model": 0.5}) for seed in AGAIN]


def test_it_is_the_search_the_training_and_the_answers() -> None:
    life = life_of("a", GRID_ROWS, ROWS)
    assert life is not None
    assert (life["search_j"], life["training_j"], life["answer_j"]) == (20.0, 5.0, 0.0005)
    assert [int(count) for count in life["total_j"]] == [10**power for power in range(10)]
    for count in ANSWERS:
        expected = 25 + count * 0.0005
        assert life["total_j"][str(count)] == pytest.approx(expected, rel=1e-3)


def test_training_stops_to_matter_where_it_is_a_twentieth_of_the_whole() -> None:
    life = life_of("a", GRID_ROWS, ROWS)
    assert life is not None
    until = life["answers_until"]
    assert 25 / (25 + until["value"] * 0.0005) == pytest.approx(0.05, rel=1e-3)
    assert until["low"] == until["high"] == until["value"]  # of seeds that do not differ
    noisy = [replace(each, energy_j=4.0 + i) for i, each in enumerate(ROWS)]
    spread = life_of("a", GRID_ROWS, noisy)
    assert spread is not None
    assert spread["answers_until"]["low"] < spread["answers_until"]["value"]
    (line,) = life_table([spread]).rows
    assert "[" in line[-1]


def test_without_metered_answers_or_a_target_there_is_no_life() -> None:
    assert life_of("a", GRID_ROWS, [replace(each, answers_j={}) for each in ROWS]) is None
    assert life_of("a", GRID_ROWS, [replace(each, reached=False) for each in ROWS]) is None
    assert life_of("a", GRID_ROWS, []) is None


def test_a_summary_has_it_as_a_table_and_as_data() -> None:
    summary = summarize(raw(experiment("training", {"c": {"cells": ["all"]}}), [*GRID_ROWS, *ROWS]))
    assert "The joules of a life" in text_of(summary)
    (life,) = data_of(summary)["life"]
    assert life["search_j"] == 20.0
