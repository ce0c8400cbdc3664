"""Trials are listed as a person asks, and what cannot be is refused with what may be meant."""

from __future__ import annotations

import re

import pytest

from energyopt.core.study_record import StudyRecord
from energyopt.errors import ConfigError
from energyopt.report.json_data import trial_data
from energyopt.report.tables import trials_table
from energyopt.report.trial_list import TrialKeys
from tests.report.test_tables import printed
from tests.toys import result, study, trial

TOY: StudyRecord = study(
    [
        trial(0, result([(100, 8, 0.95)]), params={"lr": 0.001, "model": "mlp"}, default=True),
        trial(1, result([(100, 2, 0.92)]), params={"lr": 0.01, "model": "CNN", "width": 8}),
        trial(2, result([(100, 4, 0.5)]), params={"lr": 0.1, "model": "mlp"}),
        trial(3, state="failed", params={"lr": 0.5, "model": "mlp"}),
        trial(4, state="paused", params={"lr": 1, "model": "mlp"}),
    ]
)
ROWS = [trial_data(TOY, each, 0.9) for each in TOY.trials]
KEYS = TrialKeys(ROWS, TOY.monitor)


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("lr<0.01", [0]),
        ("lr <= 0.01", [0, 1]),
        ("lr>0.1", [3, 4]),
        ("model=mlp", [0, 2, 3, 4]),
        ("model!=mlp", [1]),
        ("model==cnn", [1]),
        ("width>=8", [1]),
        ("width!=8", []),
        ("energy<5", [1]),
        ("accuracy>=0.92", [0, 1]),
        ("metric>0.92", [0]),
        ("complete", [0, 1, 2]),
        ("reached", [0, 1]),
        ("missed", [2]),
        ("paused", [4]),
        ("state=failed", [3]),
        ("number>3", [4]),
    ],
)
def test_a_condition_chooses_trials(condition: str, numbers: list[int]):
    assert [row["trial"] for row in KEYS.filtered(ROWS, condition)] == numbers


@pytest.mark.parametrize(
    ("key", "reverse", "numbers"),
    [
        ("number", False, [0, 1, 2, 3, 4]),
        ("number", True, [4, 3, 2, 1, 0]),
        ("energy", False, [1, 0, 2, 3, 4]),
        ("energy", True, [0, 1, 2, 3, 4]),
        ("accuracy", True, [0, 1, 2, 3, 4]),
        ("model", False, [1, 0, 2, 3, 4]),
        ("width", True, [1, 0, 2, 3, 4]),
    ],
)
def test_trials_are_sorted_and_those_without_a_value_are_last(
    key: str, reverse: bool, numbers: list[int]
):
    assert [row["trial"] for row in KEYS.sorted(ROWS, key, reverse=reverse)] == numbers


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("lrr<1", "--filter: no trial has a key 'lrr'; did you mean lr?"),
        ("complte", "did you mean complete?"),
        ("lr<small", "< needs a number, got 'small'"),
        ("<1", "neither a state nor a comparison"),
        ("state=complte", "did you mean complete?"),
    ],
)
def test_an_impossible_condition_is_refused_with_what_may_be_meant(condition: str, says: str):
    with pytest.raises(ConfigError, match=re.escape(says)):
        KEYS.filtered(ROWS, condition)


def test_an_unknown_key_to_sort_by_is_refused_with_a_near_one():
    with pytest.raises(ConfigError, match="no trial has a key 'enrgy'; did you mean energy"):
        KEYS.sorted(ROWS, "enrgy", reverse=False)


def test_the_table_says_what_came_instead_of_an_energy():
    lines = printed(trials_table(ROWS, TOY.monitor), 90).splitlines()
    cells = ["number", "state", "configuration", "accuracy", "to target", "epochs", "seed"]
    assert re.split(r" {2,}", lines[0].strip()) == cells
    assert re.search(r"^ +0 +complete +lr=0.001 model=mlp \(default\) +0.9500 +8 J ", lines[2])
    assert re.search(r"^ +2 +complete +lr=0.1 model=mlp +0.5000 +missed ", lines[4])
    assert re.search(r"^ +3 +failed +lr=0.5 model=mlp +- +failed +- +-$", lines[5].rstrip())
    assert max(map(len, lines)) <= 90
