"""Gaussian process of learning curves: log epochs over configurations and levels of accuracy.

    log n(x, u) = law + a + b u + w(u) + f(x) + g(x, u) + trial + r(trial, u)

for configuration `x` and level `u` (`curve_observations`): `a + b u` and the smooth bend `w` are
shared by all curves; `f` and `g` depend on the configuration, `trial` and `r` on the single trial
(seed noise). `g` and `r` are Wiener processes in `u`, whose variance grows with the distance from
what was seen, since a curve may flatten. Sharing one process across unfinished curves follows
freeze-thaw Bayesian optimization (Swersky et al., arXiv 1406.3896), with epochs as the output and
the level as the input.

A level that was not reached is a lower bound, log n > log epochs trained. Its likelihood
Phi((log n - bound) / sd) is approximated by a Gaussian by expectation propagation (Minka, arXiv
1301.2294; the moments are those of Rasmussen and Williams 2006, section 3.6): a made-up value in
its place gave worse searches.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import log_ndtr

from energyopt.search.curve_observations import CurveObservations
from energyopt.search.encoding import Array, Encoding
from energyopt.search.gp import (
    PosteriorGP,
    cholesky_jittered,
    inverse_diagonal,
    matern,
    maximise,
)

# Prior standard deviations, in log epochs. They were not fitted, but chosen while looking at
# recorded trainings of four workloads (docs/search.md, benchmarks/ablate.py). Of a, b, w: wide,
# since a study can need one epoch or a hundred.
_CONSTANT, _SLOPE, _COMMON = 3.0, 2.0, 0.5
# Of f, g, trial, r: medians of log-normal priors, and standard deviations of their logs; a study
# fits them from there. Seed noise (trial, r) is well below the effect of hyperparameters (f, g).
_SCALES = np.log([0.5, 0.25, 0.07, 0.06])
_SCALE_SDS = np.array([0.6, 0.5, 0.5, 0.5])
# Length of Matern correlations over a key, in widths of the space: a fifth, since learning rates
# a fifth of their range apart can behave differently. Different names are at distance 1.
_LENGTH, _LENGTH_BY_NAME, _LENGTH_SD = math.log(0.2), 0.0, 0.3
_BEND_LENGTH = 0.35  # of w, in levels: about a third of the way from start to target
# Wiener variance at level u is u + 0.6: it begins just below the lowest level (-0.5).
_WIENER_START, _MIN_WIENER = 0.6, 0.05

# Damped updates converge in a few rounds; a fixed number keeps the result deterministic.
_EP_ROUNDS, _EP_DAMPING = 4, 0.8
# Where the other observations put a level one standard deviation below its lower bound, the
# configuration does not learn as its neighbours do; its own deviation gets this standard deviation.
_OUTLIER_Z, _OUTLIER_SD = -1.0, 2.0
# Lower bounds start a little above themselves, with a standard deviation of 0.6.
_BOUND_SHIFT, _BOUND_VARIANCE = 0.5, 0.36


class Sites(NamedTuple):
    """Gaussian approximations of the observations, one for each.

    Attributes:
        values: Their means.
        variances: Their variances.
        bound_z: By how many standard deviations the other observations lie above each lower bound.
    """

    values: Array
    variances: Array
    bound_z: Array


class LevelModel:
    """The prior over observations, and the fit of its scales.

    Args:
        encoding: Encodes configurations.
        rows: Encoded configurations of the trials.
        observations: Observations of their curves.
    """

    def __init__(self, encoding: Encoding, rows: Array, observations: CurveObservations) -> None:
        self.observations = observations
        self._distances = encoding.squared(rows, rows)
        self._pairs = np.ix_(observations.trial, observations.trial)
        same_trial = observations.trial[:, None] == observations.trial[None, :]
        self._same_trial = same_trial.astype(float)
        self._wiener = _wiener(observations.level, observations.level)
        self._base = _base(observations.level, observations.level)
        lengths = np.where(encoding.by_name, _LENGTH_BY_NAME, _LENGTH)
        self._prior = np.concatenate([lengths, _SCALES])
        self._prior_sd = np.concatenate([np.full(len(lengths), _LENGTH_SD), _SCALE_SDS])
        self._equal = _are_equal(self._distances)
        self._outlier: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)

    def outlier_covariance(self, distances: Array) -> Array:
        """Return the extra covariance of configurations with observations of outliers.

        It is zero between different configurations: one that does not learn at all says nothing
        about its neighbours, however near.

        Args:
            distances: Squared distances of the configurations from those of the trials, by key.
        """
        extra = _OUTLIER_SD**2 * (_are_equal(distances) & self._outlier).astype(float)
        return self._by_observation(extra)

    def correlation(self, distances: Array, hyper: Array) -> Array:
        """Return the correlation of configurations with the observations.

        Args:
            distances: Squared distances of the configurations from those of the trials, by key.
            hyper: Scales of the prior.
        """
        return self._by_observation(matern(distances, hyper[:-4]))

    def _by_observation(self, by_trial: Array) -> Array:
        """Repeat the column of each trial for each of its observations."""
        return by_trial[:, self.observations.trial]

    def find_outliers(self, sites: Sites) -> bool:
        """Mark configurations that contradict the others beyond what the scales allow.

        Args:
            sites: Sites under these scales, without outliers.

        Returns:
            Whether there are any.
        """
        trials = np.unique(self.observations.trial[sites.bound_z < _OUTLIER_Z])
        self._outlier = np.asarray(self._equal[:, trials].any(axis=1), dtype=bool)
        return bool(len(trials))

    def hyper_from(self, previous: Array | None) -> Array:
        """Return the previous scales where they fit this space, else the prior's."""
        if previous is None or len(previous) != len(self._prior):
            return self._prior
        return previous

    def covariance(self, hyper: Array) -> Array:
        """Return the prior covariance of the observed values, without noise."""
        f, g, trial, r = np.exp(hyper[-4:])
        correlation = matern(self._distances, hyper[:-4])[self._pairs]
        # In place: a fit makes dozens of these matrices, and copies take longer than sums.
        covariance: Array = g**2 * self._wiener
        covariance += f**2
        covariance *= correlation
        covariance += self._base
        of_trial = r**2 * self._wiener
        of_trial += trial**2
        of_trial *= self._same_trial
        covariance += of_trial
        if self._outlier.any():
            covariance += _OUTLIER_SD**2 * (self._equal & self._outlier)[self._pairs]
        return covariance

    def initial_sites(self) -> Sites:
        """Return the sites before propagation: observations as they are, bounds shifted up."""
        observations = self.observations
        return Sites(
            observations.log_epochs + _BOUND_SHIFT * observations.unreached,
            np.where(observations.unreached, _BOUND_VARIANCE, observations.sd**2),
            np.zeros(len(observations.level)),
        )

    def refined(self, hyper: Array, mean: Array, sites: Sites) -> Array:
        """Return better scales (maximum a posteriori, by coordinate steps)."""
        if not len(self.observations.level):
            return hyper
        return maximise(lambda trial: self._score(trial, mean, sites), hyper)

    def _score(self, hyper: Array, mean: Array, sites: Sites) -> float:
        """Return the log posterior of scales, up to a constant."""
        prior = -0.5 * float(np.sum(((hyper - self._prior) / self._prior_sd) ** 2))
        gp = PosteriorGP(self.covariance(hyper), mean[None], sites.values, sites.variances)
        return prior + float(gp.evidence[0])


