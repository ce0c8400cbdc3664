"""What a training costs up to each level of accuracy, learnt from few and unfinished curves.

The energy to a level is the epochs that it takes times the energy of an epoch. A power limit moves
only the second, which is known after seconds of training. The log of the epochs is a Gaussian
process over setups and levels of accuracy, so that an unfinished curve says something of its end
and of its neighbours' curves:

    log n(x, u) = law(batch size) + a + b u + w(u) + f(x) + g(x, u) + trial + r(trial, u)

`w`, `g` and `r` are Wiener processes in the level `u`: far from what was seen they are unsure, as
curves are that may flatten. Levels that were not reached yet are lower bounds (expectation
propagation with the likelihood of a censored reading). The law of batch sizes, n(b) ~ b + B
(McCandlish et al., arXiv 1812.06162), is a prior mean with unknown B: hypotheses are weighted by
their evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError, cholesky
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import log_ndtr

from energyopt.search.encoding import Array, Encoding, Point, is_number
from energyopt.search.observed import Observed
from energyopt.search.readings import Readings, Scale

_LAW_KEYS = ("batch_size",)
_LAWS = (1 / 16, 1 / 4, 1.0, 4.0, math.inf)  # B, in units of the first trial's batch size

# Prior scales, in units of log epochs; none was fitted to recorded trainings.
_CONSTANT, _SLOPE, _COMMON = 3.0, 2.0, 0.5
_SCALES = np.log([0.5, 0.25, 0.07, 0.06])  # f, g, trial, r
_SPREADS = np.array([0.6, 0.5, 0.5, 0.5])
_LENGTH, _LENGTH_BY_NAME, _LENGTH_SPREAD = math.log(0.2), 0.0, 0.3
_EPOCH_SLOPE, _EPOCH_ROUGH, _EPOCH_SD = 1.0, 0.6, 0.02
_EPOCH_LAW = -0.3  # of log batch size: larger batches use a device better

_STEP, _BETTER = 0.4, 1e-3
_EP_ROUNDS, _EP_DAMPING = 4, 0.8
_ODD_Z, _ODD_SD = -1.0, 2.0
_LIGHT = 0.02  # weight of a law that is left out of the front
_MOST_READINGS = 450
_FEWEST_READINGS, _USUAL_READINGS = 2, 8


class EnergyModel:
    """The posterior of log energies, in log J.

    Args:
        observed: Trials, with at least one that has trained.
        space: What is searched.
        target: Accuracy to reach, in [0, 1]; None where the whole front is asked for.
        hyper: Scales that an earlier model of the same study found: a start for this one's.
        refine: Whether to look for better ones.
    """

    def __init__(
        self,
        observed: Sequence[Observed],
        space: Mapping[str, BaseDistribution],
        target: float | None,
        *,
        hyper: Array | None = None,
        refine: bool = True,
    ) -> None:
        self.encoding = Encoding(space)
        self.scale = Scale.of(observed, target)
        self._rows = self.encoding.rows([trial.params for trial in observed])
        self._law_key = next((key for key, at in space.items() if _has_law(key, at)), None)
        self._first = self._batch([observed[0].params])[0]
        most = min(max(_MOST_READINGS // len(observed), _FEWEST_READINGS), _USUAL_READINGS)
        readings = Readings.of(observed, self.scale, target, most)
        self._readings = readings
        laws = _LAWS if self._law_key else (math.inf,)
        shape = _Curves(self.encoding, self._rows[readings.trial], readings)
        at_readings = self._batch([observed[index].params for index in readings.trial])
        means = [self._law(law, at_readings) for law in laws]
        self.hyper = shape.hyper_from(hyper)
        shape.surprised(self.hyper, means[len(laws) // 2])
        if refine:
            self.hyper = shape.refined(self.hyper, means[len(laws) // 2])
        self._laws = laws
        covariance = shape.covariance(self.hyper)
        # What lower bounds say is all but the same under each law.
        sites = _propagate(shape, covariance, means[len(laws) // 2])[:2]
        self._curves = [_Posterior(shape, self.hyper, covariance, m, sites) for m in means]
        evidence = np.array([curves.evidence for curves in self._curves])
        weights = np.exp(evidence - evidence.max())
        self._weights = weights / weights.sum()
        known = [i for i, trial in enumerate(observed) if trial.epoch_j]
        batch = self._batch([observed[i].params for i in known])
        logs = np.log([observed[i].epoch_j or 1.0 for i in known]) - _EPOCH_LAW * np.log(batch)
        self._epochs = _EpochEnergy(self.encoding, self._rows[known], logs)

    def posterior(
        self, points: Sequence[Point], levels: Sequence[float] | Array = (1.0,)
    ) -> tuple[Array, Array]:
        """Mean log energy of setups and its covariance, seed noise left out.

        Args:
            points: Setups.
            levels: One level for all, or one for each; 1 is the target.

        Returns:
            Means of shape (points,) and covariances of shape (points, points).
        """
        rows, batch = self.encoding.rows(points), self._batch(points)
        at = np.broadcast_to(np.asarray(levels, dtype=float), (len(points),))
        towards, among = self._towards(rows), self.encoding.squared(rows, rows)
        mean, square = np.zeros(len(points)), np.zeros((len(points), len(points)))
        for weight, law, curves in zip(self._weights, self._laws, self._curves, strict=True):
            mu, covariance = curves.at(towards, among, at)
            mu += self._law(law, batch)
            mean += weight * mu
            square += weight * (covariance + np.outer(mu, mu))
        epoch, epoch_covariance = self._epoch(points)
        return mean + epoch, square - np.outer(mean, mean) + epoch_covariance

    def levels(
        self, points: Sequence[Point], levels: Array, trials: NDArray[np.int64] | None = None
    ) -> tuple[Array, Array]:
        """Mean log energy and standard deviation of each setup at each level.

        Args:
            points: Setups.
            levels: Levels, of shape (levels,).
            trials: For each setup the index of the trial that goes on, -1 for a new one: its own
                luck is then part of the answer.

        Returns:
            Two arrays of shape (points, levels).
        """
        batch, towards = self._batch(points), self._towards(self.encoding.rows(points))
        whose = np.full(len(points), -1) if trials is None else trials
        heavy = [at for at, weight in enumerate(self._weights) if weight >= _LIGHT]
        total = sum(self._weights[at] for at in heavy)
        mean = np.zeros((len(points), len(levels)))
        square = np.zeros_like(mean)
        for at in heavy:
            mu, variance = self._curves[at].spread(towards, levels, whose)
            mu += self._law(self._laws[at], batch)[:, None]
            mean += self._weights[at] / total * mu
            square += self._weights[at] / total * (variance + mu**2)
        epoch, epoch_covariance = self._epoch(points)
        variance = square - mean**2 + np.diag(epoch_covariance)[:, None]
        return mean + epoch[:, None], np.sqrt(np.maximum(variance, 1e-12))

    def epoch_j(self, points: Sequence[Point]) -> Array:
        """Expected energy of an epoch, in J."""
        energies: Array = np.exp(self._epoch(points)[0])
        return energies

    def _epoch(self, points: Sequence[Point]) -> tuple[Array, Array]:
        mean, covariance = self._epochs.at(self.encoding.rows(points))
        return mean + _EPOCH_LAW * np.log(self._batch(points)), covariance

    def _towards(self, rows: Array) -> Array:
        """Squared distances of setups from those of the readings, by key."""
        return self.encoding.squared(rows, self._rows)[:, :, self._readings.trial]

    def noise(self, level: float) -> float:
        """Variance of log energy to the target that is left once a trial has reached a level.

        At the target that is its luck: what the seed alone makes.
        """
        _, g, trial, r = np.exp(self.hyper[-4:])
        ahead = max(1.0 - level, 0.0)
        return float(trial**2 + r**2 * _wiener_at(np.ones(1))[0] + g**2 * ahead)

    def _batch(self, points: Sequence[Point]) -> Array:
        if self._law_key is None:
            return np.ones(len(points))
        return np.array([float(point.get(self._law_key, 1.0)) for point in points])

    def _law(self, law: float, batch: Array) -> Array:
        if math.isinf(law):
            return np.zeros(len(batch))
        least = law * self._first
        logs: Array = np.log((batch + least) / (self._first + least))
        return logs


class _Curves:
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
        z = _propagate(self, self.covariance(hyper), mean)[2]
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
        alike = _matern(self._distances, hyper[:-4])
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
        sites = _propagate(self, self.covariance(hyper), mean)
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
        return prior + _Solved(self.covariance(hyper), mean, sites).evidence


class _Solved:
    """A Gaussian process given Gaussian readings."""

    def __init__(self, covariance: Array, mean: Array, sites: tuple[Array, ...]) -> None:
        values, variances = sites[:2]
        self.lower = _lower(covariance + np.diag(variances))
        apart = values - mean
        self.weights: Array = cho_solve((self.lower, True), apart)
        self.evidence = float(-0.5 * apart @ self.weights - np.log(np.diag(self.lower)).sum())


class _Posterior:
    """Curves given readings, under one law of batch sizes."""

    def __init__(
        self,
        curves: _Curves,
        hyper: Array,
        covariance: Array,
        mean: Array,
        sites: tuple[Array, ...],
    ) -> None:
        self._of = curves
        self._hyper = hyper
        self._solved = _Solved(covariance, mean, sites)
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
        across = across + _matern(towards, self._hyper[:-4]) * (f**2 + g**2 * _wiener(levels, seen))
        prior = _base(levels, levels) + _exactly(among) * odd.max(axis=1, initial=0.0)
        alike = _matern(among, self._hyper[:-4])
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
        alike = _matern(towards, self._hyper[:-4])
        across = (
            _base(levels, seen.level)[None]
            + alike[:, None] * (f**2 + g**2 * wiener)
            + own[:, None] * (trial**2 + r**2 * wiener)
            + odd[:, None]
        )
        at, shape = _wiener_at(levels), (len(trials), len(levels))
        across = across.reshape(math.prod(shape), len(seen.level))
        prior = _base_at(levels) + f**2 + g**2 * at + trial**2 + r**2 * at
        prior = prior + odd.max(axis=1, initial=0.0)[:, None]
        known = solve_triangular(self._solved.lower, across.T, lower=True, check_finite=False)
        variance = np.maximum(prior - np.sum(known**2, axis=0).reshape(shape), 1e-9)
        return (across @ self._solved.weights).reshape(shape), variance


class _EpochEnergy:
    """Log energy of an epoch over setups: smooth, and all but free of noise."""

    def __init__(self, encoding: Encoding, rows: Array, logs: Array) -> None:
        self._encoding = encoding
        self._rows = rows
        self._level = float(logs.mean()) if len(logs) else 0.0
        self._lengths = np.where(encoding.by_name, _LENGTH_BY_NAME, math.log(0.5))
        self._solved = _Solved(
            self._prior(rows, rows),
            np.full(len(rows), self._level),
            (logs, np.full(len(rows), _EPOCH_SD**2)),
        )

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Mean and covariance at setups."""
        across = self._prior(rows, self._rows)
        known = solve_triangular(self._solved.lower, across.T, lower=True)
        return self._level + across @ self._solved.weights, self._prior(
            rows, rows
        ) - known.T @ known

    def _prior(self, a: Array, b: Array) -> Array:
        slopes = np.where(self._encoding.by_name, 0.0, _EPOCH_SLOPE)
        one, other = np.nan_to_num(a - 0.5), np.nan_to_num(b - 0.5)
        alike = _matern(self._encoding.squared(a, b), self._lengths)
        return (slopes**2 * one) @ other.T + _EPOCH_ROUGH**2 * alike + _CONSTANT**2


