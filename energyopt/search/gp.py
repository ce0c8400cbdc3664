"""Gaussian-process algebra: kernel, Cholesky factor, posterior weights, evidence.

Exact regression as in Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006),
algorithm 2.1: with K the covariance, S the noise and r = y - m, the weights are (K + S)^-1 r and
the log evidence is -r' (K + S)^-1 r / 2 - log det(K + S) / 2, up to a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.linalg import LinAlgError, cholesky
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dtrtri
from scipy.special import ndtr

from energyopt.search.encoding import Array

# A step of 0.4 changes a scale by half (the hyperparameters are logarithms); gains of log evidence
# below 1e-3 are not worth another factorisation.
_STEP, _MIN_GAIN = 0.4, 1e-3


class PosteriorGP:
    """A Gaussian process given Gaussian observations, under each of several prior means.

    Args:
        covariance: Prior covariance of the observed values, without noise.
        means: Prior means of the observed values, of shape (means, observations).
        values: The observations.
        variances: Their noise variances.

    Attributes:
        lower: Cholesky factor of the covariance, noise included.
        weights: Multiply covariances with the observations to give posterior means, of shape
            (means, observations).
        evidence: Log likelihood of the observations under each mean, up to a constant.
    """

    def __init__(self, covariance: Array, means: Array, values: Array, variances: Array) -> None:
        self.lower = cholesky_jittered(_with_diagonal(covariance, variances))
        residuals = values - means
        self.weights: Array = cho_solve((self.lower, True), residuals.T, check_finite=False).T
        misfits = np.sum(residuals * self.weights, axis=1)
        self.evidence: Array = -0.5 * misfits - np.log(np.diag(self.lower)).sum()


def matern(squared: Array, log_lengths: Array) -> Array:
    """Return the Matern 5/2 correlation of squared distances by key.

    k(d) = (1 + s + s^2 / 3) exp(-s) with s = sqrt(5) d: twice differentiable, and less smooth than
    a squared exponential (Snoek et al., arXiv 1206.2944). The 1e-12 keeps the square root's
    argument positive.
    """
    scaled = np.sqrt(5 * np.tensordot(np.exp(-2 * log_lengths), squared, 1) + 1e-12)
    correlation: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return correlation


def maximise(score: Callable[[Array], float], hyper: Array) -> Array:
    """Return hyperparameters with a better score, by one pass of coordinate steps."""
    best, hyper = score(hyper), hyper.copy()
    for i in range(len(hyper)):
        for step in (_STEP, -_STEP):
            trial = hyper.copy()
            trial[i] += step
            while (value := score(trial)) > best + _MIN_GAIN:
                best, hyper = value, trial.copy()
                trial[i] += step
    return hyper


def cholesky_jittered(covariance: Array) -> Array:
    """Return the Cholesky factor, with the smallest tried jitter that makes it exist.

    Raises:
        LinAlgError: If a jitter of 1 is not enough.
    """
    jitter = 1e-9
    while True:
        try:
            lower = cholesky(_with_diagonal(covariance, jitter))
        except LinAlgError:
            jitter *= 100
            if jitter > 1:
                raise
        else:
            return np.asarray(lower, dtype=float)


def _with_diagonal(matrix: Array, added: Array | float) -> Array:
    """Return a copy of a square matrix with something added to its diagonal."""
    copy = np.array(matrix, dtype=float)
    copy.flat[:: len(copy) + 1] += added
    return copy


def inverse_diagonal(lower: Array) -> Array:
    """Return the diagonal of the inverse of the matrix with this Cholesky factor."""
    inverse, _ = dtrtri(lower, lower=1)
    diagonal: Array = np.sum(inverse**2, axis=0)
    return diagonal


def expected_improvement(mean: Array, sd: Array) -> Array:
    """Return the expected positive part of normals: sd (z Phi(z) + phi(z)) with z = mean / sd.

    The formula of expected improvement (Jones et al. 1998), where `mean` is how far the normal's
    mean lies above the value to improve on.
    """
    sd = np.maximum(sd, 1e-9)
    z = mean / sd
    improvement: Array = sd * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
    return improvement
