"""The context of one run: plain data that travels to it in one environment variable.

The coordinator writes it and the job reads it, with any launcher between them. Scripts and ranks
that a job starts inherit it. It holds numbers and the searched values: no secrets, and nothing
that Hydra would compose.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from energyopt.core.calibration import Calibration
from energyopt.core.history import StudyHistory
from energyopt.core.metric import Mode, Monitor
from energyopt.errors import ConfigError, TrialError

VARIABLE = "ENERGYOPT_RUN"
"""The environment variable: the context as JSON, or the path of a private file that holds it."""

NAME = "run_context.json"
"""Name of that file, in the job's folder."""

_MAX_INLINE = 512  # characters: Hydra logs and stores each variable of a job


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a run.

    Attributes:
        folder: Folder of its journal and its paused state; None if nothing is kept.
        params: The searched values, by key.
        metric: Name of the reported metric.
        mode: "max" or "min": the direction of the metric.
        target: Value of the metric to reach; None without a target, or outside of a study.
        pause_at_j: Training energy at which it pauses, in J; None never.
        resume: Whether it resumes from the pause in its folder.
        preflight: Whether it only builds everything and reports its meter.
        calibration: Hardware measurements of earlier trials; None outside of a study.
        history: History of earlier trials, for stopping rules; None without rules.
        epochs: Maximum number of epochs that the study trains; None leaves it to the training.
        stop_at_target: Whether the study looks no further than the target.
        hardware: The config group `hardware`, resolved: its meter as `_target_` and options, and
            the options of GPUs; None for the best meter of the machine.
        device: The device that trains, as the root key `device`.
        leased_gpus: UUIDs of the GPUs that were leased for the run before its process began.
        rules: The stopping rules, resolved: each name with `_target_` and options.
        has_pruner: Whether the study judges each report: see `core.verdict`.
        has_one_run: Whether a `Run` that has ended in the folder is one of the same execution.
    """

    folder: Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "accuracy"
    mode: str = "max"
    target: float | None = None
    pause_at_j: float | None = None
    resume: bool = False
    preflight: bool = False
    calibration: Calibration | None = None
    history: StudyHistory | None = None
    epochs: float | None = None
    stop_at_target: bool = False
    hardware: Mapping[str, Any] | None = None
    device: str = "auto"
    leased_gpus: tuple[str, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    has_pruner: bool = False
    has_one_run: bool = False

    @property
    def monitor(self) -> Monitor:
        """The metric."""
        return Monitor(self.metric, cast("Mode", self.mode))

    def check_monitor(self, monitor: Monitor) -> None:
        """Check that a job has the metric of its study.

        Raises:
            ConfigError: If it has another one.
        """
        if self.target is not None and monitor != self.monitor:
            raise ConfigError(
                f"this trial has monitor={monitor.name} mode={monitor.mode}, and its study has "
                f"monitor={self.metric} mode={self.mode}; values of two metrics cannot be compared"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> RunContext:
        """Read the context of the run that this process is; an empty one outside of a study.

        Raises:
            TrialError: If the variable or its file cannot be read.
        """
        text = environment.get(VARIABLE, "")
        if not text:
            return cls()
        return cls.from_json(text) if text.startswith("{") else cls.read(Path(text))

    @classmethod
    def read(cls, path: Path) -> RunContext:
        """Read the context that a file holds.

        Raises:
            TrialError: If it cannot be read.
        """
        try:
            text = path.read_text()
        except OSError as error:
            raise TrialError(
                f"{VARIABLE}={path} cannot be read: {error.strerror}; the folder of the job must "
                "be the same on the host that runs it"
            ) from error
        return cls.from_json(text)

    def to_variable(self, folder: Path) -> str:
        """Return the value of the variable; a large context goes into a private file.

        Args:
            folder: The job's folder; created if it does not exist.

        Raises:
            OSError: If the file cannot be written.
        """
        text = self.to_json()
        return text if len(text) <= _MAX_INLINE else str(self.write(folder))

    def write(self, folder: Path) -> Path:
        """Write the context into a private file in a folder. Returns its path.

        Raises:
            OSError: If it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / NAME
        path.unlink(missing_ok=True)  # do not follow another user's symlink
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.to_json())
        return path.resolve()

    def to_json(self) -> str:
        """Return the context as JSON without "$", which a config would interpolate."""
        data = {
            "folder": None if self.folder is None else str(self.folder),
            "params": dict(self.params),
            "metric": self.metric,
            "mode": self.mode,
            "target": self.target,
            "pause_at_j": self.pause_at_j,
            "resume": self.resume,
            "preflight": self.preflight,
            "calibration": self.calibration and self.calibration.to_json(),
            "history": self.history and self.history.to_json(),
            "epochs": self.epochs,
            "stop_at_target": self.stop_at_target,
            "hardware": None if self.hardware is None else dict(self.hardware),
            "device": self.device,
            "leased_gpus": list(self.leased_gpus),
            "rules": dict(self.rules),
            "has_pruner": self.has_pruner,
            "has_one_run": self.has_one_run,
        }
        return json.dumps(data, separators=(",", ":")).replace("$", "\\u0024")

    @classmethod
    def from_json(cls, text: str) -> RunContext:
        """Read what `to_json` wrote.

        Raises:
            TrialError: If it is something else.
        """
        try:
            data = json.loads(text)
            if set(data) == {"params"}:  # typed by hand, outside of a study
                return cls(params=dict(data["params"]))
            folder, calibration, history = (
                data.pop(key) for key in ("folder", "calibration", "history")
            )
            return cls(
                folder=None if folder is None else Path(folder),
                calibration=None if calibration is None else Calibration.from_json(calibration),
                history=None if history is None else StudyHistory.from_json(history),
                leased_gpus=tuple(data.pop("leased_gpus", ())),
                **data,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrialError(
                f"{VARIABLE} does not hold the context of a run ({error}); it is set by a study "
                "for its jobs: unset it where you start a training by hand"
            ) from error
