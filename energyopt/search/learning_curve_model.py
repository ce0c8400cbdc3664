"""Gaussian process of the metric after so many epochs, fitted to few and unfinished curves.

    y(x, s) = a + b s + w(s) + f(x) + m(x) + g(x) s + trial + r(trial) s + noise

where `s` is the log of the epochs since the first evaluation, and `y` the place of the score on the
metric's scale (`core.metric.Scale`), on which power laws are straight lines in `s`: so `b`, `g`
and `r` are exponents of power laws (cf. Domhan et al. 2015; Kadra et al., arXiv 2302.00441). `f`
and `g` are Matern processes over configurations, `m` a sum of effects of single keys (an additive
kernel), `w` a bend that all curves share.

`level_model` predicts how long a level takes, which suits one target. This model predicts what more
energy brings: curves that differ in their scores, not in time, never reach each other's levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from scipy.linalg import solve_triangular

from energyopt.core.metric import Scale
from energyopt.search.encoding import Array, Encoding, Params
from energyopt.search.gp import PosteriorGP, matern, maximise
from energyopt.search.schedule import TrialSnapshot

# Length of Matern correlations over a key, in widths of the space; different names are 1 apart.
_LENGTH, _LENGTH_BY_NAME, _LENGTH_SD = math.log(0.3), 0.0, 0.5
# Prior standard deviations, in units of the standard deviation of all observations, chosen by hand:
# of a, b, w (fixed), then of f, m, g, trial, r and noise (medians of log-normal priors, and the
# standard deviations of their logs). Configurations matter more than the seed.
_CONSTANT, _SLOPE, _BEND = 1.0, 0.7, 0.3
_SCALES = np.log([0.6, 0.5, 0.2, 0.15, 0.05, 0.1])
_SCALE_SDS = np.array([0.6, 0.8, 0.6, 0.7, 0.7, 0.7])
# Prior of the unit itself: 0.7 (the error halves within a standard deviation), with the weight of
# four observations, so that the first two evaluations do not set it.
_UNIT, _UNIT_WEIGHT = 0.7, 4.0
# Exact regression costs the cube of the observations: at most 450, of which each trial gets 2 to 6.
_MAX_OBSERVATIONS = 450
_MIN_PER_TRIAL, _MAX_PER_TRIAL = 2, 6
_N_SCALES = len(_SCALES)


class LearningCurveModel:
    """The posterior of places over configurations and epochs.

    Args:
        observed: Trials, with at least one evaluation among them.
        space: The search space, distributions by key.
        scale: The scale of the metric; that of an accuracy by default.
        hyper: Scales fitted by an earlier model of the study: where this fit begins.
        refine: Whether to improve them.
    """

    def __init__(
        self,
        observed: Sequence[TrialSnapshot],
        space: Mapping[str, BaseDistribution],
        scale: Scale = Scale(),  # noqa: B008  # frozen
        *,
        hyper: Array | None = None,
        refine: bool = True,
    ) -> None:
        self._encoding = Encoding(space)
        self._rows = self._encoding.rows([trial.params for trial in observed])
        max_n = min(max(_MAX_OBSERVATIONS // len(observed), _MIN_PER_TRIAL), _MAX_PER_TRIAL)
        observations = [
            (index, math.log(trial.epochs[i]), scale.place(trial.accuracy[i]))
            for index, trial in enumerate(observed)
            for i in _spaced_evaluations(trial, max_n)
        ]
        trial, logs, values = np.array(observations, dtype=float).reshape(len(observations), 3).T
        self._trial: NDArray[np.int64] = trial.astype(int)
        self._first_log = float(logs.min(initial=math.inf)) if len(logs) else 0.0
        self._log_epochs = logs - self._first_log
        self._level = float(values.mean()) if len(values) else 0.0
        squares = float(np.sum((values - self._level) ** 2)) + _UNIT_WEIGHT * _UNIT**2
        self._unit = math.sqrt(squares / (len(values) + _UNIT_WEIGHT))
        self._values = (values - self._level) / self._unit
        self._squared = self._encoding.squared(self._rows, self._rows)
        self._additive = self._additive_correlation(self._squared)
        self._pairs = np.ix_(self._trial, self._trial)
        self._same_trial = self._trial[:, None] == self._trial[None, :]
        by_name = self._encoding.by_name
        # Random points of d keys are sqrt(d) apart, so lengths grow with sqrt(d / 2) (Hvarfner et
        # al., arXiv 2402.02229); else many trials explain little in spaces of many keys.
        growth = 0.5 * math.log(max(len(by_name), 2) / 2)
        lengths = np.where(by_name, _LENGTH_BY_NAME, _LENGTH) + growth
        self._prior = np.concatenate([lengths, _SCALES])
        self._prior_sd = np.concatenate([np.full(len(lengths), _LENGTH_SD), _SCALE_SDS])
        fits = hyper is not None and len(hyper) == len(self._prior)
        self.hyper: Array = hyper if fits and hyper is not None else self._prior
        if refine and len(self._values):
            self.hyper = maximise(self._score, self.hyper)
        self._gp = self._fit(self.hyper)

    def at(
        self, points: Sequence[Params], epochs: Array, trials: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Return mean and standard deviation of evaluations to come, seed noise included.

        Args:
            points: Configurations.
            epochs: Epochs trained, of shape (configurations, horizons).
            trials: For each configuration the index of the trial that resumes, -1 for a new one.

        Returns:
            Two arrays of shape (configurations, horizons), of places on the metric's scale.
        """
        shape = epochs.shape
        log_epochs = np.log(epochs).reshape(-1) - self._first_log
        f, main, g, trial, r, noise = np.exp(self.hyper[-_N_SCALES:])
        distances = self._encoding.squared(self._encoding.rows(points), self._rows)

        def by_horizon(by_trial: Array) -> Array:
            return np.repeat(by_trial[:, self._trial], shape[1], axis=0)

        product, square = log_epochs[:, None] * self._log_epochs, log_epochs**2
        correlation = by_horizon(matern(distances, self.hyper[:-_N_SCALES]))
        across = correlation * (f**2 + g**2 * product)
        across += by_horizon(self._additive_correlation(distances)) * main**2
        same_trial = np.repeat(trials[:, None] == self._trial, shape[1], axis=0)
        across += same_trial * (trial**2 + r**2 * product)
        across += self._base(log_epochs, self._log_epochs)
        prior = f**2 + main**2 + trial**2 + noise**2 + (g**2 + r**2) * square
        prior = _CONSTANT**2 + _SLOPE**2 * square + _BEND**2 + prior
        explained = solve_triangular(self._gp.lower, across.T, lower=True, check_finite=False)
        variance = np.maximum(prior - np.sum(explained**2, axis=0), 1e-9)
        mean = self._level + self._unit * (across @ self._gp.weights[0])
        return mean.reshape(shape), (self._unit * np.sqrt(variance)).reshape(shape)

    def _additive_correlation(self, squared: Array) -> Array:
        """Return the correlation of sums of effects of single keys: the mean over keys."""
        by_name = self._encoding.by_name[:, None, None]
        near = np.exp(-0.5 * math.exp(-2 * _LENGTH) * squared)
        correlation: Array = np.where(by_name, squared == 0, near).mean(axis=0)
        return correlation

    def _base(self, a: Array, b: Array) -> Array:
        """Return the covariance of the terms that all curves share: constant, slope and bend."""
        bends = np.exp(-0.5 * (a[:, None] - b[None, :]) ** 2)
        base: Array = _CONSTANT**2 + _SLOPE**2 * np.outer(a, b) + _BEND**2 * bends
        return base

    def _covariance(self, hyper: Array) -> Array:
        f, main, g, trial, r, _ = np.exp(hyper[-_N_SCALES:])
        product = np.outer(self._log_epochs, self._log_epochs)
        correlation = matern(self._squared, hyper[:-_N_SCALES])[self._pairs]
        covariance: Array = correlation * (f**2 + g**2 * product)
        covariance += main**2 * self._additive[self._pairs]
        covariance += self._same_trial * (trial**2 + r**2 * product)
        return self._base(self._log_epochs, self._log_epochs) + covariance

    def _fit(self, hyper: Array) -> PosteriorGP:
        noise = np.full(len(self._values), math.exp(2 * hyper[-1]))
        mean = np.zeros((1, len(self._values)))
        return PosteriorGP(self._covariance(hyper), mean, self._values, noise)

    def _score(self, hyper: Array) -> float:
        """Return the log posterior of scales, up to a constant."""
        prior = -0.5 * float(np.sum(((hyper - self._prior) / self._prior_sd) ** 2))
        return prior + float(self._fit(hyper).evidence[0])


def _spaced_evaluations(trial: TrialSnapshot, max_n: int) -> list[int]:
    """Return indices of finite evaluations, evenly spaced in log epochs, the last included."""
    usable = [i for i, value in enumerate(trial.accuracy) if math.isfinite(value)]
    if len(usable) <= max_n:
        return usable
    logs = np.log([trial.epochs[i] for i in usable])
    marks = np.linspace(logs[0], logs[-1], max_n)
    return sorted({usable[int(np.abs(logs - mark).argmin())] for mark in marks})
