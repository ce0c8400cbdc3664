"""Drift of the energy of a step while a board warms up, seen by one power limit measured again.

A warm chip leaks more current, so a limit that is tried first, on a cold board, seems cheap. The
energy of a step at one limit is fitted over the time t since the training began by

    e(t) = a + b (1 - exp(-(t - t_first) / tau)),

the response of a thermal mass with one time constant to a step of power; by a line where the limit
was measured twice only. What was measured at t at any limit is multiplied by e(t_last) / e(t), so
that all limits are compared on the warm board on which the rest of the training runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from energyopt.core.conditions import ProfilePoint

_MIN_FOR_CURVE = 3
# Time constants that are tried, as parts of the time between the first and the last measurement.
_TAUS = tuple(2 ** (k / 4) for k in range(-24, 9))


@dataclass(frozen=True, slots=True)
class Drift:
    """How the energy of a step at one limit changes with the time of the training.

    Attributes:
        first_s: Time of the first measurement, in s.
        last_s: Time of the last one, in s.
        first_j: Energy of a step at the first one, in J.
        rise_j: What it gains until the last one, in J.
        tau_s: The time constant, in s; infinite for a line.
    """

    first_s: float = 0.0
    last_s: float = 0.0
    first_j: float = 1.0
    rise_j: float = 0.0
    tau_s: float = math.inf

    @property
    def ratio(self) -> float:
        """Energy of a step at the last measurement, as a multiple of that at the first one."""
        return 1 + self.rise_j / self.first_j

    def corrected(self, point: ProfilePoint) -> ProfilePoint:
        """Return what a measurement would have been on the warm board."""
        if point.at_s is None:
            return point
        now_j = self.first_j + self.rise_j * self._share(point.at_s)
        return replace(point, step_j=point.step_j * (self.first_j + self.rise_j) / now_j)

    def _share(self, at_s: float) -> float:
        """Return the part of the rise that has happened at a time; not beyond what was seen."""
        elapsed_s = min(max(at_s, self.first_s), self.last_s) - self.first_s
        whole_s = self.last_s - self.first_s
        return 0.0 if whole_s <= 0 else _response(elapsed_s, whole_s, self.tau_s)


def fit_drift(points: Sequence[ProfilePoint]) -> Drift:
    """Fit the drift to the measurements of one limit, by least squares; none without two."""
    times_s = [point.at_s for point in points if point.at_s is not None]
    energies_j = [point.step_j for point in points if point.at_s is not None]
    if not times_s or max(times_s) <= min(times_s):
        return Drift()
    first_s, whole_s = min(times_s), max(times_s) - min(times_s)
    taus = [math.inf, *(whole_s * share for share in _TAUS)]
    best = (math.inf, Drift())
    for tau_s in taus if len(times_s) >= _MIN_FOR_CURVE else taus[:1]:
        shares = [_response(at_s - first_s, whole_s, tau_s) for at_s in times_s]
        first_j, rise_j, residual = _fit_line(shares, energies_j)
        if residual < best[0] and min(first_j, first_j + rise_j) > 0:
            best = (residual, Drift(first_s, first_s + whole_s, first_j, rise_j, tau_s))
    return best[1]


def _response(elapsed_s: float, whole_s: float, tau_s: float) -> float:
    """Return the part of the rise over `whole_s` that has happened after `elapsed_s`."""
    if math.isinf(tau_s):
        return elapsed_s / whole_s
    return math.expm1(-elapsed_s / tau_s) / math.expm1(-whole_s / tau_s)


def _fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Return intercept, slope and residual sum of squares of a least-squares line."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    pairs = [(a - mean_x, b - mean_y) for a, b in zip(x, y, strict=True)]
    slope = math.fsum(a * b for a, b in pairs) / math.fsum(a * a for a, _ in pairs)
    residual = math.fsum((b - slope * a) ** 2 for a, b in pairs)
    return mean_y - slope * mean_x, slope, residual
