"""Samplers of any author: errors are called theirs, and steps are decimal."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler

from energyopt.errors import SamplerError, StudyError
from energyopt.search.guarded_sampler import GuardedSampler, decimal_point
from energyopt.search.quiet import quiet_optuna
from energyopt.search.space import Dimension
from energyopt.utils.failure import attached_traceback


def study_with(sampler: BaseSampler) -> optuna.Study:
    with quiet_optuna():
        return optuna.create_study(sampler=GuardedSampler(sampler))


class Raising(RandomSampler):
    """Raises what it was given, where it was told to."""

    def __init__(self, error: Exception, method: str) -> None:
        super().__init__()
        self._error = error
        setattr(self, method, self._raise)

    def _raise(self, *_: Any) -> Any:
        raise self._error


def one_trial(sampler: BaseSampler) -> None:
    study = study_with(sampler)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, 0.0)


METHODS = (
    *("infer_relative_search_space", "sample_relative", "sample_independent"),
    *("before_trial", "after_trial"),
)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_sampler_raises_is_called_its_own_with_its_traceback(method: str) -> None:
    with pytest.raises(SamplerError) as caught:
        one_trial(Raising(ZeroDivisionError("by nothing"), method))
    assert str(caught.value) == f"sampler {__name__}.Raising raised ZeroDivisionError: by nothing"
    text = attached_traceback(caught.value)
    assert text.startswith("Traceback (most recent call last):")
    assert "in _raise" in text
    assert text.endswith("ZeroDivisionError: by nothing")
    assert "blamed_on" not in text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ModuleNotFoundError("No module named 'cmaes'", name="cmaes"),
            "it needs the package cmaes, which is not installed: pip install cmaes",
        ),
        (
            ModuleNotFoundError("No module named 'botorch.acquisition'", name="botorch.fit"),
            "pip install botorch",
        ),
        (ImportError("cannot import name 'x' from 'scipy'", name="scipy"), "cannot be imported"),
        (ImportError("Tried to import 'q' but failed"), "Tried to import 'q' but failed"),
        (ValueError(), "raised ValueError"),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_to_type(error: Exception, says: str) -> None:
    with pytest.raises(SamplerError, match=r"^sampler .*Raising") as caught:
        one_trial(Raising(error, "sample_relative"))
    assert says in str(caught.value)


@pytest.mark.parametrize("error", [StorageInternalError("locked"), StudyError("ours")])
def test_what_the_storage_or_we_raise_is_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        one_trial(Raising(error, "sample_relative"))
    assert caught.value is error


class Fixed(RandomSampler):
    """Suggests one value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def sample_independent(self, *_: Any) -> Any:
        return self._value


@pytest.mark.parametrize("value", [7.0, -1e-3])
def test_a_number_outside_of_the_space_is_refused(value: float) -> None:
    with pytest.raises(SamplerError, match=rf"Fixed suggested x={value}, which is outside of"):
        study_with(Fixed(value)).ask().suggest_float("x", 0, 1)


@pytest.mark.parametrize("value", ["c", None, [1]])
def test_a_choice_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(SamplerError, match="Fixed raised ValueError"):
        study_with(Fixed(value)).ask().suggest_categorical("x", ["a", "b"])


STEPS = st.sampled_from(["0.1", "0.05", "0.001", "1e-5", "0.3", "2.5", "1000.1"])


@given(st.integers(-50, 50), STEPS, st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_values_of_a_range_are_those_of_its_grid(
    start: int, step: str, count: int, seed: int
) -> None:
    low, high = (float(n * Decimal(step)) for n in (start, start + count))
    axis = FloatDistribution(low, high, step=float(step))
    study = study_with(RandomSampler(seed=seed))
    with quiet_optuna():
        values = {study.ask().suggest_float("x", low, high, step=axis.step) for _ in "abc"}
    assert values <= set(Dimension("x", "x", axis).grid())


MAKERS: list[Callable[[], BaseSampler]] = [
    lambda: TPESampler(seed=0, n_startup_trials=3),
    lambda: RandomSampler(seed=0),
    lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=4),
    lambda: optuna.samplers.QMCSampler(seed=0),
    lambda: BruteForceSampler(seed=0),
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("make", MAKERS)
def test_each_sampler_suggests_and_stores_decimals(make: Callable[[], BaseSampler]) -> None:
    study = study_with(make())
    for _ in range(8):
        trial = study.ask()
        trial.suggest_float("x", 0.1, 0.9, step=0.1)
        trial.suggest_float("y", -0.3, 0.3, step=0.05)
        study.tell(trial, trial.params["x"])
    values = [value for trial in study.trials for value in trial.params.values()]
    assert all(len(repr(value)) <= len("-0.25") for value in values), values


def test_a_study_that_holds_older_digits_goes_on() -> None:
    study = study_with(TPESampler(seed=0, n_startup_trials=1))
    axis = FloatDistribution(0.1, 0.9, step=0.1)
    for value in (0.1 + 2 * 0.1, 0.1 + 5 * 0.1, 0.1 + 6 * 0.1):
        study.add_trial(
            optuna.create_trial(params={"x": value}, distributions={"x": axis}, value=value)
        )
    trial = study.ask()
    assert trial.suggest_float("x", 0.1, 0.9, step=0.1) in Dimension("x", "x", axis).grid()
    assert decimal_point({"x": 0.1 + 2 * 0.1, "y": 1}, {"x": axis}) == {"x": 0.3, "y": 1}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_of_a_finite_space_says_when_it_is_through() -> None:
    sampler = GuardedSampler(BruteForceSampler(seed=0))
    study = optuna.create_study(sampler=sampler)
    for n_left in (1, 0):
        assert not sampler.is_exhausted
        trial = study.ask()
        trial.suggest_categorical("x", ["a", "b"])
        study.tell(trial, 0.0)
        assert sampler.is_exhausted is (n_left == 0)
