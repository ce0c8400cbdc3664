"""Searches on recorded learning curves: a sampler, and what stops or pauses its trials."""

from __future__ import annotations

import importlib
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

from benchmarks.curve_sets import CurveSet, Key, Point
from benchmarks.fronts import Found
from benchmarks.others import OTHERS, drive
from benchmarks.session import Player, Training
from energyopt.core.metric import ACCURACY
from energyopt.core.protocols import StoppingRule
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError
from energyopt.search.history_builder import HistoryBuilder
from energyopt.search.schedule import Schedule, Step
from energyopt.stopping.dominance import Dominance
from energyopt.stopping.energy_cap import EnergyCap
from energyopt.stopping.extrapolate import Extrapolate
from energyopt.stopping.rules import Rules

NO_TARGET = 1.0
OURS = "joule"

SAMPLERS: Mapping[str, Callable[..., BaseSampler]] = {
    "random": RandomSampler,
    "tpe": TPESampler,
    "nsga2": NSGAIISampler,
    "gp": lambda **options: GPSampler(deterministic_objective=False, **options),
}
RULES: Mapping[str, Callable[[], StoppingRule]] = {
    "energy_cap": EnergyCap,
    "dominance": Dominance,
    "extrapolate": Extrapolate,
}
HALVING = "halving"