class Posterior:
    """The level model given observations, under each law of batch sizes.

    Args:
        model: The prior.
        hyper: Its scales.
        covariance: Prior covariance of the observed values.
        means: Prior means of the observed values under each law, of shape (laws, observations).
        sites: Gaussian approximations of the observations.
    """

    def __init__(
        self, model: LevelModel, hyper: Array, covariance: Array, means: Array, sites: Sites
    ) -> None:
        self._model = model
        self._hyper = hyper
        self._gp = PosteriorGP(covariance, means, sites.values, sites.variances)
        self.evidence = self._gp.evidence

    def at(self, distances: Array, self_distances: Array, levels: Array) -> tuple[Array, Array]:
        """Return log epochs above the law, at pairs of configuration and level.

        Args:
            distances: Squared distances of the configurations from those of the trials, by key.
            self_distances: Squared distances of the configurations from each other, by key.
            levels: Level of each configuration.

        Returns:
            Means of shape (laws, configurations), and the covariance of shape
            (configurations, configurations).
        """
        f, g, _, _ = np.exp(self._hyper[-4:])
        observed = self._model.observations.level
        outlier = self._model.outlier_covariance(distances)
        across = _base(levels, observed) + outlier
        correlation = self._model.correlation(distances, self._hyper)
        across += correlation * (f**2 + g**2 * _wiener(levels, observed))
        prior = _base(levels, levels) + _are_equal(self_distances) * outlier.max(
            axis=1, initial=0.0
        )
        prior = prior + matern(self_distances, self._hyper[:-4]) * (
            f**2 + g**2 * _wiener(levels, levels)
        )
        explained = solve_triangular(self._gp.lower, across.T, lower=True, check_finite=False)
        return self._gp.weights @ across.T, prior - explained.T @ explained


