"""Learning curves as a Gaussian process: log epochs over setups and levels of accuracy.

    log n(x, u) = law + a + b u + w(u) + f(x) + g(x, u) + trial + r(trial, u)

`w` is smooth in the level `u`; `g` and `r` are Wiener processes in it: far from what was seen they
are unsure, as curves are that may flatten. Levels that were not reached yet are lower bounds, by
expectation propagation with the likelihood of a censored reading.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import log_ndtr

from energyopt.search.curve_observations import Readings
from energyopt.search.encoding import Array, Encoding
from energyopt.search.gp import Solved, climbed, factor, inverse_diagonal, matern

# Prior scales, in units of log epochs. No optimizer fitted them, but they were chosen while looking
# at recorded trainings of four workloads: docs/search.md, benchmarks/ablate.py.
_CONSTANT, _SLOPE, _COMMON = 3.0, 2.0, 0.5
_SCALES = np.log([0.5, 0.25, 0.07, 0.06])  # f, g, trial, r
_SPREADS = np.array([0.6, 0.5, 0.5, 0.5])
_LENGTH, _LENGTH_BY_NAME, _LENGTH_SPREAD = math.log(0.2), 0.0, 0.3

_EP_ROUNDS, _EP_DAMPING = 4, 0.8
_ODD_Z, _ODD_SD = -1.0, 2.0


class Sites(NamedTuple):
    """Gaussian readings, one for each that was read.

    Attributes:
        values: What they say.
        variances: How surely.
        above: By how many standard deviations what the others say lies above each lower bound.
    """

    values: Array
    variances: Array
    above: Array


class Curves:
    """The prior over readings, and which scales of it fit.

    Args:
        encoding: Of the setups.
        rows: Setups of the trials, encoded.
        readings: What their curves say.
    """

    def __init__(self, encoding: Encoding, rows: Array, readings: Readings) -> None:
        self.readings = readings
        self._distances = encoding.squared(rows, rows)
        self._pairs = np.ix_(readings.trial, readings.trial)
        self._same = readings.trial[:, None] == readings.trial[None, :]
        self._wiener = _wiener(readings.level, readings.level)
        self._base = _base(readings.level, readings.level)
        lengths = np.where(encoding.by_name, _LENGTH_BY_NAME, _LENGTH)
        self._prior = np.concatenate([lengths, _SCALES])
        self._spread = np.concatenate([np.full(len(lengths), _LENGTH_SPREAD), _SPREADS])
        self._alike = _exactly(self._distances)
        self._odd: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)

    def odd(self, towards: Array) -> Array:
        """Covariance of setups with readings of those that are odd: theirs alone.

        A setup that does not learn at all, be it next to one that does, says nothing of it.

        Args:
            towards: Squared distances of the setups from those of the trials, by key.
        """
        odd = _ODD_SD**2 * (_exactly(towards) & self._odd).astype(float)
        return self.by_reading(odd)

    def alike(self, towards: Array, hyper: Array) -> Array:
        """Correlation of setups with the readings, by the distances from their trials."""
        return self.by_reading(matern(towards, hyper[:-4]))

    def by_reading(self, by_trial: Array) -> Array:
        """What is known of each trial, for each of its readings."""
        return by_trial[:, self.readings.trial]

    def surprised(self, sites: Sites) -> bool:
        """Find the setups that fall out of the picture, beyond what the scales allow.

        Args:
            sites: Of these scales, while no setup is odd.

        Returns:
            Whether there are any.
        """
        trials = np.unique(self.readings.trial[sites.above < _ODD_Z])
        self._odd = np.asarray(self._alike[:, trials].any(axis=1), dtype=bool)
        return bool(len(trials))

    def hyper_from(self, known: Array | None) -> Array:
        """The known scales where they fit this space, else the prior's."""
        if known is None or len(known) != len(self._prior):
            return self._prior
        return known

    def covariance(self, hyper: Array) -> Array:
        """Of the readings, without their noise."""
        f, g, trial, r = np.exp(hyper[-4:])
        alike = matern(self._distances, hyper[:-4])[self._pairs]
        covariance: Array = (
            self._base
            + alike * (f**2 + g**2 * self._wiener)
            + self._same * (trial**2 + r**2 * self._wiener)
        )
        if self._odd.any():
            covariance += _ODD_SD**2 * (self._alike & self._odd)[self._pairs]
        return covariance

    def sites(self) -> Sites:
        """Readings and variances to begin with; lower bounds a little above themselves."""
        readings = self.readings
        return Sites(
            readings.log_epochs + 0.5 * readings.unreached,
            np.where(readings.unreached, 0.36, readings.sd**2),
            np.zeros(len(readings.level)),
        )

    def refined(self, hyper: Array, mean: Array, sites: Sites) -> Array:
        """Better scales, one after the other (maximum a posteriori)."""
        if not len(self.readings.level):
            return hyper
        return climbed(lambda tried: self._score(tried, mean, sites), hyper)

    def _score(self, hyper: Array, mean: Array, sites: Sites) -> float:
        prior = -0.5 * float(np.sum(((hyper - self._prior) / self._spread) ** 2))
        solved = Solved(self.covariance(hyper), mean[None], sites.values, sites.variances)
        return prior + float(solved.evidence[0])


