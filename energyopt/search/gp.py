"""Gaussian processes in a few lines: correlations, factors, and what readings make of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.linalg import LinAlgError, cholesky
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dtrtri
from scipy.special import ndtr

from energyopt.search.encoding import Array

_STEP, _BETTER = 0.4, 1e-3


class Solved:
    """A Gaussian process given Gaussian readings, under each of several prior means.

    Args:
        covariance: Of the readings, without their noise.
        means: Prior means of the readings, of shape (means, readings).
        values: The readings.
        variances: Their noise.

    Attributes:
        lower: Cholesky factor of the covariance, noise included.
        weights: By which covariances with the readings give posterior means, of shape
            (means, readings).
        evidence: Log likelihood of the readings under each mean, up to a constant.
    """

    def __init__(self, covariance: Array, means: Array, values: Array, variances: Array) -> None:
        self.lower = factor(covariance + np.diag(variances))
        apart = values - means
        self.weights: Array = cho_solve((self.lower, True), apart.T, check_finite=False).T
        fits = np.sum(apart * self.weights, axis=1)
        self.evidence: Array = -0.5 * fits - np.log(np.diag(self.lower)).sum()


def matern(squared: Array, log_lengths: Array) -> Array:
    """Matern 5/2 correlation of squared distances by key."""
    scaled = np.sqrt(5 * np.tensordot(np.exp(-2 * log_lengths), squared, 1) + 1e-12)
    alike: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return alike


def climbed(score: Callable[[Array], float], hyper: Array) -> Array:
    """Better scales by a score, one after the other."""
    best, hyper = score(hyper), hyper.copy()
    for at in range(len(hyper)):
        for step in (_STEP, -_STEP):
            tried = hyper.copy()
            tried[at] += step
            while (now := score(tried)) > best + _BETTER:
                best, hyper = now, tried.copy()
                tried[at] += step
    return hyper


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


def inverse_diagonal(lower: Array) -> Array:
    """The diagonal of the inverse of what a Cholesky factor is of."""
    inverse, _ = dtrtri(lower, lower=1)
    diagonal: Array = np.sum(inverse**2, axis=0)
    return diagonal


def expected_above(ahead: Array, sd: Array) -> Array:
    """Expected amount by which normals of these means are above 0."""
    sd = np.maximum(sd, 1e-9)
    z = ahead / sd
    above: Array = sd * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
    return above
