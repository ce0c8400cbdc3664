"""The drift of a machine: how the energy of an epoch changed between repetitions in a search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from energyopt.analysis.paired_ratio import quantile
from energyopt.core.estimate import Estimate
from energyopt.core.study_record import StudyRecord
from energyopt.search.schedule import params_key

_MIN_FREEDOM = 2
_VAGUE = 1.5  # ratio of the ends of an interval that says nothing


@dataclass(frozen=True, slots=True)
class Drift:
    """The change of the energy of an epoch over a search.

    Attributes:
        factor: Energy at the last trial over that at the first.
        repetitions: Number of repeated trainings that it was seen in.
    """

    factor: Estimate
    repetitions: int

    @property
    def is_certain(self) -> bool:
        """True if its interval excludes no drift."""
        return not self.factor.low <= 1 <= self.factor.high

    @property
    def is_told(self) -> bool:
        """True if its interval says something: there is a drift, or there is none beyond 1.5x."""
        return self.is_certain or self.factor.high < _VAGUE * self.factor.low

    def log_at(self, position: float) -> float:
        """Return the change of log energy at a position in the search, from its middle.

        Args:
            position: 0 for the first trial, 1 for the last.
        """
        return (position - 0.5) * math.log(self.factor.value) if self.is_certain else 0.0


def drift_of(study: StudyRecord) -> Drift | None:
    """Estimate the drift over a search; None with fewer than three repetitions of configurations.

    Log energies of an epoch follow a line over the search, the same for all configurations, each
    about its own mean (least squares, Student's t). An epoch does the same work with any seed, so
    that what changes is the machine or its meter, unlike the energy to the target. Trials in the
    order of their numbers are taken to be evenly spaced.
    """
    groups: dict[object, list[tuple[float, float]]] = {}
    for key, position, log in _epochs(study):
        groups.setdefault(key, []).append((position, log))
    repeated = [group for group in groups.values() if len(group) > 1]
    repetitions = sum(len(group) - 1 for group in repeated)
    freedom = repetitions - 1
    pairs = [pair for group in repeated for pair in _centred(group)]
    squares = math.fsum(x * x for x, _ in pairs)
    if freedom < _MIN_FREEDOM or squares <= 0:
        return None
    slope = math.fsum(x * y for x, y in pairs) / squares
    rest = math.fsum((y - slope * x) ** 2 for x, y in pairs)
    half = quantile(freedom) * math.sqrt(rest / freedom / squares)
    ends = (math.exp(max(min(slope + side * half, 700.0), -700.0)) for side in (0, -1, 1))
    return Drift(Estimate(*ends), repetitions)


def positions(study: StudyRecord) -> dict[int, float]:
    """Return the position of each trial in its search: 0 for the first one, 1 for the last."""
    last = max((trial.number for trial in study.trials), default=0)
    return {trial.number: trial.number / last if last else 0.5 for trial in study.trials}


def _epochs(study: StudyRecord) -> Iterator[tuple[object, float, float]]:
    """Yield configuration, position and log energy of an epoch of each trial."""
    position = positions(study)
    for trial, result in study.results:
        energy_j = result.epoch_j
        if energy_j is not None and energy_j > 0 and math.isfinite(energy_j):
            yield params_key(trial.params), position[trial.number], math.log(energy_j)


def _centred(group: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return pairs about their means."""
    mean_x = math.fsum(x for x, _ in group) / len(group)
    mean_y = math.fsum(y for _, y in group) / len(group)
    return [(x - mean_x, y - mean_y) for x, y in group]