def _has_law(key: str, at: BaseDistribution) -> bool:
    """Whether a key counts the samples of a batch."""
    if key.rpartition(".")[2] not in _LAW_KEYS:
        return False
    if isinstance(at, CategoricalDistribution):
        return all(is_number(choice) and choice > 0 for choice in at.choices)
    return isinstance(at, FloatDistribution | IntDistribution) and at.low > 0


def _propagate(curves: _Curves, covariance: Array, mean: Array) -> tuple[Array, Array, Array]:
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
        lower = _lower(covariance + np.diag(variances))
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


def _lower(covariance: Array) -> Array:
    """The Cholesky factor, with as much on the diagonal as it takes."""
    jitter = 1e-9
    while True:
        try:
            factor = cholesky(covariance + jitter * np.eye(len(covariance)))
        except LinAlgError:
            jitter *= 100
            if jitter > 1:
                raise
        else:
            return np.asarray(factor, dtype=float)


def _matern(squared: Array, log_lengths: Array) -> Array:
    """Matern 5/2 correlation of squared distances by column."""
    scaled = np.sqrt(5 * np.tensordot(np.exp(-2 * log_lengths), squared, 1) + 1e-12)
    alike: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return alike


def _exactly(squared: Array) -> NDArray[np.bool_]:
    """Which setups are the same."""
    return ~np.asarray(squared.any(axis=0), dtype=bool)


def _wiener(a: Array, b: Array) -> Array:
    return np.maximum(np.minimum(a[:, None], b[None, :]) + 0.6, 0.05)


def _wiener_at(a: Array) -> Array:
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
