"""Studies of Optuna that count joules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import Trial, TrialState

import energyopt as package
from energyopt.errors import ConfigError, StudyError, TrialError
from energyopt.integrations.optuna import Run, create_study
from energyopt.search.joule import JouleSampler
from energyopt.training.run_process import end_open_run
from energyopt.workflows.load_study import load_study

GOAL: dict[str, Any] = {"monitor": "loss", "mode": "min", "target": 0.3, "epochs": 4}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    end_open_run()


def study_of(**options: Any) -> optuna.Study:
    return create_study(**{**GOAL, "hardware": "estimate", "seed": 0, **options})


def work(work_s: float) -> float:
    """Keep the processor busy. Returns the CPU time that it took, in s."""
    began_s = time.process_time()
    while time.process_time() < began_s + work_s:
        pass
    return time.process_time() - began_s


def train(trial: Trial, at_report: Callable[[float], object] = lambda _: None) -> Run:
    """Train a loss that falls faster with a larger rate."""
    rate = trial.suggest_float("rate", 0.1, 1.0)
    run = Run(trial)
    for epoch in run.epochs():
        work(0.002)
        run.report(1 / (1 + rate * (epoch + 1)))
        at_report(rate)
    return run


def test_a_study_searches_with_the_joule_sampler_and_is_read_as_any_other() -> None:
    study = study_of(default={"rate": 0.5})
    assert isinstance(study, optuna.Study)
    assert isinstance(getattr(study.sampler, "inner", None), JouleSampler)
    study.optimize(lambda trial: train(trial).values, n_trials=8)
    loaded = load_study("optuna")
    assert [trial.state for trial in loaded.trials] == ["complete"] * 8
    assert loaded.trials[0].default
    assert loaded.trials[0].params == {"rate": 0.5}
    for trial, frozen in zip(loaded.trials, study.trials, strict=True):
        assert trial.result is not None
        assert trial.values == tuple(frozen.values)
        assert trial.values[1] == trial.result.curve.accuracy[-1]
        assert frozen.user_attrs["censored"] == (trial.values[1] > 0.3)
    assert loaded.recommendation.params.keys() == {"rate"}
    assert loaded.front()


def test_a_rule_prunes_a_trial() -> None:
    study = study_of(stopping="dominance", target=0.01, epochs=12)
    rates = iter([1.0, 1.0, 1.0, 0.1])

    def objective(trial: Trial) -> tuple[float, ...]:
        rate = next(rates)
        run = Run(trial)
        for epoch in run.epochs():
            work(0.002 / rate)
            run.report(1 / (1 + rate * (epoch + 1)))
        return run.values

    study.optimize(objective, n_trials=4)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED]
    stopped = load_study("optuna").trials[-1]
    assert stopped.state == "pruned"
    assert stopped.result is not None
    assert stopped.result.stopped_by == "dominance"


def test_ask_and_tell_and_a_context_manager_work_as_well() -> None:
    study = study_of()
    trial = study.ask()
    with package.integrations.optuna.Run(trial) as run:
        run.begin()
        for value in (0.9, 0.2):
            run.report(value)
    study.tell(trial, run.values)
    assert load_study("optuna").trials[0].values == run.values


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, torch.tensor])
def test_an_objective_may_go_on_to_return_its_metric(kind: Callable[[float], Any]) -> None:
    study = study_of()
    metric = kind(0.25)

    def objective(trial: Trial) -> Any:
        run = Run(trial)
        for _ in run.epochs():
            run.report(metric)
        return metric

    study.optimize(objective, n_trials=1)
    assert study.trials[0].values[1] == pytest.approx(0.25)


def test_joules_are_those_of_an_independent_count() -> None:
    study = study_of(hardware="estimate", epochs=2)
    counted_s = []

    def objective(trial: Trial) -> tuple[float, ...]:
        run = Run(trial)
        for epoch in run.epochs():
            counted_s.append(work(0.3))
            run.report(1 - 0.4 * (epoch + 1))
        return run.values

    study.optimize(objective, n_trials=1)
    assert study.trials[0].values[0] == pytest.approx(4 * sum(counted_s), rel=0.05)


def test_trials_of_threads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"n_jobs=2\): joules of threads cannot be told apart"):
        study_of().optimize(lambda trial: train(trial).values, n_trials=2, n_jobs=2)


def test_what_a_failed_objective_used_is_kept_and_its_error_passed_on() -> None:
    study = study_of()

    def fail(_: float) -> None:
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        study.optimize(lambda trial: train(trial, fail).values, n_trials=1)
    failed = load_study("optuna").trials[0]
    assert failed.state == "failed"
    assert "no such layer" in failed.reason
    assert failed.result is not None
    assert failed.result.spent_j > 0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda trial: 0.3, r"the objective made no energyopt\.integrations\.optuna\.Run"),
        (lambda trial: train(trial) and 0.7, r"the objective returned 0\.7, which it did not"),
        (lambda trial: (Run(trial).epochs(), None)[1], "it ended without a report"),
        (lambda trial: (Run(trial), Run(trial)), "trial 0 has a Run already"),
    ],
)
def test_an_objective_without_joules_is_an_error_in_a_sentence(
    objective: Any, message: str
) -> None:
    with pytest.raises(TrialError, match=message):
        study_of().optimize(objective, n_trials=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "lower"}, "lower"),
        ({"monitor": ""}, "the name of the metric"),
        ({"target": float("nan")}, "target=nan: a number is needed"),
        ({"epochs": 0}, "epochs=0: a number is needed, and epochs above 0"),
        ({"stopping": "never"}, "stopping=never"),
        ({"storage": optuna.storages.InMemoryStorage()}, "storage=InMemoryStorage: studies are"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study_of(**options)


def test_a_study_is_continued_only_with_the_same_question() -> None:
    study_of().optimize(lambda trial: train(trial).values, n_trials=1)
    assert len(study_of().trials) == 1
    with pytest.raises(StudyError, match=r"target: 0\.3 -> 0\.2"):
        study_of(target=0.2)


def test_a_trial_of_another_study_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"that energyopt\.create_study\(\) made"):
        Run(optuna.create_study().ask())
