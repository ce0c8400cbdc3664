"""Stop a trial that will probably neither reach the target cheaply nor come onto the front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energyopt.core.curve import thin_indices
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.metric import ACCURACY
from energyopt.core.units import joules, percent
from energyopt.stopping._validation import checked_count, checked_number

Array = NDArray[np.float64]

# Exponents g of the curves that are fitted: from a straight line to one that is nearly flat.
_EXPONENTS = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
_PRIOR_SD_SCORE, _PRIOR_SD_SLOPE = 1.0, 1.0  # wide: an accuracy lies in [0, 1]
_PRIOR_SD, _PRIOR_WEIGHT = 0.02, 2.0  # scatter about a curve; worth so many evaluations
_MIN_SHARE = 1 / 8  # share of the energy before which evaluations no longer inform the future
_MAX_POINTS = 12  # neighbours are correlated: more evaluations would make the fit too certain
_N_ENERGIES = 20  # future energies that are evaluated


class Extrapolate:
    """Stops when further training is improbable to pay off.

    It pays off if the trial reaches the target with less energy than any earlier trial, or if it
    reaches, anywhere up to its last epoch, a score that no trial had with as little energy. A trial
    with the best score of all at its energy always continues.

    Args:
        delta: A trial stops if both probabilities are below it; in [0, 1].
        evaluations: Evaluations before it may stop a trial; at least 3.

    Raises:
        ConfigError: If an option is out of its range.
    """

    def __init__(self, delta: float = 0.05, evaluations: int = 4) -> None:
        key = "stopping.rules.extrapolate"
        self._delta = checked_number(f"{key}.delta", delta, 0.0, 1.0, allowed="a number in [0, 1]")
        self._evaluations = checked_count(f"{key}.evaluations", evaluations, 3)

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Return why to stop now, or None to continue."""
        if len(progress.accuracy) < self._evaluations or not rivals.front:
            return None
        if progress.best > rivals.best_with(progress.spent_j):  # it leads
            return None
        future = Future.of(progress, rivals.unit(progress))
        # A trial may still pay in two ways: as the cheapest at the target, or on the front.
        p_target = 0.0 if progress.reached else _p_cheapest(future, progress, rivals)
        p_front = _p_on_front(future, progress, rivals) if progress.beyond else 0.0
        if max(p_target, p_front) >= self._delta:  # likely enough
            return None
        monitor = progress.monitor
        target = f"{monitor.value(progress.target):g}"
        chances = [] if progress.reached else [f"{_format(p_target)} to reach {target}"]
        if chances and rivals.incumbent_j is not None:
            chances[0] += f" below the {joules(rivals.incumbent_j)} of trial {rivals.incumbent}"
        if progress.beyond:
            chances.append(f"{_format(p_front)} to come onto the front")
        energy, best = joules(progress.spent_j), monitor.describe(progress.best)
        return f"after {energy}, at {best}, {' and '.join(chances)}"


def _p_cheapest(future: Future, progress: TrialProgress, rivals: StudyHistory) -> float:
    """Return the probability to reach the target below the incumbent's energy."""
    max_j = progress.end_j
    if rivals.incumbent_j is not None:
        max_j = min(max_j, rivals.incumbent_j)
    if max_j <= progress.spent_j:
        return 0.0
    return future.above(np.array([max_j]), np.array([progress.target]))


def _p_on_front(future: Future, progress: TrialProgress, rivals: StudyHistory) -> float:
    """Return the probability to beat, at some energy, all trials that used no more than it."""
    if progress.end_j <= progress.spent_j:
        return 0.0
    energies_j = np.geomspace(progress.spent_j, progress.end_j, _N_ENERGIES + 1)[1:]
    front = np.array([rivals.best_with(float(energy_j)) for energy_j in energies_j])
    return future.above(energies_j, np.maximum(front, progress.best))


