"""Acquisition function: choose what to train next by expected saving per joule.

The search answers two questions, one after the other.

1. Which configuration reaches the target with the least energy? Each step (a short evaluation or a
   whole training run) is scored by the expected improvement of the recommendation, a one-step
   knowledge gradient (Frazier et al. 2008) that ignores what a step reveals about third
   configurations.
2. What does each further point of the metric cost? The step is scored by the expected growth of the
   hypervolume of (place of the score, log energy) (`expected_hypervolume`).

Both scores are divided by the energy that the step needs, and the step with the best ratio is
taken, as Weitzman's index does for search with costs (arXiv 2406.20062). The search stops when no
step is expected to save more, over all planned trainings, than it costs (arXiv 2507.12453 gives
that rule for the Gittins index).

The constants were chosen by hand on recorded trainings of four workloads and not fitted;
`benchmarks/ablate.py` varies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from energyopt.core.metric import Scale
from energyopt.search.curve_observations import finite
from energyopt.search.encoding import Array, Params
from energyopt.search.energy_model import EnergyModel
from energyopt.search.expected_hypervolume import Front, ahead, evaluations, on_front
from energyopt.search.gp import expected_improvement
from energyopt.search.learning_curve_model import LearningCurveModel
from energyopt.search.schedule import Step, TrialSnapshot, params_key, unique_params

# By how many standard deviations a configuration must be better than the default to replace it: one
# that reached the target in a training is a fact, one that did not is a prediction.
_DOUBT_REACHED, _DOUBT_UNREACHED = 0.3, 1.0
_MIN_HITS = 2  # one training may be an outlier of seed noise; two rarely both are
# The default trains to its end only while its energy is below this multiple of the best: what it
# would tell (the saving relative to it) is not worth an order of magnitude.
_EXPENSIVE = 10.0
# A trial trains at least this multiple of the overhead of starting it, so that loading and warm-up
# take at most a third of a step.
_MIN_TRAINING = 2.0
_OTHER_TARGET_SHARE = 0.1  # of the planned trainings use another target
_PLANNED_TRAININGS = 300.0  # planned trainings where the user gives no number
_GROWTH = 2.0  # a paused trial resumes to this multiple of its energy: halving's smallest usual eta
_CANDIDATES = 160  # random and neighbouring candidates of a space too large to list
_N_NEAREST = 5  # best configurations whose neighbours become candidates
_TINY_J = 1e-12  # keeps logarithms and ratios finite
# Unreached levels count as the 90 % quantile of a whole training: robust against one absurdly
# expensive candidate.
_WORST_QUANTILE = 0.9
_KNOWN_EPOCH_SD = 0.05  # of log energy where the trial itself has measured its epochs


@dataclass(frozen=True, slots=True)
class SearchGoal:
    """The goal of a search.

    Attributes:
        target: Score to reach; None for none.
        epochs: Maximum epochs of a trial.
        front: Whether to search the whole front, in addition to or instead of the target.
        planned_trainings: Number of planned trainings with the result: a joule of search must save
            one there.
        known_sd: The default trains first until the standard deviation of its log energy is at
            most this.
    """

    target: float | None
    epochs: float
    front: bool = True
    planned_trainings: float = _PLANNED_TRAININGS
    known_sd: float = 0.5


@dataclass(frozen=True, slots=True)
class Proposal:
    """A step to train next.

    Attributes:
        step: Which trial, and until when.
        params: Hyperparameters of a new trial.
        saving_j: Expected saving over all planned trainings, in J.
        cost_j: Expected energy of the step, in J.
    """

    step: Step
    params: Mapping[str, Any] = field(default_factory=dict)
    saving_j: float = math.inf
    cost_j: float = 0.0


class Acquisition:
    """The candidates of a study at one moment, and the value of training each.

    Args:
        observed: All trials; at least one has trained. Configurations of trials that have not,
            because they failed or just began, are not candidates.
        goal: The goal of the search.
        model: Fitted to the trials that have trained.
        rng: Draws candidates of a large space.
        present: Removes the keys that a configuration does not have (conditional spaces).
    """

    def __init__(
        self,
        observed: Sequence[TrialSnapshot],
        goal: SearchGoal,
        model: EnergyModel,
        rng: np.random.Generator,
        present: Callable[[Params], dict[str, Any]] = dict,
    ) -> None:
        self._observed = [trial for trial in observed if trial.epoch_j]
        self._goal = goal
        self._model = model
        trained = unique_params(trial.params for trial in self._observed)
        mean, _ = model.posterior(trained)
        best = [trained[i] for i in np.argsort(mean)[:_N_NEAREST]]
        if goal.front:
            best = [*on_front(self._observed), *best][: 2 * _N_NEAREST]
        drawn = model.encoding.candidates(best, rng, _CANDIDATES)
        untrained = {params_key(trial.params) for trial in observed if not trial.epoch_j}
        new = [params for params in map(present, drawn) if params_key(params) not in untrained]
        self.candidates = unique_params([*trained, *new])
        self._trials: list[list[TrialSnapshot]] = [[] for _ in self.candidates]
        indices = {params_key(params): i for i, params in enumerate(self.candidates)}
        for trial in observed:
            if params_key(trial.params) in indices:
                self._trials[indices[params_key(trial.params)]].append(trial)
        first = next((trial for trial in self._observed if trial.default), self._observed[0])
        self._default = indices[params_key(first.params)]
        self._mean, self._covariance = model.posterior(self.candidates)
        self._overhead_j = _overhead_j(observed)
        self._epoch_j, self._epoch_sd = model.epoch_j(self.candidates)
        self._full_j = goal.epochs * self._epoch_j

    @property
    def scale(self) -> Scale:
        """The scale of the metric."""
        return self._model.levels.scale

    # Which configuration reaches the target with the least energy --------------------------------

    @property
    def recommended(self) -> int:
        """Index of the recommended candidate: the default, unless others are better beyond doubt.

        The posterior mean of the difference must exceed `doubt` standard deviations; a
        configuration that has reached the target needs less.
        """
        doubt = np.array(
            [
                _DOUBT_REACHED if any(trial.reached for trial in trials) else _DOUBT_UNREACHED
                for trials in self._trials
            ]
        )
        incumbent = self._default
        for _ in self.candidates:  # each pass finds a better one or ends
            score = self._mean + doubt * self._difference_sd(incumbent)
            score[incumbent] = self._mean[incumbent]
            best = int(np.argmin(score))
            if score[best] >= self._mean[incumbent] - 1e-9:
                break
            incumbent = best
        return incumbent

    def to_target(self, *, can_begin: bool) -> Proposal | None:
        """Return the step with the best expected saving per joule; None if none is worth it."""
        default_trial = self._paused_trial(self._default)
        default_sd = math.sqrt(self._covariance[self._default, self._default])
        if default_trial is not None and default_sd > self._goal.known_sd:
            return self._resume(default_trial)
        best = self.recommended
        trainable = [
            i for i in range(len(self.candidates)) if self._can_train(i, can_begin=can_begin)
        ]
        if not trainable:
            return None
        planned_j = math.exp(self._mean[best]) * self._goal.planned_trainings
        options = [
            (planned_j * self._log_saving(best, noise), cost_j)
            for noise, cost_j in (self._whole_training(), self._short_training())
        ]
        saving, cost, candidate = max(
            (
                (float(saving_j[i]), float(cost_j[i]), i)
                for saving_j, cost_j in options
                for i in trainable
            ),
            key=lambda option: option[0] / option[1],
        )
        if saving >= cost:
            return self._train(candidate, saving, cost)
        if best in trainable and self._needs_proof(best):
            return self._train(best)
        if default_trial is not None:
            limit_j = _EXPENSIVE * math.exp(self._mean[best])
            if _training_j(default_trial) < limit_j:
                return self._resume(default_trial)  # savings are stated relative to the default
        return None

    def _needs_proof(self, best: int) -> bool:
        """Return True if the recommended candidate has reached the target too rarely.

        One run may be an outlier, so require two; the default needs only one.
        """
        n_hits = sum(trial.reached for trial in self._trials[best])
        return n_hits < (1 if best == self._default else _MIN_HITS)

    def _log_saving(self, best: int, noise: Array) -> Array:
        """Return the expected improvement of the recommendation by training each candidate.

        Observing y_i = f_i + N(0, noise_i) moves the posterior mean of f_i - f_best by a normal
        with standard deviation |K_ii - K_ib| / sqrt(K_ii + noise_i), K the posterior covariance;
        the gain is the expectation of its positive part (knowledge gradient between two
        alternatives, Frazier et al. 2008). Changes to third candidates are left out.

        Args:
            best: Index of the recommended candidate.
            noise: Variance of the observation of each candidate.

        Returns:
            Expected decrease of the log energy of the recommendation, one for each candidate.
        """
        variance = np.diag(self._covariance)
        observed_sd = np.sqrt(variance + noise)
        lead = self._mean[best] - self._mean
        gains = expected_improvement(lead, np.abs(variance - self._covariance[best]) / observed_sd)
        # Training the recommended one pays if it turns out worse than the best of the others.
        shift_sd = np.abs(variance[best] - self._covariance[best]) / observed_sd[best]
        alternatives = expected_improvement(lead, shift_sd)
        alternatives[best] = 0.0
        gains[best] = alternatives.max(initial=0.0)
        return gains

    def _whole_training(self) -> tuple[Array, Array]:
        """Return observation noise and cost of training each candidate to the target.

        The noise is seed noise only; the cost is the rest of the expected energy.
        """
        full_j = np.minimum(np.exp(self._mean), self._full_j)
        trained_j = np.array(
            [_training_j(self._paused_trial(i)) for i in range(len(self.candidates))]
        )
        rest_j = np.maximum(full_j - trained_j, self._epoch_j)
        seed_noise = self._model.noise(1.0)  # at level 1, which is the target
        return np.full(len(rest_j), seed_noise), rest_j + self._overhead_j

    def _short_training(self) -> tuple[Array, Array]:
        """Return observation noise and cost of training each candidate a little further.

        The lower the level reached so far, the noisier the observation.
        """
        noise, cost, levels = [], [], self._model.levels
        for i, epoch_j in enumerate(self._epoch_j):
            trial = self._paused_trial(i)
            scores = [] if trial is None else finite(trial.accuracy)
            best = max(scores, default=levels.scale.worst)
            noise.append(self._model.noise(levels.level(best)))
            min_j = max(float(epoch_j), _MIN_TRAINING * self._overhead_j)
            cost.append(max((_GROWTH - 1) * _training_j(trial), min_j) + self._overhead_j)
        return np.array(noise), np.array(cost)

    def _difference_sd(self, reference: int) -> Array:
        """Return the standard deviation of the difference of each candidate from one of them."""
        diagonal = np.diag(self._covariance)
        variance = diagonal + diagonal[reference] - 2 * self._covariance[reference]
        sd: Array = np.sqrt(np.maximum(variance, 1e-12))
        return sd

    # What each further point of the metric costs --------------------------------------------------

    def to_front(self, curve_model: LearningCurveModel, *, can_begin: bool) -> Proposal | None:
        """Return the step expected to extend the front most per joule; None if none is worth it.

        Args:
            curve_model: Predicts the place that a training reaches.
            can_begin: Whether a new trial may begin.
        """
        paused = [self._paused_trial(i, reached=True) for i in range(len(self.candidates))]
        trainable = [
            i
            for i, trial in enumerate(paused)
            if trial is not None or (can_begin and not self._trials[i])
        ]
        front = Front.of(
            self._observed, self.scale, float(np.quantile(self._full_j, _WORST_QUANTILE))
        )
        if not trainable or front is None:
            return None
        trials = [paused[i] for i in trainable]
        epochs = self._horizons(trainable, trials)
        indices = {trial.number: i for i, trial in enumerate(self._observed)}
        resumed = np.array([-1 if trial is None else indices[trial.number] for trial in trials])
        mean, sd = curve_model.at([self.candidates[i] for i in trainable], epochs, resumed)
        trained_j = np.array([_training_j(trial) for trial in trials])[:, None]
        trained_epochs = np.array([_epochs(trial) for trial in trials])[:, None]
        is_ahead = epochs > trained_epochs  # a trial past its last evaluation has nothing to gain
        epoch_j = np.maximum(self._epoch_j[trainable], _TINY_J)[:, None]
        added_j = np.maximum((epochs - trained_epochs) * epoch_j, _TINY_J)
        log_j, cost_j = np.log(trained_j + added_j), added_j + self._overhead_j
        log_j_sd = np.where(trained_j > 0, _KNOWN_EPOCH_SD, self._epoch_sd[trainable][:, None])
        gains = np.where(is_ahead, front.improvement(mean, sd, log_j, log_j_sd), 0.0)
        row, horizon = np.unravel_index(int(np.argmax(gains / cost_j)), gains.shape)
        gain, cost = float(gains[row, horizon]), float(cost_j[row, horizon])
        share = 1.0 if self._goal.target is None else _OTHER_TARGET_SHARE
        saving = gain * math.exp(front.log_j.mean()) * share * self._goal.planned_trainings
        if saving < cost:
            return None
        trial = trials[int(row)]
        if trial is not None:
            return self._resume(trial, saving, cost)
        return self._train(trainable[int(row)], saving, cost)

    def _horizons(self, trainable: Sequence[int], trials: Sequence[TrialSnapshot | None]) -> Array:
        """Return epochs at some of the evaluations to come, of shape (candidates, horizons)."""
        trained_epochs = np.array([_epochs(trial) for trial in trials])
        min_epochs = (
            _MIN_TRAINING * self._overhead_j / np.maximum(self._epoch_j[trainable], _TINY_J)
        )
        marks = evaluations(self._observed, self._goal.epochs)
        return np.array([ahead(marks, start) for start in trained_epochs + min_epochs])

    # Steps ---------------------------------------------------------------------------------------

    def _can_train(self, candidate: int, *, can_begin: bool) -> bool:
        """Return True if a candidate is paused, new, or has reached the target in each trial."""
        all_reached = all(trial.reached for trial in self._trials[candidate])
        return self._paused_trial(candidate) is not None or (can_begin and all_reached)

    def _paused_trial(self, candidate: int, *, reached: bool = False) -> TrialSnapshot | None:
        """Return the candidate's paused trial; one past the target only if `reached` is True."""
        paused = (trial for trial in self._trials[candidate] if trial.state == "paused")
        return next((trial for trial in paused if reached or not trial.reached), None)

    def _train(self, candidate: int, saving_j: float = math.inf, cost_j: float = 0.0) -> Proposal:
        """Propose to resume the candidate's paused trial, or to begin a new one."""
        trial = self._paused_trial(candidate)
        if trial is not None:
            return self._resume(trial, saving_j, cost_j)
        step = Step(None, _MIN_TRAINING * self._overhead_j, again=len(self._trials[candidate]))
        return Proposal(step, self.candidates[candidate], saving_j, cost_j)

    def _resume(
        self, trial: TrialSnapshot, saving_j: float = math.inf, cost_j: float = 0.0
    ) -> Proposal:
        """Propose to resume a paused trial until its energy has grown by a factor."""
        trained_j = _training_j(trial)
        min_j = trained_j + _MIN_TRAINING * self._overhead_j
        pause_at_j = max(_GROWTH * trained_j, min_j, _TINY_J)
        return Proposal(Step(trial.number, pause_at_j), {}, saving_j, cost_j)


def _overhead_j(observed: Sequence[TrialSnapshot]) -> float:
    """Return the energy of each execution outside training: loading, warm-up, evaluation.

    The minimum over trials, since a trial that was executed several times has paid it each time.
    """
    overheads = [trial.spent_j - _training_j(trial) for trial in observed if trial.joules]
    return max(min(overheads, default=0.0), 0.0)


def _training_j(trial: TrialSnapshot | None) -> float:
    return trial.joules[-1] if trial is not None and trial.joules else 0.0


def _epochs(trial: TrialSnapshot | None) -> float:
    return trial.epochs[-1] if trial is not None and trial.epochs else 0.0