def propagate(model: LevelModel, covariance: Array, mean: Array) -> Sites:
    """Return Gaussian sites of the lower bounds, by expectation propagation.

    Each round removes the site of every bound from its marginal (the cavity N(m, s^2)), multiplies
    by the likelihood Phi((f - bound) / sd), and matches mean and variance of the product; with
    z = (m - bound) / sqrt(s^2 + sd^2) and h = phi(z) / Phi(z) they are
    m + s^2 h / sqrt(s^2 + sd^2) and s^2 - s^4 h (z + h) / (s^2 + sd^2).
    """
    values, variances, z = model.initial_sites()
    unreached = model.observations.unreached
    if not unreached.any():
        return Sites(values, variances, z)
    bounds, noise = model.observations.log_epochs, model.observations.sd**2
    for _ in range(_EP_ROUNDS):
        lower = cholesky_jittered(covariance + np.diag(variances))
        precision = inverse_diagonal(lower)
        cavity = values - cho_solve((lower, True), values - mean, check_finite=False) / precision
        cavity_variance = np.maximum(1 / precision - variances, 1e-6)
        width = np.sqrt(cavity_variance + noise)
        z = (cavity - bounds) / width
        hazard = np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(z))
        matched = cavity + cavity_variance * hazard / width
        matched_variance = np.clip(
            cavity_variance - (cavity_variance / width) ** 2 * hazard * (z + hazard),
            1e-8,
            cavity_variance * (1 - 1e-6),
        )
        site_variance = np.clip(1 / (1 / matched_variance - 1 / cavity_variance), 1e-4, 1e6)
        site = site_variance * (matched / matched_variance - cavity / cavity_variance)
        # Damping mixes the old and the new site in natural parameters.
        new_variances = 1 / (_EP_DAMPING / site_variance + (1 - _EP_DAMPING) / variances)
        new_values = new_variances * (
            _EP_DAMPING * site / site_variance + (1 - _EP_DAMPING) * values / variances
        )
        values = np.where(unreached, new_values, values)
        variances = np.where(unreached, new_variances, variances)
    return Sites(values, variances, np.where(unreached, z, 0.0))


def _are_equal(squared: Array) -> NDArray[np.bool_]:
    """Return which pairs of configurations are equal in all keys."""
    return ~np.asarray(squared.any(axis=0), dtype=bool)


def _wiener(a: Array, b: Array) -> Array:
    """Return the covariance of a Wiener process, min(a, b) from its start."""
    return np.maximum(np.minimum(a[:, None], b[None, :]) + _WIENER_START, _MIN_WIENER)


def wiener_variance(level: float) -> float:
    """Return the variance of the Wiener processes of `g` and `r` at a level."""
    return max(level + _WIENER_START, _MIN_WIENER)


def _base(a: Array, b: Array) -> Array:
    """Return the covariance of the terms that all curves share: constant, slope and bend."""
    bend = _bend(a[:, None], b[None, :])
    base: Array = _CONSTANT**2 + _SLOPE**2 * np.outer(a, b) + _COMMON**2 * bend
    return base


def _bend(a: Any, b: Any) -> Any:
    return np.exp(-0.5 * ((a - b) / _BEND_LENGTH) ** 2)