@dataclass(frozen=True, slots=True)
class Future:
    """An extrapolated learning curve: a line in transformed energy, for each of several exponents.

    With s = energy / energy so far, the score is `now + slope * (1 - s**-g) / g`, a Box-Cox
    transform of s: for g > 0 a power law that saturates, for g = 0 a logarithm, for g = -1 a line.
    For a given exponent g it is a Bayesian linear regression (normal-inverse-gamma prior, see
    Bishop, Pattern Recognition and Machine Learning, 3.3) on the best score so far; exponents are
    weighted by their evidence. Scores are relative to `origin`, in units of `unit`, so that the
    prior suits any metric; of an accuracy they are it.

    Attributes:
        spent_j: Energy so far, in J.
        mean: Score now and slope, of shape (exponents, 2).
        covariance: Their covariance in units of `variance`, of shape (exponents, 2, 2).
        variance: Variance of scores about the curve, of shape (exponents,).
        weight: Posterior weight of each exponent, of shape (exponents,); sums to 1.
        origin: Score that counts as 0.
        unit: Difference of scores that counts as 1.
    """

    spent_j: float
    mean: Array
    covariance: Array
    variance: Array
    weight: Array
    origin: float = 0.0
    unit: float = 1.0

    @classmethod
    def of(cls, progress: TrialProgress, unit: float = 1.0) -> Future:
        """Fit the curve of a trial so far; see `StudyHistory.unit`."""
        origin = 0.0 if progress.monitor == ACCURACY else progress.accuracy[0]
        energy_j = progress.spent_j
        recent = [i for i, used_j in enumerate(progress.joules) if used_j >= _MIN_SHARE * energy_j]
        points = thin_indices(recent, progress.joules, _MAX_POINTS)
        x = _basis(np.array(progress.joules)[points] / energy_j)  # (exponents, evaluations, 2)
        y = (np.maximum.accumulate(progress.accuracy)[points] - origin) / unit
        # Posterior of the coefficients; precisions are in units of 1 / variance.
        prior = np.diag([1 / _PRIOR_SD_SCORE**2, 1 / _PRIOR_SD_SLOPE**2]) * _PRIOR_SD**2
        covariance = np.linalg.inv(np.einsum("gni,gnj->gij", x, x) + prior)
        x_y = np.einsum("gni,n->gi", x, y)
        mean = np.einsum("gij,gj->gi", covariance, x_y)
        # Posterior of the variance: inverse gamma of shape degrees / 2 and scale squares / 2.
        residual = np.maximum(y @ y - np.einsum("gi,gi->g", x_y, mean), 0.0)
        degrees = _PRIOR_WEIGHT + len(y)
        squares = _PRIOR_WEIGHT * _PRIOR_SD**2 + residual
        variance = squares / (degrees - 2)
        # Log evidence of each exponent, up to what all exponents share.
        evidence = 0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * degrees * np.log(squares)
        weight = np.exp(evidence - evidence.max())
        return cls(energy_j, mean, covariance, variance, weight / weight.sum(), origin, unit)

    def above(self, energies_j: Array, levels: Array) -> float:
        """Return the probability that the score exceeds a level at the likeliest of some energies.

        The predictive Student t distribution is taken as normal with the same variance.
        """
        x = _basis(energies_j / self.spent_j)
        mean = np.einsum("gni,gi->gn", x, self.mean)
        leverage = np.einsum("gni,gij,gnj->gn", x, self.covariance, x)
        sd = np.sqrt(self.variance[:, None] * (1 + leverage))
        max_z = ((mean - (levels - self.origin) / self.unit) / sd).max(axis=1)
        probabilities = (w * _normal_cdf(z) for w, z in zip(self.weight, max_z, strict=True))
        return min(float(sum(probabilities)), 1.0)


def _basis(share: Array) -> Array:
    """Return 1 and the transformed energy (1 - s**-g) / g, of shape (exponents, energies, 2)."""
    logs = np.log(share)
    exponents = np.where(_EXPONENTS == 0, 1.0, _EXPONENTS)[:, None]
    # The limit of g = 0 is log(s); expm1 keeps precision near s = 1.
    transformed = np.where(_EXPONENTS[:, None] == 0, logs, -np.expm1(-exponents * logs) / exponents)
    return np.stack([np.ones_like(transformed), transformed], axis=-1)


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _format(probability: float) -> str:
    return f"{percent(probability)} probable"
