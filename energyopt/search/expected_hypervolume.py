"""What accuracy costs in a study by now, and when its trainings are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import ndtr

from energyopt.search.curve_observations import accuracy_at, finite, place
from energyopt.search.encoding import Array
from energyopt.search.gp import expected_above
from energyopt.search.schedule import TrialSnapshot

_LEVELS = 24
_AHEAD = np.linspace(0.0, 1.0, 10)
_SAME = 0.02  # evaluations that differ by such a share are the same: batches overshoot them
_MOST_AHEAD = 1000
_TINY_J = 1e-12


class Front(NamedTuple):
    """What levels of accuracy cost by now.

    Attributes:
        places: Of the levels: equally far apart, so that halving the error counts alike anywhere.
        log_j: Log energy of the cheapest training that reached each, or of a dear one.
    """

    places: Array
    log_j: Array

    @classmethod
    def of(cls, observed: Sequence[TrialSnapshot], worst_j: float) -> Self | None:
        """The front of a study; None where no accuracy can be gained.

        Args:
            observed: Its trials.
            worst_j: What a level that was not reached counts as, in J.
        """
        curves = [trial for trial in observed if finite(trial.accuracy)]
        bottom = min((finite(trial.accuracy)[0] for trial in curves), default=0.0)
        if bottom >= 1:
            return None
        edges = np.linspace(place(bottom), place(1.0), _LEVELS + 1)
        places = (edges[1:] + edges[:-1]) / 2
        accuracies = accuracy_at(places)
        log_j = np.full(_LEVELS, math.log(max(worst_j, _TINY_J)))
        for trial in curves:
            logs = np.log(np.maximum(trial.joules, _TINY_J))
            for at, accuracy in enumerate(accuracies):
                reached = logs[np.asarray(trial.accuracy) >= accuracy]
                if len(reached):
                    log_j[at] = min(log_j[at], float(reached[0]))
        return cls(places, log_j)

    def grown(self, accuracy: Array, accuracy_sd: Array, log_j: Array, log_j_sd: Array) -> Array:
        """Expected fall of the log energy to an accuracy, over all levels, by each of some points.

        That is the growth of the hypervolume of (log error, log energy), in shares of the first.

        Args:
            accuracy: Places of the accuracies that are expected.
            accuracy_sd: Their standard deviations.
            log_j: Log energies.
            log_j_sd: Their standard deviations.
        """
        grown = np.zeros(np.broadcast_shapes(accuracy.shape, log_j.shape))
        for level, level_j in zip(*self, strict=True):
            reached = ndtr((accuracy - level) / np.maximum(accuracy_sd, 1e-9))
            grown += reached * expected_above(level_j - log_j, log_j_sd)
        return grown / len(self.places)


def evaluations(observed: Sequence[TrialSnapshot], most: float) -> Array:
    """Epochs at which trials are evaluated: those that were seen, and on in the last distance."""
    seen: list[float] = []
    for epochs in sorted({at for trial in observed for at in trial.epochs}):
        if not seen or epochs > (1 + _SAME) * seen[-1]:
            seen.append(epochs)
    last, gap = (seen[-1], seen[-1] - (seen[-2] if len(seen) > 1 else 0.0)) if seen else (0.0, 1.0)
    beyond = np.arange(last + gap, most * (1 + _SAME), gap)
    return np.array([*seen, *beyond[:_MOST_AHEAD], most])


def ahead(marks: Array, begun: float) -> Array:
    """Some of the evaluations to come, the more distant the fewer.

    Args:
        marks: Epochs at evaluations, rising.
        begun: Epochs that the next one comes after, or at.
    """
    left = marks[marks > begun * (1 + _SAME)]
    if not len(left):
        left = np.array([begun + (marks[-1] - marks[-2] if len(marks) > 1 else 1.0)])
    picked: Array = left[(len(left) ** _AHEAD).round().astype(int) - 1]
    return picked


def on_front(observed: Sequence[TrialSnapshot]) -> list[Mapping[str, Any]]:
    """Setups that reached some accuracy with the least energy, the most accurate first."""
    points = sorted(
        (joules, -accuracy, trial.number)
        for trial in observed
        for joules, accuracy in zip(trial.joules, trial.accuracy, strict=True)
        if math.isfinite(accuracy)
    )
    best, numbers = math.inf, []
    for _, error, number in points:
        if error < best:
            best = error
            numbers.append(number)
    params = {trial.number: trial.params for trial in observed}
    return [params[number] for number in dict.fromkeys(reversed(numbers))]
