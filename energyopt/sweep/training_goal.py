"""The goal of the trainings of another app's study, declared by its `Run` or its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from energyopt.core.metric import Mode, Monitor
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialStart
from energyopt.errors import ConfigError
from energyopt.sweep.options import Options

_KEYS = ("monitor", "mode", "target", "epochs")


@dataclass(frozen=True, slots=True)
class TrainingGoal:
    """The metric that the jobs of a study report, its target, and how long they train at most.

    Attributes:
        monitor: The metric.
        target: Value of the metric to reach.
        epochs: Maximum number of epochs of a trial.
    """

    monitor: Monitor
    target: float
    epochs: float

    @classmethod
    def stated(cls, options: Options) -> TrainingGoal | None:
        """Return the goal that the keys of `hydra.sweeper` state; None unless all of them do.

        Raises:
            ConfigError: If `mode` is neither min nor max.
        """
        name, mode, target, epochs = (getattr(options, key) for key in _KEYS)
        monitor = Monitor(name or "", mode or "min")  # checks the mode
        if None in (name, mode, target, epochs):
            return None
        return cls(monitor, float(target), float(epochs))

    @classmethod
    def declared(cls, start: TrialStart, options: Options) -> TrainingGoal:
        """Return the goal that the `Run` of the default configuration declared.

        Raises:
            ConfigError: If the config states something else, or neither states the epochs.
        """
        if not start.epochs and options.epochs is None:
            raise ConfigError(
                "the energyopt.Run of the job does not say how many epochs it trains: loop over "
                "run.epochs(20) or run.steps(...), or give it Run(epochs=20)"
            )
        goal = cls(start.monitor, start.target, start.epochs)
        goal.check_stated(options, "the Run of the job declares")
        return goal if options.epochs is None else replace(goal, epochs=float(options.epochs))

    def check_stated(self, options: Options, says: str) -> None:
        """Check that the config states nothing else.

        Args:
            options: What it states.
            says: Where this goal is from, as the beginning of a sentence.

        Raises:
            ConfigError: If it does; the message has both values.
        """
        goal = self.to_config()
        for key in _KEYS[:-1]:
            stated = getattr(options, key)
            if stated is not None and stated != goal[key]:
                raise ConfigError(
                    f"hydra.sweeper.{key}={stated}, but {says} {key}={goal[key]}: state the same, "
                    "or leave it out"
                )

    def check_direction(self, options: Options) -> None:
        """Check that a study of this metric alone has its direction.

        Raises:
            ConfigError: If the config states the other one.
        """
        if options.direction is None:
            return
        direction = options.metrics[0].direction
        if direction != ("maximize" if self.monitor.mode == "max" else "minimize"):
            raise ConfigError(
                f"hydra.sweeper.direction={direction}, but {self.monitor.name} is reported with "
                f"mode={self.monitor.mode}: a pruner compares the reports in the direction of the "
                "study; change one of them"
            )

    @classmethod
    def stored(cls, identity: Mapping[str, Any]) -> TrainingGoal | None:
        """Return the goal in the stored identity of a study; None for one of returned values."""
        config = identity.get("config") or {}
        if any(key not in config for key in _KEYS):
            return None
        mode: Mode = config["mode"]
        return cls(Monitor(config["monitor"], mode), float(config["target"]), config["epochs"])

    def to_config(self) -> dict[str, Any]:
        """Return plain data, for the identity of a study."""
        return {
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
            "target": self.target,
            "epochs": self.epochs,
        }

    def give(self, context: RunContext) -> RunContext:
        """Return the context of a job with this goal."""
        name, mode = self.monitor.name, self.monitor.mode
        return replace(context, metric=name, mode=mode, target=self.target, epochs=self.epochs)

    def refusal(self, start: TrialStart) -> str | None:
        """Say what a job declared otherwise than the study; None if nothing.

        The epochs of trials may differ: they may be searched.
        """
        study, job = self.to_config(), TrainingGoal(start.monitor, start.target, start.epochs)
        declared = job.to_config()
        differences = [
            f"{key}={declared[key]}, the study {key}={study[key]}"
            for key in _KEYS[:-1]
            if declared[key] != study[key]
        ]
        if not differences:
            return None
        return (
            f"the Run of the job declares {'; '.join(differences)}: all trials of a study have one "
            "goal; declare the same, or give another hydra.sweeper.study_name"
        )
