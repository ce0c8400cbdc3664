"""What accuracy a training reaches after so many epochs, learnt from few and unfinished curves.

    y(x, s) = a + b s + w(s) + f(x) + m(x) + g(x) s + trial + r(trial) s + noise

where `s` is the log of the epochs since the first evaluation, and `y` the place of an accuracy, on
which power laws are straight lines (`curve_observations`). `f` and `g` are smooth over setups, `m`
is a sum of effects of single keys, `w` a bend that all curves share.

Where `level_model` asks how long a level takes, which suits one target, this asks what a joule more
brings: setups whose curves lie apart in accuracy, not in time, never reach each other's levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from scipy.linalg import solve_triangular

from energyopt.search.curve_observations import place
from energyopt.search.encoding import Array, Encoding, Point
from energyopt.search.gp import Solved, climbed, matern
from energyopt.search.schedule import TrialSnapshot

_LENGTH, _LENGTH_BY_NAME, _LENGTH_SPREAD = math.log(0.3), 0.0, 0.5
# In units of the spread of what was read: standard deviations of a, b, w; then of f, m, g, trial,
# r and noise, and how sure their logs are.
_CONSTANT, _SLOPE, _BEND = 1.0, 0.7, 0.3
_SCALES = np.log([0.6, 0.5, 0.2, 0.15, 0.05, 0.1])
_SPREADS = np.array([0.6, 0.8, 0.6, 0.7, 0.7, 0.7])
_UNIT, _UNIT_WEIGHT = 0.7, 4.0  # spread of places before any is read, and as how many it counts
_MOST_READINGS = 450
_FEWEST, _USUAL = 2, 6
_COUNT = len(_SCALES)


class ForwardModel:
    """The posterior of places of accuracy.

    Args:
        observed: Trials, with at least one evaluation among them.
        space: What is searched.
        hyper: Scales that an earlier model of the same study found: a start for this one's.
        refine: Whether to look for better ones.
    """

    def __init__(
        self,
        observed: Sequence[TrialSnapshot],
        space: Mapping[str, BaseDistribution],
        *,
        hyper: Array | None = None,
        refine: bool = True,
    ) -> None:
        self._encoding = Encoding(space)
        self._rows = self._encoding.rows([trial.params for trial in observed])
        most = min(max(_MOST_READINGS // len(observed), _FEWEST), _USUAL)
        read = [
            (index, math.log(trial.epochs[at]), place(trial.accuracy[at]))
            for index, trial in enumerate(observed)
            for at in _kept(trial, most)
        ]
        trial, logs, values = np.array(read, dtype=float).reshape(len(read), 3).T
        self._trial: NDArray[np.int64] = trial.astype(int)
        self._since = float(logs.min(initial=math.inf)) if len(logs) else 0.0
        self._at = logs - self._since
        self._level = float(values.mean()) if len(values) else 0.0
        squares = float(np.sum((values - self._level) ** 2)) + _UNIT_WEIGHT * _UNIT**2
        self._unit = math.sqrt(squares / (len(values) + _UNIT_WEIGHT))
        self._values = (values - self._level) / self._unit
        self._squared = self._encoding.squared(self._rows, self._rows)
        self._kin_of = self._kin(self._squared)
        self._pairs = np.ix_(self._trial, self._trial)
        self._same = self._trial[:, None] == self._trial[None, :]
        names = self._encoding.by_name
        longer = 0.5 * math.log(max(len(names), 2) / 2)  # random setups of many keys lie far apart
        lengths = np.where(names, _LENGTH_BY_NAME, _LENGTH) + longer
        self._prior = np.concatenate([lengths, _SCALES])
        self._spread = np.concatenate([np.full(len(lengths), _LENGTH_SPREAD), _SPREADS])
        fits = hyper is not None and len(hyper) == len(self._prior)
        self.hyper: Array = hyper if fits and hyper is not None else self._prior
        if refine and len(self._values):
            self.hyper = climbed(self._score, self.hyper)
        self._solved = self._solve(self.hyper)

    def at(
        self, points: Sequence[Point], epochs: Array, trials: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of what will be read, seed noise included.

        Args:
            points: Setups.
            epochs: Epochs trained, of shape (setups, horizons).
            trials: For each setup the index of the trial that goes on, -1 for a new one.

        Returns:
            Two arrays of shape (setups, horizons).
        """
        shape = epochs.shape
        at = np.log(epochs).reshape(-1) - self._since
        f, main, g, trial, r, noise = np.exp(self.hyper[-_COUNT:])
        towards = self._encoding.squared(self._encoding.rows(points), self._rows)

        def each(by_trial: Array) -> Array:
            return np.repeat(by_trial[:, self._trial], shape[1], axis=0)

        time, square = at[:, None] * self._at, at**2
        across = each(matern(towards, self.hyper[:-_COUNT])) * (f**2 + g**2 * time)
        across += each(self._kin(towards)) * main**2
        own = np.repeat(trials[:, None] == self._trial, shape[1], axis=0)
        across += own * (trial**2 + r**2 * time)
        across += self._base(at, self._at)
        prior = f**2 + main**2 + trial**2 + noise**2 + (g**2 + r**2) * square
        prior = _CONSTANT**2 + _SLOPE**2 * square + _BEND**2 + prior
        known = solve_triangular(self._solved.lower, across.T, lower=True, check_finite=False)
        variance = np.maximum(prior - np.sum(known**2, axis=0), 1e-9)
        mean = self._level + self._unit * (across @ self._solved.weights[0])
        return mean.reshape(shape), (self._unit * np.sqrt(variance)).reshape(shape)

    def _kin(self, squared: Array) -> Array:
        """Correlation of sums of effects of single keys: how many keys are alike."""
        by_name = self._encoding.by_name[:, None, None]
        near = np.exp(-0.5 * math.exp(-2 * _LENGTH) * squared)
        kin: Array = np.where(by_name, squared == 0, near).mean(axis=0)
        return kin

    def _base(self, a: Array, b: Array) -> Array:
        """What all curves share: a constant, a slope, and a bend."""
        bends = np.exp(-0.5 * (a[:, None] - b[None, :]) ** 2)
        base: Array = _CONSTANT**2 + _SLOPE**2 * np.outer(a, b) + _BEND**2 * bends
        return base

    def _covariance(self, hyper: Array) -> Array:
        f, main, g, trial, r, _ = np.exp(hyper[-_COUNT:])
        time = np.outer(self._at, self._at)
        alike = matern(self._squared, hyper[:-_COUNT])[self._pairs]
        covariance: Array = alike * (f**2 + g**2 * time) + main**2 * self._kin_of[self._pairs]
        covariance += self._same * (trial**2 + r**2 * time)
        return self._base(self._at, self._at) + covariance

    def _solve(self, hyper: Array) -> Solved:
        noise = np.full(len(self._values), math.exp(2 * hyper[-1]))
        mean = np.zeros((1, len(self._values)))
        return Solved(self._covariance(hyper), mean, self._values, noise)

    def _score(self, hyper: Array) -> float:
        prior = -0.5 * float(np.sum(((hyper - self._prior) / self._spread) ** 2))
        return prior + float(self._solve(hyper).evidence[0])


def _kept(trial: TrialSnapshot, most: int) -> list[int]:
    """Which evaluations are read: finite ones, even in the log of the epochs, the last one too."""
    fit = [at for at, value in enumerate(trial.accuracy) if math.isfinite(value)]
    if len(fit) <= most:
        return fit
    logs = np.log([trial.epochs[at] for at in fit])
    marks = np.linspace(logs[0], logs[-1], most)
    return sorted({fit[int(np.abs(logs - mark).argmin())] for mark in marks})
