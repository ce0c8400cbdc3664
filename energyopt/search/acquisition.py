"""What to train next, and for how many joules: the best expected saving for its energy.

Two questions, one after the other. Which setup reaches the target with the least energy: each
step, a look or a whole training, is worth what it is expected to improve the recommendation. Then,
what each further point of accuracy costs: which setup, trained on to one of its next evaluations,
is expected to let the hypervolume of (log error, log energy) grow the most a joule (cf. Weitzman's
index, arXiv 2406.20062). That growth needs no sampling: it is the integral, here a sum, over levels
of accuracy of the probability to reach each times the expected improvement of the energy to it.

A step whose expected saving, over the planned trainings, is less than its cost is not worth it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from energyopt.search.curve_observations import finite
from energyopt.search.encoding import Array, Point
from energyopt.search.energy_model import EnergyModel
from energyopt.search.expected_hypervolume import Front, ahead, evaluations, on_front
from energyopt.search.gp import expected_above
from energyopt.search.learning_curve_model import ForwardModel
from energyopt.search.schedule import Step, TrialSnapshot, setup_of, setups_of

_SURE, _UNSURE = 0.3, 1.0  # standard deviations by which a setup must be better
_HITS = 2  # of a recommended setup
_DEARER = 10.0  # than the best, at which the first setup is dear enough
_WORTH = 2.0  # of what an execution costs beside training, that it trains at least
_ELSEWHERE = 0.1  # of the planned trainings, those that go to another accuracy than the target
_REUSE = 300.0  # trainings with what is found, where nobody says how many
_GROWTH = 2.0  # of a trial's joules at which it is looked at again
_CANDIDATES = 160
_NEAREST = 5
_TINY_J = 1e-12
_WORST = 0.9  # of setups burn less in a whole training
_KNOWN_SD = 0.05  # of the log energy of a training whose epochs are known


@dataclass(frozen=True, slots=True)
class Question:
    """What a search is to find out.

    Attributes:
        target: Accuracy to reach, in [0, 1]; None for none.
        epochs: The most that a trial trains.
        front: Whether the whole front is asked for, beside or instead of the target.
        reuse: How many trainings will use what is found: a joule of search must save one there.
        known_sd: The first setup trains alone until its log energy is known as well as this.
    """

    target: float | None
    epochs: float
    front: bool = True
    reuse: float = _REUSE
    known_sd: float = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """What to train next.

    Attributes:
        step: Which trial, and until when.
        params: The setup of a new one.
        saving_j: What it is expected to save over all planned trainings, in J.
        cost_j: What it is expected to burn, in J.
    """

    step: Step
    params: Mapping[str, Any] = field(default_factory=dict)
    saving_j: float = math.inf
    cost_j: float = 0.0


class Outlook:
    """A study at one moment: its trials, its model, and the setups that could train.

    Args:
        observed: All trials; at least one has trained. Setups of those that have not, since they
            failed or just began, are no candidates.
        question: What is to be found out.
        model: Learnt from those that have trained.
        rng: Draws candidates of a large space.
        present: Takes the keys away that a setup has not.
    """

    def __init__(
        self,
        observed: Sequence[TrialSnapshot],
        question: Question,
        model: EnergyModel,
        rng: np.random.Generator,
        present: Callable[[Point], dict[str, Any]] = dict,
    ) -> None:
        self._observed = [trial for trial in observed if trial.epoch_j]
        self._question = question
        self._model = model
        trained = setups_of(trial.params for trial in self._observed)
        mean, _ = model.posterior(trained)
        near = [trained[at] for at in np.argsort(mean)[:_NEAREST]]
        if question.front:
            near = [*on_front(self._observed), *near][: 2 * _NEAREST]
        drawn = model.encoding.candidates(near, rng, _CANDIDATES)
        barred = {setup_of(trial.params) for trial in observed if not trial.epoch_j}
        new = [setup for setup in map(present, drawn) if setup_of(setup) not in barred]
        self.setups = setups_of([*trained, *new])
        self._of: list[list[TrialSnapshot]] = [[] for _ in self.setups]
        places = {setup_of(setup): at for at, setup in enumerate(self.setups)}
        for trial in observed:
            if setup_of(trial.params) in places:
                self._of[places[setup_of(trial.params)]].append(trial)
        first = next((trial for trial in self._observed if trial.default), self._observed[0])
        self._first = places[setup_of(first.params)]
        self._mean, self._covariance = model.posterior(self.setups)
        self._overhead_j = _overhead_j(observed)
        self._epoch_j, self._epoch_sd = model.epoch_j(self.setups)
        self._most_j = question.epochs * self._epoch_j

    # Which setup reaches the target with the least energy ---------------------------------------

    @property
    def recommended(self) -> int:
        """The setup to recommend: the first one, unless others are better beyond doubt.

        One that was seen to reach the target need only be the better guess.
        """
        doubt = np.array([_SURE if _reached(of) else _UNSURE for of in self._of])
        at = self._first
        for _ in self.setups:  # each time a better one
            score = self._mean + doubt * self._apart(at)
            score[at] = self._mean[at]
            best = int(np.argmin(score))
            if score[best] >= self._mean[at] - 1e-9:
                break
            at = best
        return at

    def to_target(self, *, can_begin: bool) -> Choice | None:
        """The step that tells most a joule of which setup is the best; None if none is worth it."""
        first = self._open(self._first)
        unsure = math.sqrt(self._covariance[self._first, self._first])
        if first is not None and unsure > self._question.known_sd:
            return self._go_on(first)
        best = self.recommended
        may = [at for at in range(len(self.setups)) if self._may(at, can_begin=can_begin)]
        if not may:
            return None
        worth_j = math.exp(self._mean[best]) * self._question.reuse
        looks = [
            (worth_j * self._value(best, noise), cost_j)
            for noise, cost_j in (self._whole(), self._look())
        ]
        saving, cost, at = max(
            ((float(s[at]), float(c[at]), at) for s, c in looks for at in may),
            key=lambda of: of[0] / of[1],
        )
        if saving >= cost:
            return self._take(at, saving, cost)
        if best in may and self._in_doubt(best):
            return self._take(best)
        if first is not None and _spent_j(first) < _DEARER * math.exp(self._mean[best]):
            return self._go_on(first)  # what is saved is counted from there
        return None

    def _in_doubt(self, best: int) -> bool:
        """Whether what is to be recommended was not seen often enough to reach the target.

        One training may have been lucky; the setup that the user began with needs but one.
        """
        hits = sum(trial.reached for trial in self._of[best])
        return hits < (1 if best == self._first else _HITS)

    def _value(self, best: int, noise: Array) -> Array:
        """What training each setup on is worth: the expected saving of a better choice, in log J.

        A training tells its setup's energy up to its noise, and that of the recommended one as far
        as the two go together. What it tells of third setups is left out, which a knowledge
        gradient would count.

        Args:
            best: The recommended setup.
            noise: Variance of what is read of each setup.
        """
        own = np.diag(self._covariance)
        seen = np.sqrt(own + noise)
        gains = expected_above(
            self._mean[best] - self._mean, np.abs(own - self._covariance[best]) / seen
        )
        shared = np.abs(own[best] - self._covariance[best]) / seen[best]
        rivals = expected_above(self._mean[best] - self._mean, shared)
        rivals[best] = 0.0
        gains[best] = rivals.max(initial=0.0)
        return gains

    def _whole(self) -> tuple[Array, Array]:
        """Noise and cost of training each setup to the target: its luck, the rest of its energy."""
        full = np.minimum(np.exp(self._mean), self._most_j)
        spent = np.array([_spent_j(self._open(at)) for at in range(len(self.setups))])
        rest = np.maximum(full - spent, self._epoch_j)
        return np.full(len(rest), self._model.noise(1.0)), rest + self._overhead_j

    def _look(self) -> tuple[Array, Array]:
        """The same of training each a little: the less it has reached, the less that tells."""
        noise, cost = [], []
        for at, epoch_j in enumerate(self._epoch_j):
            trial = self._open(at)
            best = max(finite(trial.accuracy), default=0.0) if trial is not None else 0.0
            noise.append(self._model.noise(self._model.scale.level(best)))
            least_j = max(float(epoch_j), _WORTH * self._overhead_j)
            cost.append(max((_GROWTH - 1) * _spent_j(trial), least_j) + self._overhead_j)
        return np.array(noise), np.array(cost)

    def _apart(self, at: int) -> Array:
        """Standard deviation of the difference of each setup from one."""
        own = np.diag(self._covariance)
        variance = own + own[at] - 2 * self._covariance[at]
        apart: Array = np.sqrt(np.maximum(variance, 1e-12))
        return apart

    # What each further point of accuracy costs ----------------------------------------------------

    def to_front(self, accuracy: ForwardModel, *, can_begin: bool) -> Choice | None:
        """The step that is expected to push the front the most a joule.

        Args:
            accuracy: What a training reaches.
            can_begin: Whether a new trial may begin.
        """
        trials = [self._open(at, reached=True) for at in range(len(self.setups))]
        may = [
            at
            for at, trial in enumerate(trials)
            if trial is not None or (can_begin and not self._of[at])
        ]
        front = Front.of(self._observed, float(np.quantile(self._most_j, _WORST)))
        if not may or front is None:
            return None
        asked = [trials[at] for at in may]
        epochs = self._horizons(may, asked)
        index = {trial.number: i for i, trial in enumerate(self._observed)}
        whose = np.array([-1 if trial is None else index[trial.number] for trial in asked])
        mean, sd = accuracy.at([self.setups[at] for at in may], epochs, whose)
        spent_j = np.array([_spent_j(trial) for trial in asked])[:, None]
        begun = np.array([_epochs(trial) for trial in asked])[:, None]
        more_j = (epochs - begun) * np.maximum(self._epoch_j[may], _TINY_J)[:, None]
        log_j, cost_j = np.log(spent_j + more_j), more_j + self._overhead_j
        unsure = np.where(spent_j > 0, _KNOWN_SD, self._epoch_sd[may][:, None])
        gains = front.grown(mean, sd, log_j, unsure)
        at, horizon = np.unravel_index(int(np.argmax(gains / cost_j)), gains.shape)
        gain, cost = float(gains[at, horizon]), float(cost_j[at, horizon])
        share = 1.0 if self._question.target is None else _ELSEWHERE
        saving = gain * math.exp(front.log_j.mean()) * share * self._question.reuse
        if saving < cost:
            return None
        trial = asked[int(at)]
        if trial is not None:
            return self._go_on(trial, saving, cost)
        return self._take(may[int(at)], saving, cost)

    def _horizons(self, may: Sequence[int], trials: Sequence[TrialSnapshot | None]) -> Array:
        """Epochs at some of the evaluations to come, of shape (setups, horizons)."""
        begun = np.array([_epochs(trial) for trial in trials])
        least = _WORTH * self._overhead_j / np.maximum(self._epoch_j[may], _TINY_J)
        marks = evaluations(self._observed, self._question.epochs)
        return np.array([ahead(marks, at) for at in begun + least])

    # Steps ---------------------------------------------------------------------------------------

    def _may(self, at: int, *, can_begin: bool) -> bool:
        """Whether a setup can train: it is paused, new, or has reached the target."""
        return self._open(at) is not None or (can_begin and all(t.reached for t in self._of[at]))

    def _open(self, at: int, *, reached: bool = False) -> TrialSnapshot | None:
        """Its trial that can go on: to the target, or also from there."""
        waiting = (trial for trial in self._of[at] if trial.state == "paused")
        return next((trial for trial in waiting if reached or not trial.reached), None)

    def _take(self, at: int, saving_j: float = math.inf, cost_j: float = 0.0) -> Choice:
        trial = self._open(at)
        if trial is not None:
            return self._go_on(trial, saving_j, cost_j)
        step = Step(None, _WORTH * self._overhead_j, again=len(self._of[at]))
        return Choice(step, self.setups[at], saving_j, cost_j)

    def _go_on(
        self, trial: TrialSnapshot, saving_j: float = math.inf, cost_j: float = 0.0
    ) -> Choice:
        spent_j = _spent_j(trial)
        until_j = max(_GROWTH * spent_j, spent_j + _WORTH * self._overhead_j, _TINY_J)
        return Choice(Step(trial.number, until_j), {}, saving_j, cost_j)


def _overhead_j(observed: Sequence[TrialSnapshot]) -> float:
    """What each execution of a trial burns beside training: loading, warming up, evaluating."""
    beside = [trial.spent_j - _spent_j(trial) for trial in observed if trial.joules]
    return max(min(beside, default=0.0), 0.0)


def _reached(trials: Sequence[TrialSnapshot]) -> bool:
    return any(trial.reached for trial in trials)


def _spent_j(trial: TrialSnapshot | None) -> float:
    return trial.joules[-1] if trial is not None and trial.joules else 0.0


def _epochs(trial: TrialSnapshot | None) -> float:
    return trial.epochs[-1] if trial is not None and trial.epochs else 0.0
