"""A study continues where the space is written otherwise or is another app's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from energyopt.core.default_setup import DefaultSetup
from energyopt.core.study_record import Metric, Outcome
from energyopt.errors import StudyError
from energyopt.storage.identity import Identity
from energyopt.storage.reader import read_study
from energyopt.storage.study_store import StudyStore

Open = Callable[[Identity], StudyStore]
VALUE = (Metric("value", "minimize"),)


def asked(
    high: float, choices: str = "ab", config: dict[str, Any] | None = None, fixed: str = "y=2"
) -> Identity:
    sweep = (f"x=interval(0,{high})", f"c=choice({','.join(choices)})")
    axes = {"x": FloatDistribution(0, high), "c": CategoricalDistribution(tuple(choices))}
    name_key = "hydra.sweeper.study_name"
    return Identity(
        VALUE, (fixed,), sweep, None, None, axes=axes, app_config=config, name_key=name_key
    )


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "study.db")


@pytest.fixture
def opened(file: str) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(identity: Identity) -> StudyStore:
            store = StudyStore.open(
                file, "one", identity, lambda _: optuna.samplers.RandomSampler(seed=1)
            )
            stack.callback(store.close)
            return store

        yield open_


def train(store: StudyStore, x: float) -> None:
    store.plan({"x": x, "c": "a"})
    trial = store.ask()
    assert trial is not None
    trial.suggest_float("x", 0, max(x, 1.0))
    trial.suggest_categorical("c", ["a", "b"])
    store.tell(trial, Outcome("complete", (x,)), ())


def test_a_wider_range_continues_and_is_what_the_study_shows_and_compares(opened, file):
    train(opened(asked(1)), 0.5)
    train(opened(asked(2, "ba")), 1.5)
    study = read_study(file, "one")
    assert study.sweep == ("x=interval(0,2)", "c=choice(b,a)")
    assert study.space["x"] == FloatDistribution(0, 2)
    assert study.space["c"] == CategoricalDistribution(("a", "b"))
    with pytest.raises(StudyError, match=r"trial 1 has x=1\.5, which is not in it"):
        opened(asked(1))


def test_another_config_of_another_app_is_refused_with_key_and_values(opened):
    train(opened(asked(1, config={"y": 2, "m": {"z": "a"}})), 0.5)
    opened(asked(1, config={"m": {"z": "a"}, "y": 2}))
    with pytest.raises(StudyError, match=r"\(m\.z: a -> b; y: 2 -> 77\).*hydra\.sweeper\.study_"):
        opened(asked(1, config={"y": 77, "m": {"z": "b"}}))


@pytest.mark.parametrize(
    ("fixed", "y", "continues"),
    [("y=2", 2, True), ("+y=2.0", 2, True), ("y='2'", "2", True), ("y=2", 77, False)],
)
def test_a_study_of_before_is_compared_by_its_overrides(opened, fixed, y, continues):
    opened(asked(1, fixed=fixed))  # stored no config
    if continues:
        opened(asked(1, config={"y": y, "z": 1}))
        return
    with pytest.raises(StudyError, match=r"\(y: 2 -> 77\)"):
        opened(asked(1, config={"y": y, "z": 1}))


def test_how_trial_0_differs_from_the_default_is_stored_once(opened, file):
    store = opened(asked(1))
    assert store.plan_first({"x": 1.0, "c": "a"}, DefaultSetup({"x": "3"}, ("c",)))
    assert not opened(asked(1)).plan_first({"x": 1.0, "c": "a"})
    trial = store.ask()
    store.tell(trial, Outcome("failed"), ())
    study = read_study(file, "one")
    assert study.default_setup == DefaultSetup({"x": "3"}, ("c",))
    assert study.trials[0].default_mark == "nearest to the default"
