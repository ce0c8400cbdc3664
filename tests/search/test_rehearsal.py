"""A rehearsal tells, by the word of Optuna itself, what a sampler needs and cannot do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from energyopt.errors import SamplerError
from energyopt.search.guarded_sampler import blamed_on
from energyopt.search.rehearsal import Direction, Suggest, limitation_of
from tests.conftest import need_package

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
ONE: list[Direction] = ["minimize"]
TWO: list[Direction] = ["minimize", "maximize"]


def numbers(trial: Trial) -> None:
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 1e-4, 1, log=True)
    trial.suggest_int("n", 1, 8)


def mixed(trial: Trial) -> None:
    numbers(trial)
    trial.suggest_categorical("c", ["a", "b"])


def conditional(trial: Trial) -> None:
    if trial.suggest_categorical("c", ["a", "b"]) == "a":
        trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 0, 1)


def limit(
    make: Callable[[], BaseSampler],
    suggest: Suggest = numbers,
    directions: list[Direction] | None = None,
) -> str | None:
    points: list[dict[str, Any]] = [{}] if suggest is numbers else [{"c": "a"}, {"c": "b"}]
    return limitation_of(make, suggest, directions or ONE, points)


@pytest.mark.parametrize("suggest", [numbers, mixed, conditional])
@pytest.mark.parametrize("directions", [ONE, TWO])
@pytest.mark.parametrize(
    "make",
    [
        TPESampler,
        lambda: TPESampler(multivariate=True),
        lambda: TPESampler(multivariate=True, group=True),
        RandomSampler,
        optuna.samplers.NSGAIISampler,
        optuna.samplers.NSGAIIISampler,
    ],
)
def test_samplers_that_take_any_space_pass(
    make: Callable[[], BaseSampler], directions: list[Direction], suggest: Suggest
) -> None:
    assert limit(make, suggest, directions) is None


def cmaes(**options: Any) -> Callable[[], BaseSampler]:
    need_package("cmaes")
    return partial(CmaEsSampler, **options)


def test_a_package_that_is_missing_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    assert limit(CmaEsSampler) == (
        "sampler CmaEsSampler: it needs the package cmaes, which is not installed: "
        "pip install cmaes"
    )
    fixed = optuna.samplers.PartialFixedSampler
    assert "pip install cmaes" in str(limit(lambda: fixed({"n": 2}, CmaEsSampler())))


def test_two_objectives_are_too_many_for_some() -> None:
    text = limit(CmaEsSampler, directions=TWO)
    assert text is not None
    assert text.startswith("sampler CmaEsSampler cannot search this study: ")
    assert "multi-objective" in text


@pytest.mark.parametrize(("suggest", "keys"), [(mixed, "c"), (conditional, "c, x")])
def test_what_is_left_to_chance_is_named(suggest: Suggest, keys: str) -> None:
    assert str(limit(cmaes(), suggest)).startswith(f"sampler CmaEsSampler draws {keys} at random: ")
    assert limit(cmaes(warn_independent_sampling=False), suggest) is None
    assert limit(cmaes(independent_sampler=TPESampler()), suggest) is None
    assert limit(cmaes(), numbers) is None


def test_a_conditional_space_is_searched_in_part_by_some() -> None:
    points: list[dict[str, Any]] = [{"c": "b"}, {"c": "a"}]
    assert limit(optuna.samplers.QMCSampler, mixed) is None
    text = str(limitation_of(optuna.samplers.QMCSampler, conditional, ONE, points))
    assert text.startswith("sampler QMCSampler draws x at random")
    assert text.endswith("at random: dynamic search space is not supported by QMCSampler")


def test_a_finite_space_may_be_smaller_than_a_rehearsal() -> None:
    def suggest(trial: Trial) -> None:
        trial.suggest_categorical("d", ["a"])

    assert limit(BruteForceSampler, suggest) is None


class Own(RandomSampler):
    """Raises at the first trial, or where made-up ones have been told."""

    def __init__(self, n_before: int, error: Exception) -> None:
        super().__init__()
        self._n_before, self._error = n_before, error

    def sample_relative(self, study: Any, *_: Any) -> dict[str, Any]:
        if len(study.get_trials()) > self._n_before:
            raise self._error
        return {}


def test_code_of_the_user_that_raises_is_its_own_error() -> None:
    with pytest.raises(SamplerError, match=r"Own raised KeyError: 'energy'"):
        limit(lambda: Own(0, KeyError("energy")))


def test_what_made_up_trials_do_not_have_is_no_reason_to_refuse() -> None:
    assert limit(lambda: Own(5, KeyError("energy"))) is None
    missing = ModuleNotFoundError("No module named 'botorch'", name="botorch")
    assert "pip install botorch" in str(limit(lambda: Own(5, missing)))


@pytest.mark.parametrize("error", [RuntimeError("no axis"), ImportError("no lib", name="lib")])
def test_an_error_of_code_that_suggests_more_is_its_own(error: Exception) -> None:
    def suggest(trial: Trial) -> None:
        with blamed_on("custom_search_space my.more"):
            raise error

    with pytest.raises(SamplerError, match=r"^custom_search_space my\.more"):
        limit(RandomSampler, suggest)


def test_a_sampler_is_tried_after_its_startup_trials() -> None:
    class Late(TPESampler):
        def sample_relative(self, study: Any, *_: Any) -> dict[str, Any]:
            if len(study.get_trials()) > 40:
                raise ImportError("Tried to import 'late'", name="late")
            return {}

    assert "late" in str(limit(lambda: Late(n_startup_trials=40)))