class Posterior:
    """Curves given readings, under each law of batch sizes.

    Args:
        curves: The prior.
        hyper: Its scales.
        covariance: Of the readings.
        means: Of the readings under each law, of shape (laws, readings).
        sites: What the readings say.
    """

    def __init__(
        self, curves: Curves, hyper: Array, covariance: Array, means: Array, sites: Sites
    ) -> None:
        self._of = curves
        self._hyper = hyper
        self._solved = Solved(covariance, means, sites.values, sites.variances)
        self.evidence = self._solved.evidence

    def at(self, towards: Array, among: Array, levels: Array) -> tuple[Array, Array]:
        """Log epochs above the law, at setups and levels, pairwise.

        Args:
            towards: Squared distances of the setups from those of the trials, by key.
            among: The same of the setups from each other.
            levels: Of each setup.

        Returns:
            Means of shape (laws, setups), and the covariance of shape (setups, setups).
        """
        f, g, _, _ = np.exp(self._hyper[-4:])
        seen = self._of.readings.level
        odd = self._of.odd(towards)
        across = _base(levels, seen) + odd
        across += self._of.alike(towards, self._hyper) * (f**2 + g**2 * _wiener(levels, seen))
        prior = _base(levels, levels) + _exactly(among) * odd.max(axis=1, initial=0.0)
        alike = matern(among, self._hyper[:-4])
        prior = prior + alike * (f**2 + g**2 * _wiener(levels, levels))
        known = solve_triangular(self._solved.lower, across.T, lower=True, check_finite=False)
        return self._solved.weights @ across.T, prior - known.T @ known


def propagate(curves: Curves, covariance: Array, mean: Array) -> Sites:
    """Gaussian stand-ins for lower bounds, by expectation propagation."""
    values, variances, z = curves.sites()
    below = curves.readings.unreached
    if not below.any():
        return Sites(values, variances, z)
    bounds, noise = curves.readings.log_epochs, curves.readings.sd**2
    for _ in range(_EP_ROUNDS):
        lower = factor(covariance + np.diag(variances))
        precision = inverse_diagonal(lower)
        # Without its own reading each would be expected here.
        cavity = values - cho_solve((lower, True), values - mean, check_finite=False) / precision
        spread = np.maximum(1 / precision - variances, 1e-6)
        width = np.sqrt(spread + noise)
        z = (cavity - bounds) / width
        ratio = np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(z))
        moved = cavity + spread * ratio / width
        left = np.clip(
            spread - (spread / width) ** 2 * ratio * (z + ratio), 1e-8, spread * (1 - 1e-6)
        )
        site = np.clip(1 / (1 / left - 1 / spread), 1e-4, 1e6)
        place = site * (moved / left - cavity / spread)
        new = 1 / (_EP_DAMPING / site + (1 - _EP_DAMPING) / variances)
        placed = new * (_EP_DAMPING * place / site + (1 - _EP_DAMPING) * values / variances)
        values = np.where(below, placed, values)
        variances = np.where(below, new, variances)
    return Sites(values, variances, np.where(below, z, 0.0))


def _exactly(squared: Array) -> NDArray[np.bool_]:
    """Which setups are the same."""
    return ~np.asarray(squared.any(axis=0), dtype=bool)


def _wiener(a: Array, b: Array) -> Array:
    return np.maximum(np.minimum(a[:, None], b[None, :]) + 0.6, 0.05)


def wiener_at(a: Array) -> Array:
    """Variance of what `g` and `r` are made of, at levels."""
    return np.maximum(a + 0.6, 0.05)


def _base(a: Array, b: Array) -> Array:
    """What all curves share: a constant, a slope, and a bend."""
    bend = _bend(a[:, None], b[None, :])
    base: Array = _CONSTANT**2 + _SLOPE**2 * np.outer(a, b) + _COMMON**2 * bend
    return base


def _bend(a: Any, b: Any) -> Any:
    return np.exp(-0.5 * ((a - b) / 0.35) ** 2)
