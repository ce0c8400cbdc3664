"""Expected hypervolume improvement of (place of the score, log energy), in closed form.

The hypervolume that a point adds to a front is, over all levels of error, how much cheaper the
point reaches the level than the front does. With independent normal predictions of places and of
log energy its expectation (EHVI; Emmerich et al. 2006) is

    integral over levels of P(level reached) * E[max(front's log energy - log energy, 0)]

which is summed over 24 levels; no sampling is needed. Places are on the metric's scale
(`core.metric.Scale`), of an accuracy the negative log error.
Also here: when trials are evaluated next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import ndtr

from energyopt.core.metric import Scale
from energyopt.search.curve_observations import finite
from energyopt.search.encoding import Array
from energyopt.search.gp import expected_improvement
from energyopt.search.schedule import TrialSnapshot

_N_LEVELS = 24
_HORIZON_EXPONENTS = np.linspace(0.0, 1.0, 10)  # 10 horizons, geometrically spaced
_SAME_SHARE = 0.02  # evaluations closer than this are one: large batches overshoot their marks
_MAX_AHEAD = 1000  # evaluations to come that are listed
_TINY_J = 1e-12  # keeps logarithms finite


class Front(NamedTuple):
    """The energy that each level of the metric costs so far.

    Attributes:
        places: The levels, evenly spaced on the metric's scale: of an accuracy, halving the error
            counts the same anywhere.
        log_j: Log energy of the cheapest training that reached each level, or of an expensive one.
    """

    places: Array
    log_j: Array

    @classmethod
    def of(cls, observed: Sequence[TrialSnapshot], scale: Scale, worst_j: float) -> Self | None:
        """Return the front of a study; None where nothing can be gained.

        Args:
            observed: The study's trials.
            scale: The scale of the metric.
            worst_j: Energy that counts for a level that was not reached, in J.
        """
        curves = [trial for trial in observed if finite(trial.accuracy)]
        bottom = min((finite(trial.accuracy)[0] for trial in curves), default=scale.worst)
        if bottom >= scale.best:
            return None
        edges = np.linspace(scale.place(bottom), scale.place(scale.best), _N_LEVELS + 1)
        places = (edges[1:] + edges[:-1]) / 2
        scores = scale.limit - np.exp(-places)
        log_j = np.full(_N_LEVELS, math.log(max(worst_j, _TINY_J)))
        for trial in curves:
            logs = np.log(np.maximum(trial.joules, _TINY_J))
            for level, score in enumerate(scores):
                reached = logs[np.asarray(trial.accuracy) >= score]
                if len(reached):
                    log_j[level] = min(log_j[level], float(reached[0]))
        return cls(places, log_j)

    def improvement(self, place: Array, place_sd: Array, log_j: Array, log_j_sd: Array) -> Array:
        """Return the expected decrease of the log energy to a level, averaged over all levels.

        This is the expected growth of the hypervolume of (place, log energy), divided by the range
        of places.

        Args:
            place: Predicted places of scores on the metric's scale.
            place_sd: Their standard deviations.
            log_j: Predicted log energies.
            log_j_sd: Their standard deviations.
        """
        improvement = np.zeros(np.broadcast_shapes(place.shape, log_j.shape))
        for level, level_j in zip(*self, strict=True):
            reached = ndtr((place - level) / np.maximum(place_sd, 1e-9))
            improvement += reached * expected_improvement(level_j - log_j, log_j_sd)
        return improvement / len(self.places)


def evaluations(observed: Sequence[TrialSnapshot], max_epochs: float) -> Array:
    """Return epochs at which trials are evaluated: those seen, continued at the last distance."""
    past: list[float] = []
    for epochs in sorted({epochs for trial in observed for epochs in trial.epochs}):
        if not past or epochs > (1 + _SAME_SHARE) * past[-1]:
            past.append(epochs)
    last, gap = (past[-1], past[-1] - (past[-2] if len(past) > 1 else 0.0)) if past else (0.0, 1.0)
    continued = np.arange(last + gap, max_epochs * (1 + _SAME_SHARE), gap)
    return np.array([*past, *continued[:_MAX_AHEAD], max_epochs])


def ahead(marks: Array, trained_epochs: float) -> Array:
    """Return some of the evaluations to come, fewer the more distant they are.

    Args:
        marks: Epochs at evaluations, rising.
        trained_epochs: Epochs trained before the next evaluation.
    """
    remaining = marks[marks > trained_epochs * (1 + _SAME_SHARE)]
    if not len(remaining):
        remaining = np.array([trained_epochs + (marks[-1] - marks[-2] if len(marks) > 1 else 1.0)])
    indices = (len(remaining) ** _HORIZON_EXPONENTS).round().astype(int) - 1
    picked: Array = remaining[indices]
    return picked


def on_front(observed: Sequence[TrialSnapshot]) -> list[Mapping[str, Any]]:
    """Return the hyperparameters of trials on the front, the best first."""
    points = sorted(
        (joules, -score, trial.number)
        for trial in observed
        for joules, score in zip(trial.joules, trial.accuracy, strict=True)
        if math.isfinite(score)
    )
    best, numbers = math.inf, []
    for _, loss, number in points:
        if loss < best:
            best = loss
            numbers.append(number)
    params = {trial.number: trial.params for trial in observed}
    return [params[number] for number in dict.fromkeys(reversed(numbers))]
