"""Posterior of the energy to each level of the metric, from few and unfinished curves.

Energy to a level = epochs to the level x energy of an epoch, so log energies are sums of two
independent Gaussian processes. A power limit moves only the energy of an epoch, which is known
after seconds of training (Zeus, NSDI'23, arXiv 2208.06102). The epochs are modelled over
configurations and levels (`level_model`), so that an unfinished curve informs its own end and its
neighbours' curves.

Prior mean of the epochs is the batch-size law of McCandlish et al. (arXiv 1812.06162): the steps to
a loss are S(b) = S_min (1 + B / b), so the epochs are n(b) ~ b S(b) ~ b + B. The critical batch
size B is unknown: five hypotheses are weighted by their evidence. The law fits image classifiers
well and fine-tuning badly, so the process around it may deviate.
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

from energyopt.core.metric import Scale
from energyopt.core.number_checks import is_number
from energyopt.search.curve_observations import CurveObservations, Levels
from energyopt.search.encoding import Array, Encoding, Params
from energyopt.search.gp import PosteriorGP, matern
from energyopt.search.level_model import LevelModel, Posterior, propagate, wiener_variance
from energyopt.search.schedule import TrialSnapshot

_LAW_KEYS = ("batch_size",)
# B in units of the first trial's batch size, a factor of 4 apart: finer ones cannot be told apart
# from a few noisy trainings. Infinity: the batch size does not matter.
_LAWS = (1 / 16, 1 / 4, 1.0, 4.0, math.inf)

# Prior of the log energy of an epoch, standard deviations: of its level (wide: the level is soon
# known), of linear trends over a key, of smooth deviations; and of a measurement (2 %).
_EPOCH_LEVEL, _EPOCH_SLOPE, _EPOCH_ROUGH, _EPOCH_SD = 3.0, 1.0, 0.6, 0.02
_EPOCH_LENGTH, _EPOCH_LENGTH_BY_NAME = math.log(0.5), 0.0  # smoother than the epochs
# Slope of log energy of an epoch over log batch size: larger batches use a device better. Chosen by
# hand, between 0 (each sample costs the same) and -1 (each step costs the same).
_EPOCH_LAW = -0.3

# Exact regression costs the cube of the observations: at most 450, of which each trial gets 2 to 8.
_MAX_OBSERVATIONS = 450
_MIN_PER_TRIAL, _MAX_PER_TRIAL = 2, 8


class EnergyModel:
    """The posterior of log energies, in log J.

    Args:
        observed: Trials, with at least one that has trained.
        space: The search space, distributions by key.
        target: Score to reach; None where only the front is searched.
        scale: The scale of the metric; that of an accuracy by default.
        hyper: Scales fitted by an earlier model of the study: where this fit begins.
        refine: Whether to improve them.
    """

    def __init__(
        self,
        observed: Sequence[TrialSnapshot],
        space: Mapping[str, BaseDistribution],
        target: float | None,
        scale: Scale = Scale(),  # noqa: B008  # frozen
        *,
        hyper: Array | None = None,
        refine: bool = True,
    ) -> None:
        self.encoding = Encoding(space)
        self.levels = Levels.of(observed, target, scale)
        self._rows = self.encoding.rows([trial.params for trial in observed])
        self._law_key = next((key for key, axis in space.items() if _has_law(key, axis)), None)
        self._first_batch = self._batch([observed[0].params])[0]
        max_n = min(max(_MAX_OBSERVATIONS // len(observed), _MIN_PER_TRIAL), _MAX_PER_TRIAL)
        observations = CurveObservations.of(observed, self.levels, target, max_n)
        laws = _LAWS if self._law_key else (math.inf,)
        levels = LevelModel(self.encoding, self._rows, observations)
        batch = self._batch([trial.params for trial in observed])
        means = np.array([self._law(law, batch)[observations.trial] for law in laws])
        middle = means[len(laws) // 2]  # the sites of lower bounds hardly depend on the law
        self.hyper = levels.hyper_from(hyper)
        covariance = levels.covariance(self.hyper)
        sites = propagate(levels, covariance, middle)
        if levels.find_outliers(sites):
            covariance = levels.covariance(self.hyper)
            sites = propagate(levels, covariance, middle)
        if refine:
            self.hyper = levels.refined(self.hyper, middle, sites)
            covariance = levels.covariance(self.hyper)
            sites = propagate(levels, covariance, middle)
        self._laws = laws
        self._epochs = Posterior(levels, self.hyper, covariance, means, sites)
        evidence = self._epochs.evidence
        weights = np.exp(evidence - evidence.max())
        self._law_weights = weights / weights.sum()
        metered = [i for i, trial in enumerate(observed) if trial.epoch_j]
        logs = np.log([observed[i].epoch_j or 1.0 for i in metered])
        logs -= _EPOCH_LAW * np.log(batch[metered])
        self._epoch_energy = _EpochEnergy(self.encoding, self._rows[metered], logs)

    def posterior(
        self, points: Sequence[Params], levels: Sequence[float] | Array = (1.0,)
    ) -> tuple[Array, Array]:
        """Return mean log energy of configurations and its covariance, without seed noise.

        Args:
            points: Configurations.
            levels: One level for all, or one for each; 1 is the target.

        Returns:
            Means of shape (points,) and covariances of shape (points, points).
        """
        rows, batch = self.encoding.rows(points), self._batch(points)
        at_levels = np.broadcast_to(np.asarray(levels, dtype=float), (len(points),))
        distances = self.encoding.squared(rows, self._rows)
        self_distances = self.encoding.squared(rows, rows)
        means, covariance = self._epochs.at(distances, self_distances, at_levels)
        means += [self._law(law, batch) for law in self._laws]
        mean = self._law_weights @ means
        # Law of total covariance: within each law, plus between the means of the laws.
        deviations = means - mean
        between_laws = (self._law_weights[:, None] * deviations).T @ deviations
        epoch, epoch_covariance = self._epoch(points)
        return mean + epoch, covariance + between_laws + epoch_covariance

    def epoch_j(self, points: Sequence[Params]) -> tuple[Array, Array]:
        """Return the expected energy of an epoch, in J, and the standard deviation of its log."""
        mean, covariance = self._epoch(points)
        return np.exp(mean), np.sqrt(np.diag(covariance))

    def _epoch(self, points: Sequence[Params]) -> tuple[Array, Array]:
        """Return mean and covariance of the log energy of an epoch."""
        mean, covariance = self._epoch_energy.at(self.encoding.rows(points))
        return mean + _EPOCH_LAW * np.log(self._batch(points)), covariance

    def noise(self, level: float) -> float:
        """Return the variance of log energy to the target that remains at a level.

        At the target (level 1) only seed noise remains: trial^2 + r^2 times the Wiener variance.
        Before it the process `g` of the configuration is uncertain, too, by g^2 times the distance.
        """
        _, g, trial, r = np.exp(self.hyper[-4:])
        distance = max(1.0 - level, 0.0)
        return float(trial**2 + r**2 * wiener_variance(1.0) + g**2 * distance)

    def _batch(self, points: Sequence[Params]) -> Array:
        """Return the batch size of each configuration; 1 where it is not searched."""
        if self._law_key is None:
            return np.ones(len(points))
        return np.array([float(point.get(self._law_key, 1.0)) for point in points])

    def _law(self, law: float, batch: Array) -> Array:
        """Return log((b + B) / (b_0 + B)), the law's epochs relative to the first trial's."""
        if math.isinf(law):
            return np.zeros(len(batch))
        critical = law * self._first_batch
        logs: Array = np.log((batch + critical) / (self._first_batch + critical))
        return logs


class _EpochEnergy:
    """Log energy of an epoch over configurations: smooth, and nearly free of noise."""

    def __init__(self, encoding: Encoding, rows: Array, logs: Array) -> None:
        self._encoding = encoding
        self._rows = rows
        self._level = float(logs.mean()) if len(logs) else 0.0
        self._lengths = np.where(encoding.by_name, _EPOCH_LENGTH_BY_NAME, _EPOCH_LENGTH)
        level, noise = np.full((1, len(rows)), self._level), np.full(len(rows), _EPOCH_SD**2)
        self._gp = PosteriorGP(self._prior(rows, rows), level, logs, noise)

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Return mean and covariance at configurations."""
        across = self._prior(rows, self._rows)
        explained = solve_triangular(self._gp.lower, across.T, lower=True)
        mean = self._level + across @ self._gp.weights[0]
        return mean, self._prior(rows, rows) - explained.T @ explained

    def _prior(self, a: Array, b: Array) -> Array:
        slopes = np.where(self._encoding.by_name, 0.0, _EPOCH_SLOPE)
        centred_a, centred_b = np.nan_to_num(a - 0.5), np.nan_to_num(b - 0.5)
        correlation = matern(self._encoding.squared(a, b), self._lengths)
        linear = (slopes**2 * centred_a) @ centred_b.T
        return linear + _EPOCH_ROUGH**2 * correlation + _EPOCH_LEVEL**2


def _has_law(key: str, axis: BaseDistribution) -> bool:
    """Return True if a key is a batch size, whose law of epochs is known."""
    if key.rpartition(".")[2] not in _LAW_KEYS:
        return False
    if isinstance(axis, CategoricalDistribution):
        return all(is_number(choice) and choice > 0 for choice in axis.choices)
    return isinstance(axis, FloatDistribution | IntDistribution) and axis.low > 0
