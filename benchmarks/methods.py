"""The searches that are compared: each trains, step by step, and says what it would recommend."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from benchmarks.others import OTHERS, drive
from benchmarks.problems import Setup
from benchmarks.session import Session, Training
from benchmarks.zeus_policy import zeus
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError

Search = Iterator[Setup | None]
"""Trains a step each time that it is asked, and gives what it recommends then."""

Method = Callable[..., Search]
"""Takes a session, and options by keyword."""

_SIZE, _LIMIT = "batch_size", "power_limit_w"


def joint(
    make: Callable[..., BaseSampler], *, reached: bool = False, noisy: bool = False
) -> Method:
    """Return a sampler of Optuna's over batch size and power limit, which recommends the best seen.

    Args:
        make: Makes the sampler from a seed and options.
        reached: Ask for two objectives: energy, and whether the target was reached.
        noisy: Tell the sampler that values are noisy.
    """

    def search(session: Session, **options: Any) -> Search:
        fixed = {"deterministic_objective": False} if noisy else {}
        study = _study(make(seed=session.seed, **fixed, **options), two=reached)
        recorded = session.problem.recorded
        best: tuple[float, Setup] | None = None
        while True:
            trial = study.ask()
            size = trial.suggest_categorical(_SIZE, sorted(recorded.runs))
            limit_w = trial.suggest_categorical(_LIMIT, recorded.limits_w)
            result = _result(session.train_size(size, limit_w))
            _tell(study, trial, result, two=reached)
            energy_j = result.energy_to_target_j
            if energy_j is not None and (best is None or energy_j < best[0]):
                best = (energy_j, Setup(size, limit_w))
            yield best[1] if best else None

    return search


def tpe_profiled(session: Session, **options: Any) -> Search:
    """TPE over the batch size alone, from the default; the power limit is profiled."""
    study = _study(TPESampler(seed=session.seed, **options))
    study.enqueue_trial({_SIZE: session.problem.default.batch_size})
    best: tuple[float, int] | None = None
    while True:
        trial = study.ask()
        size = trial.suggest_categorical(_SIZE, sorted(session.problem.recorded.runs))
        result = _result(session.train_size(size))
        _tell(study, trial, result)
        energy_j = result.energy_to_target_j
        if energy_j is not None and (best is None or energy_j < best[0]):
            best = (energy_j, size)
        yield session.setup(best[1]) if best else None


def joule(session: Session, *, pause: bool = True, **options: Any) -> Search:
    """Return the product's own search; see `energyopt.search.joule`.

    Args:
        session: Where it trains.
        pause: Let trials pause; else each trains to its end.
        options: Of the sampler.
    """
    recorded = session.problem.recorded
    sizes = sorted(recorded.runs)
    try:
        sampler = importlib.import_module("energyopt.search.joule").JouleSampler(
            seed=session.seed,
            target=recorded.target,
            epochs=recorded.max_epochs,
            space={_SIZE: CategoricalDistribution(sizes)},
            **options,
        )
    except TypeError as error:
        raise ConfigError(f"--set: {error}") from error
    study = _study(sampler)
    study.enqueue_trial({_SIZE: session.problem.default.batch_size})
    open_trials: dict[int, optuna.Trial] = {}
    while True:
        step = sampler.next_step(
            [training.observed() for training in session.trainings], can_begin=True
        )
        if step is None:
            return
        if step.resume is None:
            trial = study.ask()
            training = session.begin_size(trial.suggest_categorical(_SIZE, sizes))
            open_trials[training.number] = trial
        else:
            training = session.trainings[step.resume]
        until_j = step.until_j if pause else None
        result = session.train(training, epochs=recorded.max_epochs, until_j=until_j)
        if not training.paused:
            _tell(study, open_trials.pop(training.number), result)
        ranking = sampler.recommend([training.observed() for training in session.trainings])
        yield None if ranking is None else session.setup(ranking[_SIZE])


def other(name: str) -> Method:
    """Return a search of another package, over batch size and power limit, from epoch to epoch."""

    def search(session: Session, **options: Any) -> Search:
        recorded = session.problem.recorded
        epochs = recorded.max_epochs
        space = {_SIZE: sorted(recorded.runs), _LIMIT: list(recorded.limits_w)}

        def train(
            training: Training, setup: Mapping[str, Any], until_j: float | None
        ) -> TrialResult:
            limit_w = setup[_LIMIT]
            return session.train(training, epochs=epochs, limit_w=limit_w, until_j=until_j)

        trained = drive(
            OTHERS[name](space, epochs, session.seed, **options),
            lambda setup: session.begin_size(setup[_SIZE]),
            train,
            lambda _: epochs,
        )
        best: tuple[float, Setup] | None = None
        for setup, result in trained:
            energy_j = result.energy_to_target_j
            if energy_j is not None and (best is None or energy_j < best[0]):
                best = (energy_j, Setup(setup[_SIZE], setup[_LIMIT]))
            yield best[1] if best else None

    return search


METHODS: Mapping[str, Method] = {
    "random": joint(RandomSampler),
    "tpe": joint(TPESampler),
    "motpe": joint(TPESampler, reached=True),
    "nsga2": joint(NSGAIISampler, reached=True),
    "gp": joint(GPSampler, noisy=True),
    "tpe_profiled": tpe_profiled,
    "zeus": zeus,
    "joule": joule,
    **{name: other(name) for name in OTHERS},
}
"""By name; `DEFAULTS` are those that take seconds."""

DEFAULTS = ("random", "tpe", "motpe", "nsga2", "tpe_profiled", "zeus", "joule")


def method(name: str) -> Method:
    """Return a method by name.

    Raises:
        ConfigError: If there is none, or its package is missing.
    """
    if name not in METHODS:
        raise ConfigError(f"--methods {name} is unknown: choose of {', '.join(METHODS)}")
    return METHODS[name]


def _study(sampler: BaseSampler, *, two: bool = False) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=optuna.storages.InMemoryStorage(),
        sampler=sampler,
        directions=["minimize", "maximize"] if two else ["minimize"],
    )


def _tell(
    study: optuna.Study, trial: optuna.Trial, result: TrialResult, *, two: bool = False
) -> None:
    """Tell what a trial came to, as a study of ours does: a miss violates a constraint."""
    trial.set_constraint("target_missed_by", result.target - result.best_accuracy)
    energy_j = result.energy_to_target_j
    value = result.training_j if energy_j is None else energy_j
    study.tell(trial, [value, float(result.reached)] if two else value)


def _result(training: Training) -> TrialResult:
    assert training.result is not None
    return training.result
