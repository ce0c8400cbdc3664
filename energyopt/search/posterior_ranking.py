"""Ranking of configurations by posterior mean log energy, not by their best training.

The best of many noisy trainings is an outlier of seed noise in its own favour (the winner's curse);
a posterior mean is shrunk towards the mean of all.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from energyopt.search.encoding import Array, Params
from energyopt.search.noise_prior import ASSUMED_SEED_SD, seed_sd
from energyopt.search.schedule import TrialSnapshot, params_key

_N_DRAWS = 4000  # a probability is then known to 0.8 % (one standard error)
_PRIOR_SD = 0.5  # of log energies over configurations, with the weight of one of them


class Model(Protocol):
    """Predicts the energy of configurations."""

    def posterior(self, points: Sequence[Params]) -> tuple[Array, Array]:
        """Return mean log energy to the target, in log J, and its covariance."""


class Recommendation(NamedTuple):
    """A configuration with its predicted energy.

    Attributes:
        params: The configuration.
        energy_j: Its expected energy to the target (the exponential of the mean log), in J.
        sd: Standard deviation of the mean log energy.
        probability: Probability that no other is better by more than the given share.
    """

    params: Params
    energy_j: float
    sd: float
    probability: float


def recommend(
    model: Model, points: Sequence[Params], *, within: float = 0.05, seed: int = 0
) -> list[Recommendation]:
    """Return configurations by expected log energy, the one to train with first.

    The probability to be within a share of the best is counted in draws from the joint posterior.

    Args:
        model: Predicts their energy.
        points: Configurations to choose from.
        within: Share by which a configuration may exceed the best and still count as good.
        seed: Seed of the draws.
    """
    if not points:
        return []
    mean, covariance = model.posterior(points)
    rng = np.random.default_rng(seed)
    draws = mean + rng.standard_normal((_N_DRAWS, len(points))) @ _square_root(covariance).T
    is_good = draws <= draws.min(axis=1, keepdims=True) + math.log1p(within)
    return [
        Recommendation(
            points[i],
            float(np.exp(mean[i])),
            math.sqrt(max(covariance[i, i], 0.0)),
            float(is_good[:, i].mean()),
        )
        for i in np.argsort(mean, kind="stable")
    ]


class EmpiricalModel:
    """Predicts energies from repetitions alone, where nothing relates one configuration to another.

    A one-way random-effects model: the n log energies of a configuration are normal about its mean
    with seed variance s^2, and the means are normal about the overall mean m with variance t^2. The
    posterior mean is (sum of logs / s^2 + m / t^2) / (n / s^2 + 1 / t^2), shrunk towards m. A
    configuration that never reached the target costs at least the energy it used.

    Args:
        observed: The trials.
        target: Accuracy to reach.
    """

    def __init__(self, observed: Sequence[TrialSnapshot], target: float) -> None:
        self._logs: defaultdict[Hashable, list[float]] = defaultdict(list)
        self._least: dict[Hashable, float] = {}
        for trial in observed:
            energy_j = trial.to_target_j(target)
            setup = params_key(trial.params)
            if energy_j is not None:
                self._logs[setup].append(math.log(energy_j))
            elif trial.joules and trial.joules[-1] > 0:
                least = max(self._least.get(setup, -math.inf), math.log(trial.joules[-1]))
                self._least[setup] = least
        means = [statistics.fmean(logs) for logs in self._logs.values()]
        measured_sd = seed_sd(self._logs.values())
        self._seed_variance = (
            ASSUMED_SEED_SD if measured_sd is None else max(measured_sd, 1e-3)
        ) ** 2
        self._mean = statistics.fmean(means) if means else 0.0
        squares = sum((mean - self._mean) ** 2 for mean in means)
        self._variance = (squares + _PRIOR_SD**2) / (len(means) + 1)

    def posterior(self, points: Sequence[Params]) -> tuple[Array, Array]:
        """Return mean log energy to the target, in log J, and its covariance."""
        moments = [self._moments(params_key(point)) for point in points]
        mean, variance = np.array(moments).reshape(len(moments), 2).T
        return mean, np.diag(variance)

    def _moments(self, setup: Hashable) -> tuple[float, float]:
        """Return posterior mean and variance of the log energy of a configuration."""
        logs = self._logs.get(setup, [])
        variance = 1 / (len(logs) / self._seed_variance + 1 / self._variance)
        mean = variance * (sum(logs) / self._seed_variance + self._mean / self._variance)
        if not logs and setup in self._least:
            mean = max(mean, self._least[setup]) + math.sqrt(variance)
        return mean, variance


def _square_root(covariance: Array) -> Array:
    """Return R with R R' = covariance, also where that is singular or slightly indefinite."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
