"""The energy of a search, and the number of training runs after which it has paid back."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from energyopt.analysis.confirmation_stats import Confirmed, confirmed_setups
from energyopt.analysis.paired_ratio import NORMAL_QUANTILE, half_width
from energyopt.analysis.pareto import Hit
from energyopt.analysis.seed_noise import energies_by_setup, noise_among
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Purpose
from energyopt.search.schedule import params_key

CONFIRMATION = "confirmation"
OTHER = "other"
"""The energy of a study's commands that no training booked."""

_TOO_SMALL = "and too small: repeats of small trainings varied by a fifth to a third"


@dataclass(frozen=True, slots=True)
class Savings:
    """The energy that one configuration saves per training run, compared with the default.

    Attributes:
        default_j: Energy to the target of the default configuration, in J.
        other_j: Energy to the target of the other one, in J.
        half_j: Half the 95 % interval of their difference, in J.
        basis: The basis of the interval, in words.
        assumed: True if the seed noise is assumed, because nothing was repeated.
        single: True if each energy is that of one training run with one seed.
    """

    default_j: float
    other_j: float
    half_j: float
    basis: str
    assumed: bool = False
    single: bool = False

    @property
    def confidence(self) -> str:
        """The confidence in the interval, in words; an assumed noise gives none."""
        if self.assumed:
            return f"by {self.basis} {_TOO_SMALL}"
        return f"with 95 % confidence, by {self.basis}"

    @property
    def value_j(self) -> float:
        """The difference, in J; negative if the other one is more expensive."""
        return self.default_j - self.other_j

    @property
    def interval_j(self) -> tuple[float, float]:
        """The 95 % interval of the difference, in J."""
        return self.value_j - self.half_j, self.value_j + self.half_j

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


def saving(
    study: StudyRecord, reaching: Sequence[Hit], default: TrialRecord, candidate: TrialRecord
) -> Savings:
    """Compare a configuration with the default one, by equal seeds if there are any."""
    target = reaching[0][1].target
    confirmed = {
        params_key(setup.trial.params): setup
        for setup in confirmed_setups(study)
        if setup.target == target and not setup.missed
    }
    pair = [confirmed.get(params_key(trial.params)) for trial in (default, candidate)]
    if pair[0] is not None and pair[1] is not None:
        savings = _paired(pair[0], pair[1])
        if savings is not None:
            return savings
    return _unpaired(reaching, default, candidate)


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


def _paired(default: Confirmed, candidate: Confirmed) -> Savings | None:
    seeds = sorted(default.energies_j.keys() & candidate.energies_j.keys())
    if len(seeds) < 2:  # noqa: PLR2004  # one value has no spread
        return None
    pairs = [(default.energies_j[seed], candidate.energies_j[seed]) for seed in seeds]
    return Savings(
        default_j=statistics.fmean(default_j for default_j, _ in pairs),
        other_j=statistics.fmean(candidate_j for _, candidate_j in pairs),
        half_j=half_width([default_j - candidate_j for default_j, candidate_j in pairs]),
        basis=f"{len(seeds)} paired seeds",
    )


def _unpaired(reaching: Sequence[Hit], default: TrialRecord, candidate: TrialRecord) -> Savings:
    """Compare by the trials, given the seed noise.

    The noise is the standard deviation of the log energy. To first order, that of an energy E is
    noise * E, and that of a mean of n is noise * E / sqrt(n); the variances of both add up.
    """
    energies = energies_by_setup(reaching)
    noise, is_measured = noise_among(energies.values())
    pair = [energies[params_key(trial.params)] for trial in (default, candidate)]
    default_j, other_j = (e[0] if len(e) == 1 else statistics.geometric_mean(e) for e in pair)
    variance = (default_j**2 / len(pair[0]) + other_j**2 / len(pair[1])) * noise**2
    source = "of its repetitions" if is_measured else "assumed"
    return Savings(
        default_j=default_j,
        other_j=other_j,
        half_j=NORMAL_QUANTILE * math.sqrt(variance),
        basis=f"a seed noise of {100 * noise:.2g} %, {source}",
        assumed=not is_measured,
        single=max(map(len, pair)) == 1,
    )
