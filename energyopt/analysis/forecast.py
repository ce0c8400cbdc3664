"""Estimate the cost of a search from one epoch of the default configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from energyopt.core.trial_result import TrialResult

SAVED_SHARES = (0.1, 0.25, 0.5)
"""Shares of a default training that the recommended one may save: nothing is known of it yet."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial of the default configuration, and what it used outside of its training.

    Attributes:
        result: Its record.
        start_j: Energy of the command before it, in J; None if it is not metered.
        other_j: Energy of the trial that it did not book, in J; None if it is not metered.
        start_s: Time before it, in s.
        time_s: Time of its whole job, in s.
    """

    result: TrialResult
    start_j: float | None
    other_j: float | None
    start_s: float
    time_s: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected cost of a search: at least an epoch for each trial, at most all epochs.

    Attributes:
        epoch_j: Training energy of an epoch, in J.
        default_j: Energy of a default training, in J: until its target, else of all its epochs.
        is_to_target: Whether the trial reached the target, so that the former is known.
        least_j: Energy of the search if each trial ends after an epoch, in J.
        most_j: Energy of the search if each trains all its epochs, in J.
        other_j: The part of both that no trial books, in J; None if it is not metered.
        least_s: Time of the search, like `least_j`, in s.
        most_s: Time of the search, like `most_j`, in s.
    """

    epoch_j: float
    default_j: float
    is_to_target: bool
    least_j: float
    most_j: float
    other_j: float | None
    least_s: float
    most_s: float

    def trainings(self, saved_share: float) -> tuple[int, int]:
        """Return after how many trainings the search pays back, at least and at most.

        Args:
            saved_share: The share of a default training that each of them saves.
        """
        saved_j = saved_share * self.default_j
        return math.ceil(self.least_j / saved_j), math.ceil(self.most_j / saved_j)


def forecast(
    tried: Tried, *, epochs: float, n_trials: int, n_jobs: int = 1, budget_j: float | None = None
) -> Forecast | None:
    """Return the expected cost of a search.

    Each trial is taken to cost what the default one does, which is all that is known.

    Args:
        tried: The default configuration, trained for about an epoch.
        epochs: The most epochs of a trial.
        n_trials: Number of trials.
        n_jobs: Number of trials at a time.
        budget_j: Energy after which no trial begins, in J; None for any.

    Returns:
        None if the trial trained nothing.
    """
    result = tried.result
    n_epochs = max((checkpoint.epoch for checkpoint in result.checkpoints), default=0.0)
    if n_epochs <= 0 or result.training_j <= 0:
        return None
    epoch_j = result.training_j / n_epochs
    evaluated = result.booked("evaluation")
    more_j = (epoch_j + evaluated.total_j / n_epochs) * max(epochs - n_epochs, 0.0)
    more_s = (result.booked("training").time_s + evaluated.time_s) / n_epochs
    more_s *= max(epochs - n_epochs, 0.0)
    to_target_j = result.energy_to_target_j
    other_j = None
    if tried.start_j is not None and tried.other_j is not None:
        other_j = tried.start_j + n_trials * tried.other_j
    least_j = n_trials * result.spent_j + (other_j or 0.0)
    most_j = least_j + n_trials * more_j
    return Forecast(
        epoch_j=epoch_j,
        default_j=epoch_j * max(epochs, n_epochs) if to_target_j is None else to_target_j,
        is_to_target=to_target_j is not None,
        least_j=least_j,
        most_j=most_j if budget_j is None else max(min(most_j, budget_j), least_j),
        other_j=other_j,
        least_s=tried.start_s + n_trials * tried.time_s / n_jobs,
        most_s=tried.start_s + n_trials * (tried.time_s + more_s) / n_jobs,
    )
