"""Learning curves as a Gaussian process: log epochs over setups and levels of accuracy.

    log n(x, u) = law + a + b u + w(u) + f(x) + g(x, u) + trial + r(trial, u)

`w` is smooth in the level `u`; `g` and `r` are Wiener processes in it: far from what was seen they
are unsure, as curves are that may flatten. Levels that were not reached yet are lower bounds, by
expectation propagation with the likelihood of a censored reading.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import log_ndtr

from energyopt.search.encoding import Array, Encoding
from energyopt.search.gaussian import Solved, factor, matern
from energyopt.search.readings import Readings

# Prior scales, in units of log epochs. No optimizer fitted them, but they were chosen while looking
# at recorded trainings of four workloads: docs/search.md, benchmarks/ablate.py.
_CONSTANT, _SLOPE, _COMMON = 3.0, 2.0, 0.5
_SCALES = np.log([0.5, 0.25, 0.07, 0.06])  # f, g, trial, r
_SPREADS = np.array([0.6, 0.5, 0.5, 0.5])
_LENGTH, _LENGTH_BY_NAME, _LENGTH_SPREAD = math.log(0.2), 0.0, 0.3

_STEP, _BETTER = 0.4, 1e-3
_EP_ROUNDS, _EP_DAMPING = 4, 0.8
_ODD_Z, _ODD_SD = -1.0, 2.0


class Curves:
    """The prior over readings, and which scales of it fit."""

    def __init__(self, encoding: Encoding, rows: Array, readings: Readings) -> None:
        self.encoding = encoding
        self.rows = rows
        self.readings = readings
        self._distances = encoding.squared(rows, rows)
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
            towards: Squared distances of the setups from those of the readings, by key.
        """
        return _ODD_SD**2 * (_exactly(towards) & self._odd).astype(float)

    def surprised(self, hyper: Array, mean: Array) -> None:
        """Find the setups that fall out of the picture, beyond what the scales allow."""
        self._odd[:] = False
        z = propagate(self, self.covariance(hyper), mean)[2]
        trials = np.unique(self.readings.trial[z < _ODD_Z])
        rows = self.rows[np.isin(self.readings.trial, trials)]
        if len(rows):
            same = _exactly(self.encoding.squared(self.rows, rows))
            self._odd = np.asarray(same.any(axis=1), dtype=bool)

    def hyper_from(self, known: Array | None) -> Array:
        """The known scales where they fit this space, else the prior's."""
        if known is None or len(known) != len(self._prior):
            return self._prior
        return known

    def covariance(self, hyper: Array) -> Array:
        """Of the readings, without their noise."""
        f, g, trial, r = np.exp(hyper[-4:])
        alike = matern(self._distances, hyper[:-4])
        covariance: Array = (
            self._base
            + alike * (f**2 + g**2 * self._wiener)
            + self._same * (trial**2 + r**2 * self._wiener)
            + _ODD_SD**2 * (self._alike & self._odd).astype(float)
        )
        return covariance

    def sites(self) -> tuple[Array, Array]:
        """Readings and variances to begin with; lower bounds a little above themselves."""
        readings = self.readings
        return (
            readings.log_epochs + 0.5 * readings.unreached,
            np.where(readings.unreached, 0.36, readings.sd**2),
        )

    def refined(self, hyper: Array, mean: Array) -> Array:
        """Better scales, one after the other (maximum a posteriori)."""
        if not len(self.readings.level):
            return hyper
        sites = propagate(self, self.covariance(hyper), mean)
        best, hyper = self._score(hyper, mean, sites), hyper.copy()
        for at in range(len(hyper)):
            for step in (_STEP, -_STEP):
                tried = hyper.copy()
                tried[at] += step
                while (score := self._score(tried, mean, sites)) > best + _BETTER:
                    best, hyper = score, tried.copy()
                    tried[at] += step
        return hyper

    def _score(self, hyper: Array, mean: Array, sites: tuple[Array, ...]) -> float:
        prior = -0.5 * float(np.sum(((hyper - self._prior) / self._spread) ** 2))
        return prior + Solved(self.covariance(hyper), mean, sites).evidence


