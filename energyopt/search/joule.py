"""The energy-aware sampler: it pauses, compares and resumes trials.

As a `Schedule` it decides after each step which trial resumes, or which configuration begins. As a
plain Optuna sampler (`stopping=none`) it suggests configurations that train to their end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from energyopt.core.metric import ACCURACY, Monitor, Scale
from energyopt.errors import ConfigError
from energyopt.search.acquisition import Acquisition, Proposal, SearchGoal
from energyopt.search.curve_observations import scale_of
from energyopt.search.encoding import Array, Params
from energyopt.search.energy_model import EnergyModel
from energyopt.search.learning_curve_model import LearningCurveModel
from energyopt.search.schedule import Step, TrialSnapshot, observed_of

# Growth of the number of observations at which the model's scales are fitted again: the fit takes
# most of the time, and a few more observations hardly change it.
_REFIT_GROWTH = 1.1


class JouleSampler(BaseSampler):
    """Samples by expected saving per joule; see `energyopt.search.acquisition`.

    Args:
        seed: Seed of its random draws.
        target: Value of the metric to reach; None where only the front is searched.
        epochs: Maximum epochs of a trial.
        front: Whether to search the whole front, too; None does so where a study has two
            objectives, one of them the metric.
        planned_trainings: Number of planned trainings with the recommended configuration; 300 if
            None.
        space: The search space; taken from the study's trials if None.
        present: Removes the keys that a configuration does not have, in a conditional space.
        monitor: The metric.

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
        planned_trainings: float | None = None,
        space: Mapping[str, BaseDistribution] | None = None,
        present: Callable[[Params], dict[str, Any]] = dict,
        monitor: Monitor = ACCURACY,
    ) -> None:
        if planned_trainings is not None and not planned_trainings > 0:
            raise ConfigError(
                f"planned_trainings={planned_trainings}: a number of trainings above 0 is needed, "
                "or null"
            )
        if not epochs > 0:
            raise ConfigError(f"epochs={epochs}: a number above 0 is needed")
        if target is not None:
            monitor.check_target(target)
        self._random = RandomSampler(seed)
        self._rng = np.random.default_rng(seed)
        self._monitor = monitor
        self._target = None if target is None else monitor.score(target)
        self._epochs = epochs
        self._front = front
        self._goal_options = (
            {} if planned_trainings is None else {"planned_trainings": planned_trainings}
        )
        self.final = planned_trainings is None  # a larger one may resume what is paused
        self._space = dict(space or {})
        self._given = frozenset(self._space)
        self._present = present
        self._energy_hyper: Array | None = None
        self._energy_fitted_to = 0.0
        self._curve_hyper: Array | None = None
        self._curve_fitted_to = 0.0
        self._planned: Mapping[str, Any] = {}

    # As a schedule -------------------------------------------------------------------------------

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """Return the step with the best expected saving per joule; see `Schedule`."""
        proposal = self.choose(observed, can_begin=can_begin)
        if proposal is None:
            return None
        self._planned = proposal.params
        return proposal.step

    def choose(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Proposal | None:
        """Return the next step with its expected saving and cost; see `next_step`."""
        with threadpool_limits(1):  # matrices are small, and trials train on the other cores
            return self._choose(observed, can_begin=can_begin)

    def _choose(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Proposal | None:
        acquisition = self._acquisition(observed)
        if acquisition is None:
            running = any(trial.state == "running" for trial in observed)
            return None if running or not can_begin else Proposal(Step(None, 0.0))
        proposal = None
        if self._target is not None:
            proposal = acquisition.to_target(can_begin=can_begin)
        if proposal is None and (self._front or self._target is None):
            proposal = acquisition.to_front(
                self._fit_curves(observed, acquisition.scale), can_begin=can_begin
            )
        return proposal

    def recommend(self, observed: Sequence[TrialSnapshot]) -> Mapping[str, Any] | None:
        """Return the configuration expected to reach the target with the least energy.

        It may be one that was not trained to its end. None without data.
        """
        acquisition = self._acquisition(observed)
        return None if acquisition is None else acquisition.candidates[acquisition.recommended]

    def _acquisition(self, observed: Sequence[TrialSnapshot]) -> Acquisition | None:
        trained = [trial for trial in observed if trial.epoch_j]
        is_space_unknown = not self._space and any(trial.params for trial in trained)
        if not trained or is_space_unknown:
            return None
        goal = SearchGoal(self._target, self._epochs, bool(self._front), **self._goal_options)
        model = self._fit_energy(trained)
        return Acquisition(observed, goal, model, self._rng, self._present)

    def _fit_curves(self, observed: Sequence[TrialSnapshot], scale: Scale) -> LearningCurveModel:
        """Fit the model of learning curves; its scales as `_fit_energy` does."""
        trained = [trial for trial in observed if trial.epoch_j]
        n_observations = sum(len(trial.epochs) for trial in trained)
        refine = n_observations >= _REFIT_GROWTH * self._curve_fitted_to
        model = LearningCurveModel(
            trained, self._space, scale, hyper=self._curve_hyper, refine=refine
        )
        if refine:
            self._curve_hyper, self._curve_fitted_to = model.hyper, n_observations
        return model

    def _fit_energy(self, trained: Sequence[TrialSnapshot]) -> EnergyModel:
        """Fit the energy model; its scales as well once the observations have grown enough."""
        n_observations = sum(1 + len(trial.epochs) for trial in trained)
        refine = n_observations >= _REFIT_GROWTH * self._energy_fitted_to
        scale = scale_of(self._monitor, trained, self._target)
        model = EnergyModel(
            trained, self._space, self._target, scale, hyper=self._energy_hyper, refine=refine
        )
        if refine:
            self._energy_hyper, self._energy_fitted_to = model.hyper, n_observations
        return model

    # As a sampler --------------------------------------------------------------------------------

    def infer_relative_search_space(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002  # Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return the space of all trials so far."""
        for earlier in study.get_trials(deepcopy=False):
            for key, axis in earlier.distributions.items():
                # A range may have been widened since; choices keep the order of the study.
                if key not in self._given or isinstance(axis, CategoricalDistribution):
                    self._space[key] = axis
        if self._front is None:
            directions = study.directions
            self._front = len(directions) > 1 and self._has_metric(study)
        return dict(self._space)

    def _has_metric(self, study: Study) -> bool:
        """Return True if the metric is an objective; energy and time are minimised as well."""
        if self._monitor.mode == "max":
            return StudyDirection.MAXIMIZE in study.directions
        return self._monitor.name in (study.metric_names or ())

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the configuration that the schedule planned, else the one with the best saving."""
        planned, self._planned = self._planned, {}
        if not planned:
            ended = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
            observed = [_as_ended(observed_of(t)) for t in ended if t.number != trial.number]
            proposal = self.choose(observed, can_begin=True) if observed else None
            planned = {} if proposal is None else proposal.params
        return {key: value for key, value in planned.items() if key in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value of a key that was never searched before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _as_ended(trial: TrialSnapshot) -> TrialSnapshot:
    """Return a trial as ended if it is paused, so that none resumes in place of a new one."""
    return dataclasses.replace(trial, state="ended") if trial.state == "paused" else trial
