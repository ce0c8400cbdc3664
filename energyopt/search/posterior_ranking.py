"""Which setup to train with: by what is expected of it, not by its luckiest training."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from energyopt.search.noise_prior import ASSUMED_SD, luck
from energyopt.search.schedule import TrialSnapshot, setup_of

Array = NDArray[np.float64]
Point = Mapping[str, Any]

_DRAWS = 4000
_PRIOR_SD = 0.5  # of log energies over setups, before there are many


class Model(Protocol):
    """Knows what setups cost, as far as it can be known."""

    def posterior(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Mean log energy to the target of setups, in log J, and its covariance."""


class Recommendation(NamedTuple):
    """What is known of a setup.

    Attributes:
        params: The setup.
        energy_j: Its expected energy to the target (the exponential of the mean log), in J.
        sd: Standard deviation of the log energy that was meant.
        probability: That none of the others is better by more than the share that was asked for.
    """

    params: Point
    energy_j: float
    sd: float
    probability: float


def recommend(
    model: Model, points: Sequence[Point], *, within: float = 0.05, seed: int = 0
) -> list[Recommendation]:
    """Setups by expected log energy, the one to train with first.

    Args:
        model: What is known of them.
        points: Setups to choose from.
        within: By how much a setup may be dearer than the best and still be as good, as a share.
        seed: Of the draws: the same gives the same.
    """
    if not points:
        return []
    mean, covariance = model.posterior(points)
    rng = np.random.default_rng(seed)
    draws = mean + rng.standard_normal((_DRAWS, len(points))) @ _root(covariance).T
    good = draws <= draws.min(axis=1, keepdims=True) + math.log1p(within)
    return [
        Recommendation(
            points[at],
            float(np.exp(mean[at])),
            math.sqrt(max(covariance[at, at], 0.0)),
            float(good[:, at].mean()),
        )
        for at in np.argsort(mean, kind="stable")
    ]


class Repetitions:
    """What the trials alone say, where nothing relates one setup to another.

    A setup's log energy is normal about the mean of its repetitions, and drawn towards that of all:
    the cheapest of many was lucky, too. What never reached the target cost at least what it used.

    Args:
        observed: The trials.
        target: Accuracy to reach.
    """

    def __init__(self, observed: Sequence[TrialSnapshot], target: float) -> None:
        self._logs: defaultdict[Hashable, list[float]] = defaultdict(list)
        self._least: dict[Hashable, float] = {}
        for trial in observed:
            energy_j = trial.to_target_j(target)
            setup = setup_of(trial.params)
            if energy_j is not None:
                self._logs[setup].append(math.log(energy_j))
            elif trial.joules and trial.joules[-1] > 0:
                least = max(self._least.get(setup, -math.inf), math.log(trial.joules[-1]))
                self._least[setup] = least
        means = [statistics.fmean(logs) for logs in self._logs.values()]
        known = luck(self._logs.values())
        self._noise = (ASSUMED_SD if known is None else max(known, 1e-3)) ** 2
        self._middle = statistics.fmean(means) if means else 0.0
        apart = sum((mean - self._middle) ** 2 for mean in means)
        self._spread = (apart + _PRIOR_SD**2) / (len(means) + 1)

    def posterior(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Mean log energy to the target of setups, in log J, and its covariance."""
        known = [self._of(setup_of(point)) for point in points]
        return np.array([mean for mean, _ in known]), np.diag([variance for _, variance in known])

    def _of(self, setup: Hashable) -> tuple[float, float]:
        logs = self._logs.get(setup, [])
        certainty = len(logs) / self._noise
        variance = 1 / (certainty + 1 / self._spread)
        mean = variance * (sum(logs) / self._noise + self._middle / self._spread)
        if not logs and setup in self._least:
            mean = max(mean, self._least[setup]) + math.sqrt(variance)
        return mean, variance


def _root(covariance: Array) -> Array:
    """A matrix whose square it is, also where it is singular, or not quite positive."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
