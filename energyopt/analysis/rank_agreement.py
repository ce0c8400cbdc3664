"""Agreement of two machines on the ranks of configurations: Kendall's tau with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energyopt.analysis.paired_ratio import CONFIDENCE

_DRAWS = 2000
_LEAST = 4  # items: of three, tau has four values, and an interval says nothing


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Kendall's tau-b of two rankings.

    Attributes:
        tau: 1 for the same order, -1 for the reverse; None if one ranking ties all.
        low: Lower end of its 95 % interval; None without one.
        high: Upper end.
        n: Number of items that both rank.
    """

    tau: float | None
    low: float | None
    high: float | None
    n: int


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> RankAgreement:
    """Compute Kendall's tau-b of two rankings of the same items, with a bootstrap interval.

    The interval is that of the percentiles of 2,000 draws of items with replacement, from a fixed
    seed, so that the same numbers give the same interval. A pair of an item with its own copy is
    counted in no draw: it would be tied in both rankings.

    tau-b = sum of s1 x s2 over pairs / sqrt(sum of s1^2 x sum of s2^2), with the signs s of the
    differences of a pair. Source: M. G. Kendall, "The treatment of ties in ranking problems",
    Biometrika 33, 1945.

    Args:
        first: The value of each item in the first ranking; infinite ones are tied.
        second: The value of each item in the second.
    """
    signs = [_signs(values) for values in (first, second)]
    products = [signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2]
    count = len(first)

    def tau_of(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        joint, *squares = (float(weights @ product @ weights) for product in products)
        square = math.prod(squares)
        return joint / math.sqrt(square) if square > 0 else math.nan

    tau = tau_of(np.ones(count))
    generator = np.random.default_rng(0)
    draws = generator.multinomial(count, np.full(count, 1 / count), _DRAWS) if count else ()
    taus = [drawn for weights in draws if not math.isnan(drawn := tau_of(weights.astype(float)))]
    if math.isnan(tau) or count < _LEAST or not taus:
        return RankAgreement(None if math.isnan(tau) else tau, None, None, count)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(np.quantile(taus, share)) for share in (tail, 1 - tail))
    return RankAgreement(tau, low, high, count)


def _signs(values: Sequence[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the sign of the difference of each pair; 0 for two infinite values."""
    column = np.asarray(values, dtype=float)
    return (column[:, None] > column).astype(float) - (column[:, None] < column)
