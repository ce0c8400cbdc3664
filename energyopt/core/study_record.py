"""The records of a study: what is told of a trial, its trials, and what was confirmed.

All numbers are SI with the unit as suffix (`_j`, `_s`, `_w`); a number without suffix
has no dimension. What was not measured is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from energyopt.core.report_settings import NONE, ReportSettings
from energyopt.core.trial_result import Provenance, TrialResult


@dataclass(frozen=True, slots=True)
class Metric:
    """One objective of a study: its name (with the unit as suffix) and its direction."""

    name: str
    direction: Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job tells its study, whatever app it came from.

    Attributes:
        state: "complete" with values, "pruned" or "failed" without; "paused" if it can go on.
        values: One number an objective.
        constraints: Violations by name; all <= 0 means feasible.
        attributes: Plain data to show beside the trial.
        reason: Why it was stopped or failed, in words.
        result: The whole record, where the job was one of ours.
    """

    state: Literal["complete", "pruned", "failed", "paused"]
    values: tuple[float, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    result: TrialResult | None = None

    def __post_init__(self) -> None:
        if self.state == "complete" and not all(math.isfinite(v) for v in self.values):
            raise ValueError(f"values={self.values} are not finite; report such a trial as failed")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the record is kept beside it."""
        return {
            "state": self.state,
            "values": list(self.values),
            "constraints": dict(self.constraints),
            "attributes": dict(self.attributes),
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], result: TrialResult | None) -> Outcome:
        """Read what `to_dict` wrote.

        Raises:
            KeyError: If something is missing.
        """
        return cls(
            state=data["state"],
            values=tuple(data["values"]),
            constraints=data["constraints"],
            attributes=data["attributes"],
            reason=data["reason"],
            result=result,
        )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as the store remembers it.

    Attributes:
        number: Its number in the study, from 0.
        state: "complete", "pruned", "failed", "running", "paused" or "waiting".
        params: The values that the sampler chose, by config key.
        overrides: The same as command-line words that set them.
        values: What was told, one number an objective; empty if not complete.
        feasible: Whether all constraints held.
        reason: Why it was stopped or failed, in words.
        default: Whether it is the default setup, trained for comparison.
        result: The whole record; None where the trial came from another app or never started.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "running", "paused", "waiting"]
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    values: tuple[float, ...] = ()
    feasible: bool = True
    reason: str = ""
    default: bool = False
    result: TrialResult | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A training of a study's setup with another seed, to tell what is luck; no trial of it.

    Attributes:
        number: Its number among those of the study, from 0.
        trial: Number of the trial whose setup it is.
        seed: Its seed.
        overrides: The command-line words that it was trained with, the seed included.
        state: "complete", "failed", "lost" (interrupted or killed), or "running".
        reason: Why it failed or was lost, in words.
        result: Its record; None if it never started.
        test_accuracy: Of the model as it ended; None if its paradigm tests none.
    """

    number: int
    trial: int
    seed: int
    overrides: tuple[str, ...]
    state: Literal["complete", "failed", "lost", "running"]
    reason: str = ""
    result: TrialResult | None = None
    test_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as the store remembers it.

    Attributes:
        name: Its name.
        metrics: The objectives, in the order of the told values.
        overrides: The fixed command-line words that all its trials share.
        sweep: The words that span the search space, such as "lr=interval(0,1)".
        target: Accuracy to reach; None for another app's study.
        trials: All trials, by number.
        confirmations: Trainings of its setups with other seeds, by number.
        space: Optuna's distributions of the searched keys that had one only.
        plans: What its last run was told of the time after the search.
    """

    name: str
    metrics: tuple[Metric, ...]
    overrides: tuple[str, ...]
    sweep: tuple[str, ...]
    target: float | None
    trials: tuple[TrialRecord, ...]
    confirmations: tuple[Confirmation, ...] = ()
    space: Mapping[str, Any] = field(default_factory=dict)
    plans: ReportSettings = NONE

    @property
    def results(self) -> tuple[tuple[TrialRecord, TrialResult], ...]:
        """The trials whose curves may be compared, with their records."""
        return tuple(
            (trial, trial.result)
            for trial in self.trials
            if trial.result is not None and trial.result.valid
        )

    @property
    def provenance(self) -> Provenance | None:
        """Where the joules of all trials come from; None before the first."""
        return next((t.result.start.provenance for t in self.trials if t.result), None)

    @property
    def search_energy_j(self) -> float:
        """All energy that the study burnt, in J: failed, stopped and confirming included."""
        trials_j = sum(t.result.spent_j for t in self.trials if t.result is not None)
        return trials_j + self.confirmation_j

    @property
    def confirmation_j(self) -> float:
        """What confirming its setups burnt, in J."""
        return sum(c.result.spent_j for c in self.confirmations if c.result is not None)