class Posterior:
    """Curves given readings, under one law of batch sizes."""

    def __init__(
        self,
        curves: Curves,
        hyper: Array,
        covariance: Array,
        mean: Array,
        sites: tuple[Array, ...],
    ) -> None:
        self._of = curves
        self._hyper = hyper
        self._solved = Solved(covariance, mean, sites)
        self.evidence = self._solved.evidence

    def at(self, towards: Array, among: Array, levels: Array) -> tuple[Array, Array]:
        """Mean and covariance of log epochs above the law, at setups and levels, pairwise.

        Args:
            towards: Squared distances of the setups from those of the readings, by key.
            among: The same of the setups from each other.
            levels: Of each setup.
        """
        f, g, _, _ = np.exp(self._hyper[-4:])
        seen = self._of.readings.level
        odd = self._of.odd(towards)
        across = _base(levels, seen) + odd
        across = across + matern(towards, self._hyper[:-4]) * (f**2 + g**2 * _wiener(levels, seen))
        prior = _base(levels, levels) + _exactly(among) * odd.max(axis=1, initial=0.0)
        alike = matern(among, self._hyper[:-4])
        prior = prior + alike * (f**2 + g**2 * _wiener(levels, levels))
        known = solve_triangular(self._solved.lower, across.T, lower=True, check_finite=False)
        return across @ self._solved.weights, prior - known.T @ known

    def spread(
        self, towards: Array, levels: Array, trials: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Mean and variance of log epochs above the law, of trials at each of the levels."""
        f, g, trial, r = np.exp(self._hyper[-4:])
        seen = self._of.readings
        wiener = _wiener(levels, seen.level)
        odd = self._of.odd(towards)
        own = trials[:, None] == seen.trial[None, :]
        alike = matern(towards, self._hyper[:-4])
        across = (
            _base(levels, seen.level)[None]
            + alike[:, None] * (f**2 + g**2 * wiener)
            + own[:, None] * (trial**2 + r**2 * wiener)
            + odd[:, None]
        )
        at, shape = wiener_at(levels), (len(trials), len(levels))
        across = across.reshape(math.prod(shape), len(seen.level))
        prior = _base_at(levels) + f**2 + g**2 * at + trial**2 + r**2 * at
        prior = prior + odd.max(axis=1, initial=0.0)[:, None]
        known = solve_triangular(self._solved.lower, across.T, lower=True, check_finite=False)
        variance = np.maximum(prior - np.sum(known**2, axis=0).reshape(shape), 1e-9)
        return (across @ self._solved.weights).reshape(shape), variance


def propagate(curves: Curves, covariance: Array, mean: Array) -> tuple[Array, Array, Array]:
    """Gaussian stand-ins for lower bounds, by expectation propagation.

    Returns:
        Values and variances of the readings, and by how many standard deviations what the others
        say lies above each lower bound.
    """
    values, variances = curves.sites()
    below = curves.readings.unreached
    z = np.zeros(len(values))
    if not below.any():
        return values, variances, z
    bounds, noise = curves.readings.log_epochs, curves.readings.sd**2
    for _ in range(_EP_ROUNDS):
        lower = factor(covariance + np.diag(variances))
        inverse = cho_solve((lower, True), np.eye(len(values)))
        precision = np.diag(inverse)
        # Without its own reading each would be expected here.
        cavity = values - (inverse @ (values - mean)) / precision
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
    return values, variances, np.where(below, z, 0.0)


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


def _base_at(a: Array) -> Array:
    at: Array = _CONSTANT**2 + _SLOPE**2 * a**2 + _COMMON**2
    return at


def _bend(a: Any, b: Any) -> Any:
    return np.exp(-0.5 * ((a - b) / 0.35) ** 2)
