"""The keys of `hydra.sweeper` are read, checked and merged with the command line."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from energyopt.core.study_record import Metric
from energyopt.errors import ConfigError
from energyopt.sweep.options import Options
from tests.composing import multirun


class Direction(Enum):
    minimize = 1
    MAXIMIZE = 2


def test_our_own_app_says_what_it_wants_with_its_root_keys():
    sweeper = multirun("n_trials=7", "n_jobs=2", "study=mine", "sampler=nsga2", "storage=a.db")
    options = Options.read({str(k): v for k, v in sweeper.hydra.sweeper.items()})
    assert options == Options(
        app="energyopt", sampler="nsga2", storage="a.db", study_name="mine",
        n_trials=7, n_jobs=2, max_failures=5,
    )  # fmt: skip


def test_nodes_become_plain_data():
    sampler = {"_target_": "optuna.samplers.TPESampler", "seed": 3}
    options = Options.read(
        {
            "_target_": "?",
            "sampler": OmegaConf.create(sampler),
            "direction": OmegaConf.create(["minimize", "maximize"]),
            "params": OmegaConf.create({"lr": "interval(0,1)"}),
        }
    )
    assert options == Options(
        sampler=sampler, direction=["minimize", "maximize"], params={"lr": "interval(0,1)"}
    )
    assert type(options.sampler) is dict
    assert type(options.direction) is list


@pytest.mark.parametrize("key", ["n_trials", "n_jobs"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "3", True, None])
def test_numbers_that_are_none_are_refused(key, value):
    with pytest.raises(
        ConfigError, match=rf"^hydra\.sweeper\.{key}={value}: a whole number of at least 1"
    ):
        Options.read({key: value})


@pytest.mark.parametrize("key", ["search_budget_j", "search_budget_s", "planned_trainings"])
@pytest.mark.parametrize("value", [0, -1, "3", True, float("inf"), float("nan")])
def test_budgets_that_are_none_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"^{key}={value}: .* above 0 is needed, or null"):
        Options.read({"app": "energyopt", key: value})


def test_the_old_name_of_planned_trainings_is_read():
    assert Options.read({"reuse": 30}).planned_trainings == 30
    assert Options.read({"reuse": 30, "planned_trainings": 40}).planned_trainings == 40


def test_a_stated_rate_of_failures_replaces_the_default_number():
    assert Options().failure_limit == 5
    assert Options.read({"max_failure_rate": 1.0}).failure_limit is None
    assert Options.read({"max_failure_rate": 0.5, "max_failures": 3}).failure_limit == 3
    assert Options.read({"max_failures": None}).failure_limit is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("study_name", ["a"], "a text is needed, or null"),
        ("monitor", ["loss"], "the name of a metric is needed, or null"),
        ("mode", "up", "choose min or max"),
        ("target", "low", "a finite number is needed, or null"),
        ("target", float("nan"), "a finite number is needed, or null"),
        ("epochs", 0, "a number above 0 is needed, or null"),
        ("max_failure_rate", 1.5, "a number from 0 to 1 is needed, or null"),
        ("max_failure_rate", "most", "a number from 0 to 1 is needed, or null"),
    ],
)
def test_an_impossible_goal_is_refused(key, value, says):
    with pytest.raises(ConfigError, match=re.escape(f"hydra.sweeper.{key}={value}: {says}")):
        Options.read({key: value})


@pytest.mark.parametrize(
    ("sampler", "grid"),
    [
        ("grid", True),
        ({"_target_": "grid"}, True),
        ("tpe", False),
        ({"_target_": "optuna.samplers.RandomSampler"}, False),
        (None, False),
    ],
    ids=str,
)
def test_grid_is_known_by_its_name(sampler, grid):
    assert Options(sampler=sampler).grid is grid


LESS, MORE = "minimize", "maximize"


@pytest.mark.parametrize(
    ("direction", "names", "metrics"),
    [
        (LESS, None, [("value", LESS)]),
        (MORE, ["accuracy"], [("accuracy", MORE)]),
        ([LESS], None, [("value", LESS)]),
        ("Minimize", None, [("value", LESS)]),
        ("Direction.maximize", "accuracy", [("accuracy", MORE)]),
        (["MAXIMIZE"], None, [("value", MORE)]),
        (Direction.minimize, None, [("value", LESS)]),
        ([LESS, MORE], None, [("value_0", LESS), ("value_1", MORE)]),
        ((MORE, LESS), ["a", "b"], [("a", MORE), ("b", LESS)]),
        ([Direction.minimize, Direction.MAXIMIZE], ["a", "b"], [("a", LESS), ("b", MORE)]),
    ],
    ids=str,
)
def test_objectives_of_another_app(direction, names, metrics):
    options = Options(direction=direction, metric_names=names)
    assert options.metrics == tuple(Metric(*metric) for metric in metrics)


@pytest.mark.parametrize("direction", ["min", "", 1, [], [LESS, "up"], [None]], ids=str)
def test_an_unknown_direction_is_refused(direction):
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.direction=.*: choose minimize or max"):
        Options.read({"direction": direction})


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("n_trails", "did you mean hydra.sweeper.n_trials?"),
        ("directions", "did you mean hydra.sweeper.direction?"),
        ("max_failure_rates", "did you mean hydra.sweeper.max_failure_rate?"),
        ("optuna_config", "there are sampler, pruner, "),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_one(key, says):
    with pytest.raises(ConfigError) as refused:
        Options.read({"_target_": "?", "_recursive_": False, key: 1})
    assert str(refused.value).startswith(f"hydra.sweeper.{key}: ")
    assert says in str(refused.value)


def test_a_key_is_named_as_this_app_has_it():
    with pytest.raises(ConfigError, match=r"^n_trials=0: "):
        Options.read({"app": "energyopt", "n_trials": 0})
    with pytest.raises(ConfigError, match=r"^storage=3: "):
        Options.read({"app": "energyopt", "storage": 3})


def test_the_older_search_space_is_joined_with_params():
    axis = {"type": "int", "low": 1, "high": 3}
    read = Options.read({"params": {"x": "1,2"}, "search_space": {"y": axis}})
    assert read.overrides([]) == ["y=int(interval(1,3))", "x=1,2"]
    with pytest.raises(ConfigError, match=r"^x is swept in hydra\.sweeper\.params and in "):
        Options.read({"params": {"x": "1,2"}, "search_space": {"x": axis}})


@pytest.mark.parametrize("key", ["params", "search_space"])
@pytest.mark.parametrize("value", ["x=1,2", ["x=1,2"], 3])
def test_sweeps_are_by_key(key, value):
    with pytest.raises(ConfigError, match=rf"^hydra\.sweeper\.{key}=.*: sweeps by key are needed"):
        Options.read({key: value})


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_names_are_one_an_objective(names):
    with pytest.raises(ConfigError, match=r"metric_names=\[.*\] needs 2 names, one a direction"):
        _ = Options(direction=[LESS, MORE], metric_names=names).metrics


@pytest.mark.parametrize(
    ("params", "arguments", "words"),
    [
        (None, ["lr=1"], ["lr=1"]),
        ({}, [], []),
        ({"lr": "interval(0,1)"}, [], ["lr=interval(0,1)"]),
        ({"lr": "interval(0,1)"}, ["lr=1"], ["lr=1"]),
        ({"lr": "interval(0,1)"}, ["++lr=1"], ["++lr=1"]),
        ({"+lr": "interval(0,1)"}, ["+lr=1"], ["+lr=1"]),
        ({"+x": "1,2", "lr": "3"}, ["lrx=1"], ["lrx=1", "+x=1,2", "lr=3"]),
        ({"a": 1, "b": 1e-7, "c": True, "d": None}, [], ["a=1", "b=1e-07", "c=True", "d=null"]),
    ],
    ids=str,
)
def test_the_command_line_goes_before_params(params: dict[str, Any] | None, arguments, words):
    assert Options(params=params).overrides(arguments) == words


def test_params_that_cannot_be_read_are_named():
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.params\.x: interval\(0,1 cannot be"):
        Options(params={"x": "interval(0,1"}).overrides([])


def test_params_of_the_command_line_are_nested():
    params = {"model": {"lr": "interval(0,1)", "net": {"size": "1,2"}}, "kept": {"a": "text"}}
    words = ["model.lr=interval(0,1)", "model.net.size=1,2", "kept={a:text}"]
    assert Options(params=params).overrides([]) == words
    assert Options(params=params).overrides(["model.lr=3"])[1:] == ["model.net.size=1,2", words[2]]


def test_params_of_any_type_are_read_as_themselves():
    params = {"a": 1, "b": 1e-7, "c": True, "d": None, "e": [1, "x y"], "f": {"g": 2}}
    parsed = OverridesParser.create().parse_overrides(Options(params=params).overrides([]))
    assert {override.get_key_element(): override.value() for override in parsed} == params
