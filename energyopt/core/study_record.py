"""The records of a study: outcomes, trials and confirmations.

All numbers are SI with the unit as suffix (`_j`, `_s`, `_w`); a number without suffix
has no dimension. What was not measured is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from energyopt.core import default_setup
from energyopt.core.command_energy import CommandEnergy
from energyopt.core.default_setup import DEFAULT, DefaultSetup
from energyopt.core.energy import Energy, total
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.report_settings import NONE, ReportSettings
from energyopt.core.trial_result import Provenance, TrialResult

_ROUNDING = 1e-6  # share of a sum


@dataclass(frozen=True, slots=True)
class Metric:
    """One objective of a study: its name (with the unit as suffix) and its direction."""

    name: str
    direction: Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job for its study, from our own or another app.

    Attributes:
        state: "complete" with values, "pruned" or "failed" without; "paused" if it can resume.
        values: One number for each objective; infinite only where a job of another app returned it.
        constraints: Violations by name; all <= 0 means feasible.
        attributes: Plain data to show with the trial.
        reason: Why it was stopped or failed.
        result: The whole record, if the job was of our own app.
        traceback: The lines of the user's code that raised, to be shown; not stored.
        reports: Values of the one objective that it reported on its way, in their order.
    """

    state: Literal["complete", "pruned", "failed", "paused"]
    values: tuple[float, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    result: TrialResult | None = None
    traceback: str = field(default="", compare=False)
    reports: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.state == "complete" and any(map(math.isnan, self.values)):
            raise ValueError(f"values={self.values} hold NaN; report such a trial as failed")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the record is stored separately."""
        return {
            "state": self.state,
            "values": list(self.values),
            "constraints": dict(self.constraints),
            "attributes": dict(self.attributes),
            "reason": self.reason,
            **({"reports": list(self.reports)} if self.reports else {}),
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
            reports=tuple(data.get("reports", ())),
        )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A stored trial.

    Attributes:
        number: Its number in the study, from 0.
        state: "complete", "pruned", "failed", "running", "paused" or "waiting".
        params: The values that the sampler chose, by config key.
        overrides: The overrides that set these values.
        values: Objective values; empty if not complete.
        feasible: Whether all constraints held.
        reason: Why it was stopped or failed.
        default: Whether it stands for the user's default configuration, trained for comparison.
        nearest: Whether it is only the nearest to the default in the space.
        result: The whole record; None if the trial is of another app or never started.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "running", "paused", "waiting"]
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    values: tuple[float, ...] = ()
    feasible: bool = True
    reason: str = ""
    default: bool = False
    nearest: bool = False
    result: TrialResult | None = None

    @property
    def default_mark(self) -> str:
        """Its mark: "default", "nearest to the default", or nothing."""
        return default_setup.mark(default=self.default, nearest=self.nearest)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A training of a trial's configuration with another seed, to measure seed noise; not a trial.

    Attributes:
        number: Its number among the confirmations of the study, from 0.
        trial: Number of the trial whose configuration it repeats.
        seed: Its seed.
        overrides: The overrides of the training, with the seed.
        state: "complete", "failed", "lost" (interrupted or killed), or "running".
        reason: Why it failed or was lost.
        result: Its record; None if it never started.
        test_accuracy: The metric on the test split; None if its paradigm has no test.
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
    """A stored study.

    Attributes:
        name: Its name.
        metrics: The objectives, in the order of the values.
        overrides: The fixed overrides that all its trials share.
        sweep: The overrides that span the search space, such as "lr=interval(0,1)".
        target: Value of the metric to reach; None for another app's study.
        trials: All trials, by number.
        confirmations: Repetitions of its configurations with other seeds, by number.
        space: Optuna's distributions of the searched keys that have a single one.
        plans: The report settings of its last run.
        app: The command of the other app whose jobs report to it, such as "python train.py"; None
            for our own app, and for returned values.
        commands: The energy of the commands that worked on it, by number.
        default_setup: How the trial that stands for the user's default differs from it.
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
    app: str | None = None
    commands: tuple[CommandEnergy, ...] = ()
    default_setup: DefaultSetup = DEFAULT

    @property
    def results(self) -> tuple[tuple[TrialRecord, TrialResult], ...]:
        """The trials whose curves may be compared, with their records."""
        return tuple(
            (trial, trial.result)
            for trial in self.trials
            if trial.result is not None and trial.result.valid
        )

    @property
    def monitor(self) -> Monitor:
        """The metric of its trials; the accuracy before the first one."""
        return next((t.result.monitor for t in self.trials if t.result), ACCURACY)

    @property
    def provenance(self) -> Provenance | None:
        """Where the joules of all trials come from; None before the first trial."""
        return next((t.result.start.provenance for t in self.trials if t.result), None)

    @property
    def search_energy_j(self) -> float:
        """All energy of the commands on the study, in J, as far as it was metered.

        It is that of all trials and confirmations, failed and stopped ones too, and `other`.
        """
        trials_j = sum(t.result.spent_j for t in self.trials if t.result is not None)
        return trials_j + self.confirmation_j + (self.other_j or 0.0)

    @property
    def other(self) -> Energy | None:
        """The energy of its commands that no training booked; None if none was metered."""
        parts = [command.other for command in self.commands if command.other is not None]
        return total(parts) if parts else None

    @property
    def is_other_known(self) -> bool:
        """True if the energy of all commands is known; commands of older versions have none."""
        metered = [command for command in self.commands if command.energy is not None]
        counted = total(command.trainings for command in metered)
        trainings_j = self.search_energy_j - (self.other_j or 0.0)
        is_complete = counted.total_j >= trainings_j * (1 - _ROUNDING)
        return bool(metered) and is_complete and len(metered) == len(self.commands)

    @property
    def other_j(self) -> float | None:
        """Return the same in J; None if unknown."""
        return None if self.other is None else self.other.total_j

    @property
    def confirmation_j(self) -> float:
        """Energy used by confirmations, in J."""
        return sum(c.result.spent_j for c in self.confirmations if c.result is not None)
