"""What a training costs up to each level of accuracy, learnt from few and unfinished curves.

The energy to a level is the epochs that it takes times the energy of an epoch. A power limit moves
only the second, which is known after seconds of training. The first is a Gaussian process over
setups and levels (`level_model`), so that an unfinished curve says something of its end and of its
neighbours' curves. The law of batch sizes, n(b) ~ b + B (McCandlish et al., arXiv 1812.06162), is
a prior mean with unknown B: hypotheses are weighted by their evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.linalg import solve_triangular

from energyopt.search.curve_observations import Readings, Scale
from energyopt.search.encoding import Array, Encoding, Point, is_number
from energyopt.search.gp import Solved, matern
from energyopt.search.level_model import Curves, Posterior, propagate, wiener_at
from energyopt.search.schedule import TrialSnapshot

_LAW_KEYS = ("batch_size",)
_LAWS = (1 / 16, 1 / 4, 1.0, 4.0, math.inf)  # B, in units of the first trial's batch size

# Prior of the log energy of an epoch.
_EPOCH_LEVEL, _EPOCH_SLOPE, _EPOCH_ROUGH, _EPOCH_SD = 3.0, 1.0, 0.6, 0.02
_EPOCH_LENGTH, _EPOCH_LENGTH_BY_NAME = math.log(0.5), 0.0
_EPOCH_LAW = -0.3  # of log batch size: larger batches use a device better

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
        observed: Sequence[TrialSnapshot],
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
        laws = _LAWS if self._law_key else (math.inf,)
        curves = Curves(self.encoding, self._rows, readings)
        batch = self._batch([trial.params for trial in observed])
        means = np.array([self._law(law, batch)[readings.trial] for law in laws])
        middle = means[len(laws) // 2]  # what lower bounds say is all but the same under each law
        self.hyper = curves.hyper_from(hyper)
        covariance = curves.covariance(self.hyper)
        sites = propagate(curves, covariance, middle)
        if curves.surprised(sites):
            covariance = curves.covariance(self.hyper)
            sites = propagate(curves, covariance, middle)
        if refine:
            self.hyper = curves.refined(self.hyper, middle, sites)
            covariance = curves.covariance(self.hyper)
            sites = propagate(curves, covariance, middle)
        self._laws = laws
        self._curves = Posterior(curves, self.hyper, covariance, means, sites)
        evidence = self._curves.evidence
        weights = np.exp(evidence - evidence.max())
        self._weights = weights / weights.sum()
        known = [i for i, trial in enumerate(observed) if trial.epoch_j]
        logs = np.log([observed[i].epoch_j or 1.0 for i in known])
        logs -= _EPOCH_LAW * np.log(batch[known])
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
        means, covariance = self._curves.at(towards, among, at)
        means += [self._law(law, batch) for law in self._laws]
        mean = self._weights @ means
        apart = means - mean
        between = (self._weights[:, None] * apart).T @ apart
        epoch, epoch_covariance = self._epoch(points)
        return mean + epoch, covariance + between + epoch_covariance

    def epoch_j(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Expected energy of an epoch, in J, and the standard deviation of its log."""
        mean, covariance = self._epoch(points)
        return np.exp(mean), np.sqrt(np.diag(covariance))

    def _epoch(self, points: Sequence[Point]) -> tuple[Array, Array]:
        mean, covariance = self._epochs.at(self.encoding.rows(points))
        return mean + _EPOCH_LAW * np.log(self._batch(points)), covariance

    def _towards(self, rows: Array) -> Array:
        """Squared distances of setups from those of the trials, by key."""
        return self.encoding.squared(rows, self._rows)

    def noise(self, level: float) -> float:
        """Variance of log energy to the target that is left once a trial has reached a level.

        At the target that is its luck: what the seed alone makes.
        """
        _, g, trial, r = np.exp(self.hyper[-4:])
        ahead = max(1.0 - level, 0.0)
        return float(trial**2 + r**2 * wiener_at(np.ones(1))[0] + g**2 * ahead)

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


class _EpochEnergy:
    """Log energy of an epoch over setups: smooth, and all but free of noise."""

    def __init__(self, encoding: Encoding, rows: Array, logs: Array) -> None:
        self._encoding = encoding
        self._rows = rows
        self._level = float(logs.mean()) if len(logs) else 0.0
        self._lengths = np.where(encoding.by_name, _EPOCH_LENGTH_BY_NAME, _EPOCH_LENGTH)
        level, noise = np.full((1, len(rows)), self._level), np.full(len(rows), _EPOCH_SD**2)
        self._solved = Solved(self._prior(rows, rows), level, logs, noise)

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Mean and covariance at setups."""
        across = self._prior(rows, self._rows)
        known = solve_triangular(self._solved.lower, across.T, lower=True)
        return self._level + across @ self._solved.weights[0], self._prior(
            rows, rows
        ) - known.T @ known

    def _prior(self, a: Array, b: Array) -> Array:
        slopes = np.where(self._encoding.by_name, 0.0, _EPOCH_SLOPE)
        one, other = np.nan_to_num(a - 0.5), np.nan_to_num(b - 0.5)
        alike = matern(self._encoding.squared(a, b), self._lengths)
        return (slopes**2 * one) @ other.T + _EPOCH_ROUGH**2 * alike + _EPOCH_LEVEL**2


def _has_law(key: str, at: BaseDistribution) -> bool:
    """Whether a key counts the samples of a batch."""
    if key.rpartition(".")[2] not in _LAW_KEYS:
        return False
    if isinstance(at, CategoricalDistribution):
        return all(is_number(choice) and choice > 0 for choice in at.choices)
    return isinstance(at, FloatDistribution | IntDistribution) and at.low > 0
