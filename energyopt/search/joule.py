"""The sampler that searches with few joules: it pauses, compares and resumes trials.

As a `Schedule` it decides after each step which trial trains on, or which setup begins. As a plain
Optuna sampler (`stopping=none`) it suggests setups that train to their end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from energyopt.errors import ConfigError
from energyopt.search.acquisition import Choice, Outlook, Question
from energyopt.search.encoding import Array, Point
from energyopt.search.energy_model import EnergyModel
from energyopt.search.learning_curve_model import ForwardModel
from energyopt.search.schedule import Step, TrialSnapshot, observed_of

_REFIT = 1.1  # growth of what is known at which the model's scales are looked at again


class JouleSampler(BaseSampler):
    """Chooses by expected saving a joule; see `energyopt.search.acquisition`.

    Args:
        seed: Of what it draws.
        target: Accuracy to reach, in [0, 1]; None where only the front is asked for.
        epochs: The most that a trial trains.
        front: Whether what each further point of accuracy costs is asked, too; None asks it where a
            study has two objectives, one of them maximised.
        reuse: How many trainings will use the recommended setup; 300 if None.
        space: What is searched; learnt from the study's trials if None.
        present: Takes away the keys that a setup has not, in a conditional space.

    Raises:
        ConfigError: If a number is out of its range.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        target: float | None = None,
        epochs: float = 100.0,
        front: bool | None = None,
        reuse: float | None = None,
        space: Mapping[str, BaseDistribution] | None = None,
        present: Callable[[Point], dict[str, Any]] = dict,
    ) -> None:
        if reuse is not None and not reuse > 0:
            raise ConfigError(f"reuse={reuse}: a number of trainings above 0 is needed, or null")
        if not epochs > 0:
            raise ConfigError(f"epochs={epochs}: a number above 0 is needed")
        if target is not None and not 0 < target <= 1:
            raise ConfigError(f"target={target}: an accuracy above 0 and at most 1 is needed")
        self._random = RandomSampler(seed)
        self._rng = np.random.default_rng(seed)
        self._target = target
        self._epochs = epochs
        self._front = front
        self._asked = {} if reuse is None else {"reuse": reuse}
        self.final = reuse is None  # a larger one may go on with what is paused
        self._space = dict(space or {})
        self._present = present
        self._hyper: Array | None = None
        self._known = 0.0
        self._forward_hyper: Array | None = None
        self._read = 0.0
        self._planned: Mapping[str, Any] = {}

    # As a schedule -------------------------------------------------------------------------------

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """The step that is worth most; see `Schedule`."""
        choice = self.choose(observed, can_begin=can_begin)
        if choice is None:
            return None
        self._planned = choice.params
        return choice.step

    def choose(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Choice | None:
        """The same with what it is expected to save and to cost."""
        with threadpool_limits(1):  # small matrices; and trials train on the other cores
            return self._choose(observed, can_begin=can_begin)

    def _choose(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Choice | None:
        outlook = self._outlook(observed)
        if outlook is None:
            running = any(trial.state == "running" for trial in observed)
            return None if running or not can_begin else Choice(Step(None, 0.0))
        choice = None
        if self._target is not None:
            choice = outlook.to_target(can_begin=can_begin)
        if choice is None and (self._front or self._target is None):
            choice = outlook.to_front(self._forward(observed), can_begin=can_begin)
        return choice

    def recommend(self, observed: Sequence[TrialSnapshot]) -> Mapping[str, Any] | None:
        """The setup that is expected to reach the target with the least energy; None without data.

        It may be one that was not trained to its end.
        """
        outlook = self._outlook(observed)
        return None if outlook is None else outlook.setups[outlook.recommended]

    def _outlook(self, observed: Sequence[TrialSnapshot]) -> Outlook | None:
        trained = [trial for trial in observed if trial.epoch_j]
        unknown = not self._space and any(trial.params for trial in trained)
        if not trained or unknown:
            return None
        question = Question(self._target, self._epochs, bool(self._front), **self._asked)
        return Outlook(
            observed,
            question,
            self._model(trained),
            self._rng,
            self._present,
        )

    def _forward(self, observed: Sequence[TrialSnapshot]) -> ForwardModel:
        trained = [trial for trial in observed if trial.epoch_j]
        known = sum(len(trial.epochs) for trial in trained)
        refine = known >= _REFIT * self._read
        model = ForwardModel(trained, self._space, hyper=self._forward_hyper, refine=refine)
        if refine:
            self._forward_hyper, self._read = model.hyper, known
        return model

    def _model(self, trained: Sequence[TrialSnapshot]) -> EnergyModel:
        known = sum(1 + len(trial.epochs) for trial in trained)
        refine = known >= _REFIT * self._known
        model = EnergyModel(trained, self._space, self._target, hyper=self._hyper, refine=refine)
        if refine:
            self._hyper, self._known = model.hyper, known
        return model

    # As a sampler --------------------------------------------------------------------------------

    def infer_relative_search_space(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002  # Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """All that was searched so far; what a trial does not ask for is left out."""
        for known in study.get_trials(deepcopy=False):
            self._space.update(known.distributions)
        if self._front is None:
            directions = study.directions
            self._front = len(directions) > 1 and StudyDirection.MAXIMIZE in directions
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The setup that the schedule planned, or else one that is expected to save the most."""
        planned, self._planned = self._planned, {}
        if not planned:
            ended = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
            observed = [_whole(observed_of(t)) for t in ended if t.number != trial.number]
            choice = self.choose(observed, can_begin=True) if observed else None
            planned = {} if choice is None else choice.params
        return {key: value for key, value in planned.items() if key in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value, for what was never searched before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _whole(trial: TrialSnapshot) -> TrialSnapshot:
    """A trial as it is where a new one is asked for: none goes on instead."""
    return dataclasses.replace(trial, state="ended") if trial.state == "paused" else trial
