"""Stop a trial whose curve leads nowhere: neither to the target cheaply, nor onto the front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energyopt.core.curve import spread
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules, percent
from energyopt.stopping._validation import count, number

Array = NDArray[np.float64]

_BENDS = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
_SCALE_NOW, _SCALE_SLOPE = 1.0, 1.0  # of the priors of accuracy now, and of its slope
_SD, _SD_WEIGHT = 0.02, 2.0  # what scatters about a curve, and how many evaluations that is worth
_OLDEST = 1 / 8  # share of the joules before which evaluations say nothing of the future
_MOST = 12  # neighbours say the same: more evaluations would make it too sure
_AHEAD = 20  # energies that are looked at


class Extrapolate:
    """Stops when it is improbable that going on is worth anything.

    That is, to reach the target with less energy than any earlier trial, and to reach, anywhere up
    to its last epoch, an accuracy that none did with as little energy. A trial that leads, with the
    best accuracy of all at its energy, goes on.

    Args:
        delta: The probability below which both must be, in (0, 1).
        evaluations: Evaluations before it may stop a trial.

    Raises:
        ConfigError: If one of them is not what it may be.
    """

    def __init__(self, delta: float = 0.05, evaluations: int = 4) -> None:
        key = "stopping.rules.extrapolate"
        self._delta = number(f"{key}.delta", delta, 0.0, 1.0, says="a number in [0, 1]")
        self._evaluations = count(f"{key}.evaluations", evaluations, 3)

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Why to stop now; None to go on."""
        if len(progress.accuracy) < self._evaluations or not rivals.front:
            return None
        if progress.best > rivals.best_with(progress.spent_j):  # it leads
            return None
        future = Future.of(progress)
        target = 0.0 if progress.reached else _cheaply(future, progress, rivals)
        front = _onto_front(future, progress, rivals) if progress.beyond else 0.0
        if max(target, front) >= self._delta:
            return None
        what = "" if progress.reached else f"{_chance(target)} to reach {progress.target:g}"
        if what and rivals.incumbent_j is not None:
            what += f" below the {joules(rivals.incumbent_j)} of trial {rivals.incumbent}"
        if progress.beyond:
            what += f"{' and ' if what else ''}{_chance(front)} to come onto the front"
        return f"after {joules(progress.spent_j)}, at accuracy {progress.best:.3f}, {what}"


def _cheaply(future: Future, progress: TrialProgress, rivals: StudyHistory) -> float:
    """Probability to reach the target below the incumbent's energy."""
    until_j = progress.end_j
    if rivals.incumbent_j is not None:
        until_j = min(until_j, rivals.incumbent_j)
    if until_j <= progress.spent_j:
        return 0.0
    return future.above(np.array([until_j]), np.array([progress.target]))


def _onto_front(future: Future, progress: TrialProgress, rivals: StudyHistory) -> float:
    """Probability to be anywhere more accurate than all that needed as little energy."""
    if progress.end_j <= progress.spent_j:
        return 0.0
    ahead = np.geomspace(progress.spent_j, progress.end_j, _AHEAD + 1)[1:]
    known = np.array([rivals.best_with(float(energy_j)) for energy_j in ahead])
    return future.above(ahead, np.maximum(known, progress.best))


@dataclass(frozen=True, slots=True)
class Future:
    """Where a curve leads: a straight line in a bent energy, for each of several bends.

    With s = energy over the energy so far, accuracy is `now + slope * (1 - s**-g) / g`: for g > 0 a
    power law that saturates, for g = 0 a logarithm, for g = -1 a line. Given the bend g it is a
    Bayesian linear regression on the best accuracy so far; bends are weighted by their evidence.

    Attributes:
        spent_j: Energy so far, in J.
        mean: Accuracy now and slope, of shape (bends, 2).
        covariance: Theirs, in units of the variance, of shape (bends, 2, 2).
        variance: Of what scatters about the curve, of shape (bends,).
        weight: Of each bend.
    """

    spent_j: float
    mean: Array
    covariance: Array
    variance: Array
    weight: Array

    @classmethod
    def of(cls, progress: TrialProgress) -> Future:
        """Fit the curve so far."""
        spent_j = progress.spent_j
        recent = [
            at for at, energy_j in enumerate(progress.joules) if energy_j >= _OLDEST * spent_j
        ]
        best = np.maximum.accumulate(progress.accuracy)
        at = spread(recent, progress.joules, _MOST)
        share = np.array(progress.joules)[at] / spent_j
        y = best[at]
        x = _basis(share)  # (bends, evaluations, 2)
        prior = np.diag([1 / _SCALE_NOW**2, 1 / _SCALE_SLOPE**2]) * _SD**2
        precision = np.einsum("gni,gnj->gij", x, x) + prior
        covariance = np.linalg.inv(precision)
        seen = np.einsum("gni,n->gi", x, y)
        mean = np.einsum("gij,gj->gi", covariance, seen)
        apart = np.maximum(y @ y - np.einsum("gi,gi->g", seen, mean), 0.0)
        degrees = _SD_WEIGHT + len(y)
        scatter = _SD_WEIGHT * _SD**2 + apart
        evidence = 0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * degrees * np.log(scatter)
        weight = np.exp(evidence - evidence.max())
        variance = scatter / (degrees - 2)
        return cls(spent_j, mean, covariance, variance, weight / weight.sum())

    def above(self, energies_j: Array, levels: Array) -> float:
        """Probability that the curve comes above a level at any of some energies."""
        x = _basis(energies_j / self.spent_j)
        mean = np.einsum("gni,gi->gn", x, self.mean)
        spread_of = np.einsum("gni,gij,gnj->gn", x, self.covariance, x)
        sd = np.sqrt(self.variance[:, None] * (1 + spread_of))
        likeliest = ((mean - levels) / sd).max(axis=1)
        each = (w * _normal(z) for w, z in zip(self.weight, likeliest, strict=True))
        return min(float(sum(each)), 1.0)


def _basis(share: Array) -> Array:
    """One and the bent energy, of shape (bends, energies, 2)."""
    logs = np.log(share)
    bends = np.where(_BENDS == 0, 1.0, _BENDS)[:, None]
    bent = np.where(_BENDS[:, None] == 0, logs, -np.expm1(-bends * logs) / bends)
    return np.stack([np.ones_like(bent), bent], axis=-1)


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _chance(probability: float) -> str:
    return f"{percent(probability)} probable"
