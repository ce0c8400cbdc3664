"""The energy of a search, and the number of training runs after which it has paid back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from energyopt.analysis.noise_model import NoiseModel
from energyopt.core.estimate import Estimate
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Purpose
from energyopt.search.schedule import params_key

CONFIRMATION = "confirmation"
OTHER = "other"
"""The energy of a study's commands that no training booked."""

_PRECISION = 0.01  # of the median of 4,000 draws, in widths of their interval: 2 standard errors


@dataclass(frozen=True, slots=True)
class Savings:
    """The energy that one configuration saves per training run, compared with the default.

    Attributes:
        default: Energy to the target of a typical training with the default configuration, in J.
        other: The same of the other one.
        saved: Their difference, in J; negative if the other one is more expensive.
        ratio: Energy of the other one over that of the default.
        basis: What the intervals rest on, in words.
        single: True if each energy is that of one training run with one seed.
    """

    default: Estimate
    other: Estimate
    saved: Estimate
    ratio: Estimate
    basis: str
    single: bool = False

    @property
    def default_j(self) -> float:
        """Energy of the default configuration, in J."""
        return self.default.value

    @property
    def other_j(self) -> float:
        """Energy of the other one, in J."""
        return self.other.value

    @property
    def confidence(self) -> str:
        """The confidence in the intervals, in words."""
        return f"with 95 % confidence ({self.basis})"

    @property
    def share(self) -> Estimate:
        """The share of the default's energy that is saved."""
        return Estimate(1 - self.ratio.value, 1 - self.ratio.high, 1 - self.ratio.low)

    @property
    def value_j(self) -> float:
        """The difference, in J; negative if the other one is more expensive."""
        return self.saved.value

    @property
    def interval_j(self) -> tuple[float, float]:
        """The 95 % interval of the difference, in J."""
        return self.saved.low, self.saved.high

    def break_even(self, search_j: float) -> tuple[float, float]:
        """Return the interval of training runs until a search has paid back; infinite for never."""
        latest, soonest = (
            search_j / saved_j if saved_j > 0 else math.inf for saved_j in self.interval_j
        )
        return soonest, latest

    def net_j(self, search_j: float, trainings: float) -> tuple[float, float, float]:
        """Return the savings minus the search energy, in J: expected, lowest, highest.

        Args:
            search_j: Energy of the search, in J.
            trainings: Number of training runs.
        """
        net_j, least_j, most_j = (
            trainings * saved_j - search_j for saved_j in (self.value_j, *self.interval_j)
        )
        return net_j, least_j, most_j


def saving(noise: NoiseModel, default: TrialRecord, candidate: TrialRecord) -> Savings | None:
    """Compare a configuration with the default one; None if they are the same."""
    base, key = params_key(default.params), params_key(candidate.params)
    if base == key:
        return None
    seeds = noise.paired_seeds(key, base)
    paired = f"; {seeds} paired seeds" if seeds > 1 else ""
    return Savings(
        default=noise.energy_j(base),
        other=noise.energy_j(key),
        saved=_settled(noise.saved_j(key, base)),
        ratio=noise.ratio(key, base),
        basis=noise.basis + paired,
        single=noise.trainings(base) == noise.trainings(key) == 1,
    )


def _settled(saved: Estimate) -> Estimate:
    """Return a saving of 0 in place of one that is smaller than the precision of its draws."""
    is_none = abs(saved.value) < _PRECISION * (saved.high - saved.low)
    return replace(saved, value=0.0) if is_none else saved


def energy_by_purpose_j(study: StudyRecord) -> dict[str, float]:
    """Return the energy that a study used by purpose, in J."""
    results = [trial.result for trial in study.trials if trial.result is not None]
    purposes: tuple[Purpose, ...] = get_args(Purpose)
    energies_j: dict[str, float] = {
        purpose: sum(result.booked(purpose).total_j for result in results) for purpose in purposes
    }
    return {**energies_j, CONFIRMATION: study.confirmation_j, OTHER: study.other_j or 0.0}


def energy_by_outcome_j(study: StudyRecord, outcomes: Mapping[int, str | None]) -> dict[str, float]:
    """Return the energy that a study used by outcome of its trials, in J.

    An open trial has None as its outcome, and counts by its state.
    """
    energies_j: dict[str, float] = {}
    for trial in study.trials:
        if trial.result is not None:
            outcome = outcomes[trial.number] or str(trial.state)
            energies_j[outcome] = energies_j.get(outcome, 0.0) + trial.result.spent_j
    return {**energies_j, CONFIRMATION: study.confirmation_j, OTHER: study.other_j or 0.0}
