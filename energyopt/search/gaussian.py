"""Gaussian processes in a few lines: correlations, factors, and what readings make of them."""

from __future__ import annotations

import numpy as np
from numpy.linalg import LinAlgError, cholesky
from scipy.linalg import cho_solve

from energyopt.search.encoding import Array


class Solved:
    """A Gaussian process given Gaussian readings."""

    def __init__(self, covariance: Array, mean: Array, sites: tuple[Array, ...]) -> None:
        values, variances = sites[:2]
        self.lower = factor(covariance + np.diag(variances))
        apart = values - mean
        self.weights: Array = cho_solve((self.lower, True), apart)
        self.evidence = float(-0.5 * apart @ self.weights - np.log(np.diag(self.lower)).sum())


def matern(squared: Array, log_lengths: Array) -> Array:
    """Matern 5/2 correlation of squared distances by key."""
    scaled = np.sqrt(5 * np.tensordot(np.exp(-2 * log_lengths), squared, 1) + 1e-12)
    alike: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return alike


def factor(covariance: Array) -> Array:
    """The Cholesky factor, with as much on the diagonal as it takes."""
    jitter = 1e-9
    while True:
        try:
            lower = cholesky(covariance + jitter * np.eye(len(covariance)))
        except LinAlgError:
            jitter *= 100
            if jitter > 1:
                raise
        else:
            return np.asarray(lower, dtype=float)