@dataclass(frozen=True, slots=True)
class Search:
    """A method: `sampler`, `sampler+rule`, `sampler+halving`, each with `:key=value,...`.

    Attributes:
        sampler: Of `SAMPLERS`, or ours.
        stopping: Of `RULES`, or halving, or nothing.
        options: Of the sampler.
    """

    sampler: str
    stopping: tuple[str, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Search:
        """Read one.

        Raises:
            ConfigError: If there is no such.
        """
        sampler, *stopping = name.split("+")
        if sampler not in {*SAMPLERS, *OTHERS, OURS}:
            known = ", ".join([*SAMPLERS, *OTHERS, OURS])
            raise ConfigError(f"--methods {name} is unknown: choose a sampler of {known}")
        wrong = [each for each in stopping if each not in RULES and each != HALVING]
        if wrong:
            known = ", ".join([*RULES, HALVING])
            raise ConfigError(f"--methods {name}: +{wrong[0]} is unknown: choose of {known}")
        return cls(sampler, tuple(stopping), options)


class CurveSession(Player):
    """One search on one set of curves.

    Args:
        curves: The set.
        seed: Drives the search, which setup is the first, and which recorded runs are met.
        front: Ask for the front, and train to the end; else for the target, and end there.
    """

    monitor = ACCURACY

    def __init__(self, curves: CurveSet, seed: int, *, front: bool) -> None:
        target = NO_TARGET if curves.target is None else curves.target
        super().__init__(curves.name, target, part=curves.part)
        self.curves = curves
        self.seed = seed
        self.front = front
        self.target = curves.target
        self.found: list[Found] = []
        self.ends: list[Found] = []
        self._met: Counter[Key] = Counter()
        keys = list(curves.recordings)
        drawn = keys[random.Random(f"{seed}/{curves.name}").randrange(len(keys))]
        self.first = dict(zip(curves.space, drawn, strict=True))

    def begin_setup(self, setup: Mapping[str, Any]) -> Training:
        """Return a new trial, of the nearest recorded setup, on the next of its runs."""
        key = self.curves.snap(setup)
        runs = self.curves.recordings[key]
        draw = f"{self.seed}/{self.curves.name}/{key}/{self._met[key]}"
        self._met[key] += 1
        run = runs[random.Random(draw).randrange(len(runs))]
        return self.begin(dict(setup), run.curve, run.costs)

    def go_on(self, training: Training, until_j: float | None, rules: Rules) -> TrialResult:
        """Train, and note the points of the front that it finds."""
        before = training.result
        spent_j = self.spent_j - (0.0 if before is None else before.spent_j)
        result = self.train(
            training,
            epochs=training.curve.epochs[-1],
            until_j=until_j,
            stop_at_target=not self.front,
            rules=rules,
            marks=training.curve.epochs,
        )
        seen = len(before.checkpoints) if before else 0
        points = [Point(point.training_j, point.accuracy) for point in result.curve]
        self.found += [Found(spent_j + point.energy_j, point) for point in points[seen:]]
        if points and result.end in ("target", "epochs"):
            self.ends.append(Found(self.spent_j, points[-1]))
        return result


def search(session: CurveSession, how: Search, *, pause: bool = True) -> Iterator[Key | None]:
    """Train step by step; give the setup that is recommended for the target after each.

    Args:
        session: Where it trains.
        how: The method.
        pause: Let our trials pause; else each trains to its end.
    """
    if how.sampler in OTHERS:
        yield from _search_of_others(session, how)
        return
    sampler = _sampler(session, how)
    study = _study(sampler, session)
    schedule = _schedule(how, sampler)
    rules = {name: RULES[name]() for name in how.stopping if name in RULES}
    builder = HistoryBuilder()
    open_trials: dict[int, optuna.Trial] = {}
    best: tuple[float, Key] | None = None
    while True:
        step = Step()
        if schedule is not None:
            observed = [training.observed() for training in session.trainings]
            asked = schedule.next_step(observed, can_begin=True)
            if asked is None:
                return
            step = asked if pause else Step(asked.resume)
        if step.resume is None:
            trial = study.ask()
            space = session.curves.space
            setup = {key: trial.suggest_categorical(key, list(of)) for key, of in space.items()}
            training = session.begin_setup(setup)
            open_trials[training.number] = trial
        else:
            training = session.trainings[step.resume]
        result = session.go_on(training, step.until_j, Rules(rules, builder.history))
        builder.add(training.number, training.setup, result)
        if not training.paused:
            _tell(study, open_trials.pop(training.number), result, front=session.front)
        energy_j = result.energy_to_target_j
        if energy_j is not None and (best is None or energy_j < best[0]):
            best = (energy_j, session.curves.snap(training.setup))
        yield _recommended(session, sampler) or (best[1] if best else None)


def _search_of_others(session: CurveSession, how: Search) -> Iterator[Key | None]:
    curves, nothing = session.curves, Rules({}, HistoryBuilder().history)
    trained = drive(
        OTHERS[how.sampler](curves.space, int(curves.epochs), session.seed, **how.options),
        session.begin_setup,
        lambda training, _, until_j: session.go_on(training, until_j, nothing),
        lambda training: training.curve.epochs[-1],
    )
    best: tuple[float, Key] | None = None
    for setup, result in trained:
        energy_j = result.energy_to_target_j
        if energy_j is not None and (best is None or energy_j < best[0]):
            best = (energy_j, curves.snap(setup))
        yield best[1] if best else None


def _recommended(session: CurveSession, sampler: Any) -> Key | None:
    """Return the recommendation of our sampler; for others, the best configuration seen."""
    if not hasattr(sampler, "recommend") or session.front:
        return None
    ranking = sampler.recommend([training.observed() for training in session.trainings])
    return None if ranking is None else session.curves.snap(ranking)


def _sampler(session: CurveSession, how: Search) -> Any:
    if how.sampler != OURS:
        return SAMPLERS[how.sampler](seed=session.seed, **how.options)
    space = session.curves.space.items()
    return importlib.import_module("energyopt.search.joule").JouleSampler(
        seed=session.seed,
        target=None if session.front else session.target,
        epochs=session.curves.epochs,
        front=session.front,
        monitor=session.monitor,
        space={key: CategoricalDistribution(list(values)) for key, values in space},
        **how.options,
    )


def _schedule(how: Search, sampler: Any) -> Schedule | None:
    if HALVING in how.stopping:
        made = importlib.import_module("energyopt.search.halving").Halving()
        assert isinstance(made, Schedule)
        return made
    return sampler if isinstance(sampler, Schedule) else None


def _study(sampler: BaseSampler, session: CurveSession) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(),
        sampler=sampler,
        directions=["minimize", "maximize"] if session.front else ["minimize"],
    )
    study.enqueue_trial(session.first)
    return study


def _tell(study: optuna.Study, trial: optuna.Trial, result: TrialResult, *, front: bool) -> None:
    """Tell what a trial came to; of one that was stopped what it had reached."""
    energy_j = result.energy_to_target_j
    if front:
        study.tell(trial, [math.log(result.training_j), result.best_accuracy])
        return
    trial.set_constraint("target_missed_by", result.target - result.best_accuracy)
    if energy_j is None and result.end == "stopped":
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, result.training_j if energy_j is None else energy_j)


def methods() -> Sequence[str]:
    """Those that are compared if none are named."""
    return (
        "random",
        "random+dominance",
        "tpe",
        "tpe+energy_cap",
        "tpe+dominance",
        "nsga2",
        OURS,
    )
