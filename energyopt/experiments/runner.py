"""Run an experiment: its studies one after the other, each by the usual multirun command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from energyopt.core.units import time_left
from energyopt.errors import ConfigError
from energyopt.experiments.collect import (
    ExperimentState,
    gather,
    n_trainings,
    read_finished_study,
    study_name,
    study_overrides,
    summary_dir,
    write_state,
)
from energyopt.experiments.plan import Arm, Experiment, Splits, read_experiment
from energyopt.experiments.rows import GRID, Row, rows_from_study
from energyopt.experiments.selection import choose_setups
from energyopt.experiments.summary import show_and_write
from energyopt.report.console import say
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.credentials import revealed
from energyopt.storage.identity import check_name
from energyopt.utils import failpoints
from energyopt.utils.paths import STORAGE_VARIABLE
from energyopt.utils.process import die_with_parent
from energyopt.utils.signals import Interrupted, forwarding, interrupting

_KEYS = ("experiment", "size", "splits", "study", "storage")
# Keys that the plan of an experiment sets.
_PLANNED_KEYS = ("seed", "sampler", "n_trials", "objective", "paradigm")
_SWEEP = re.compile(r"(choice|range|interval|int|float|str|tag|sort|shuffle|glob)\(")
_SAID = (130, 143)  # exit codes of an interrupted study, which has said what it keeps
_INTERRUPTED = "interrupted: what was trained is kept; the same command resumes it"
_MULTIRUN_FLAGS = ("-m", "--multirun")


@dataclass(frozen=True)
class ExperimentRequest:
    """The parsed command line of an experiment.

    Attributes:
        name: Name of the experiment.
        prefix: Beginning of the names of its studies.
        storage: The storage of its studies.
        overrides: Overrides for all its trainings.
        large: Use the larger workload.
        splits: Whether each seed has a split of the data of its own.
        config_dir: A folder of user configs.
    """

    name: str
    prefix: str
    storage: str
    overrides: tuple[str, ...] = ()
    large: bool = False
    splits: Splits = "seed"
    config_dir: Path | None = None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> ExperimentRequest:
        """Parse the arguments of the command line.

        Raises:
            ConfigError: If an argument is not allowed for an experiment.
        """
        values: dict[str, str] = {}
        overrides: list[str] = []
        config_dir: Path | None = None
        multirun = False
        remaining = iter(arguments)
        for argument in remaining:
            key, equals, value = argument.partition("=")
            if argument in _MULTIRUN_FLAGS:
                multirun = True
            elif key == "--config-dir":
                config_dir = Path(value if equals else next(remaining, ""))
            elif argument.startswith("-") or key.lstrip("+").partition(".")[0] == "hydra":
                raise ConfigError(
                    f"{argument} is not for an experiment; it takes -m, --config-dir and key=value "
                    "words of its trainings"
                )
            elif key in _KEYS:
                values[key] = value
            else:
                overrides.append(_check_override(argument))
        name = values["experiment"]
        if not multirun:
            raise ConfigError(f"experiment={name} is several studies: run it with -m")
        size = values.get("size", "usual")
        if size not in ("usual", "large"):
            raise ConfigError(f"size={size} is neither usual nor large")
        splits = values.get("splits", "seed")
        if splits not in ("seed", "fixed"):
            raise ConfigError(f"splits={splits} is neither seed nor fixed")
        prefix = values.get("study", name)
        if prefix:
            check_name(prefix)
        return cls(
            name=name,
            prefix=prefix,
            storage=values.get("storage", os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)),
            overrides=tuple(overrides),
            large=size == "large",
            splits="seed" if splits == "seed" else "fixed",
            config_dir=config_dir,
        )


def _check_override(override: str) -> str:
    key, value = _key(override), override.partition("=")[2]
    if key in _PLANNED_KEYS:
        raise ConfigError(f"{override}: {key} is part of an experiment's plan; leave it out")
    if _SWEEP.match(value):
        raise ConfigError(
            f"{override}: an experiment has its own axes; give one value, or write an experiment "
            "of your own (docs/experiments.md)"
        )
    return override


def run(arguments: Sequence[str]) -> None:
    """Run the missing trainings of an experiment, and summarize it.

    Raises:
        EnergyoptError: If it cannot be run.
        SystemExit: After an interrupt or a failed study, with its exit code.
    """
    request = ExperimentRequest.parse(arguments)
    failpoints.arm()
    experiment = read_experiment(
        request.name, request.config_dir, large=request.large, splits=request.splits
    )
    _check_overrides(request, experiment)
    console = Console()
    try:
        with interrupting():
            _ExperimentRun(request, experiment, console).run()
    except Interrupted as interrupted:
        say(console, _INTERRUPTED)
        raise SystemExit(interrupted.exit_code) from None


def _check_overrides(request: ExperimentRequest, experiment: Experiment) -> None:
    """Raise ConfigError for an override of a key in which the arms differ.

    The arms would then no longer be what the summary says they are.
    """
    searched = {key for arm in experiment.arms for key in arm.grid}
    common = set.intersection(*(set(arm.words) for arm in experiment.arms))
    arm_by_key = {
        _key(override): arm.name
        for arm in experiment.arms
        for override in arm.words
        if override not in common
    }
    for override in request.overrides:
        key = _key(override)
        if key in searched:
            use = f"searches {key}"
        elif key in arm_by_key:
            use = f"sets {key} for its arm {arm_by_key[key]}"
        else:
            continue
        raise ConfigError(
            f"{override}: experiment {experiment.name} {use}; leave it out, or write an experiment "
            "of your own (docs/experiments.md)"
        )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


@dataclass
class _ExperimentRun:
    request: ExperimentRequest
    experiment: Experiment
    console: Console
    skipped: dict[str, str] = field(default_factory=dict)
    n_done: int = 0
    n_remaining: int = 0
    elapsed_s: float = 0.0

    def run(self) -> None:
        request, experiment = self.request, self.experiment
        self._say(f"experiment {experiment.name}: {experiment.about}")
        for arm in experiment.arms:
            reason = self._missing_data(arm)
            if reason is not None:
                self.skipped[arm.name] = reason
                self._say(f"arm {arm.name} is skipped: {reason}")
        arms = [arm for arm in experiment.arms if arm.name not in self.skipped]
        state = ExperimentState(experiment, request.overrides, dict(self.skipped))
        write_state(state, summary_dir(request.prefix))
        grids = {arm.name: self._read_finished(arm, GRID) for arm in arms}
        self._count_trainings(arms, grids)
        labels = {arm.name: f"arm {i} of {len(arms)}, {arm.name}" for i, arm in enumerate(arms, 1)}
        for arm in arms:
            label = f"{labels[arm.name]}: to choose its setup"
            grids[arm.name] = self._run_study(arm, GRID, None, label)
        for arm in arms:
            for role, setup in choose_setups(experiment, grids[arm.name] or []).items():
                label = f"{labels[arm.name]}: its {role} setup with new seeds"
                self._run_study(arm, role, setup, label)
        self.console.print()
        raw = gather(request.prefix, request.storage)
        show_and_write(raw, summary_dir(request.prefix), self.console, force=True)

    def _count_trainings(self, arms: Sequence[Arm], grids: Mapping[str, list[Row] | None]) -> None:
        """Estimate the number of remaining trainings; which roles there are is not known yet."""
        n_roles = {"training": 3, "paradigms": 4}.get(self.experiment.kind, 1)
        for arm in arms:
            if grids[arm.name] is None:
                self.n_remaining += n_trainings(self.experiment, arm, GRID)
            self.n_remaining += n_roles * len(self.experiment.again)

    def _run_study(
        self, arm: Arm, role: str, setup: Mapping[str, Any] | None, label: str
    ) -> list[Row]:
        """Run the missing trainings of a study, and return all of them."""
        n_study = n_trainings(self.experiment, arm, role)
        rows = self._read_finished(arm, role, setup)
        if rows is None:
            remaining = time_left(self.elapsed_s, self.n_done, self.n_remaining)
            self._say(f"\n{label}, {n_study} trainings{remaining}")
            start_s = time.monotonic()
            self._launch(self._overrides(arm, role, setup), arm, role)
            self.n_done += n_study
            self.elapsed_s += time.monotonic() - start_s
            failpoints.hit("studied")
            rows = self._read(arm, role, setup)
        self.n_remaining = max(0, self.n_remaining - n_study)
        return rows

    def _overrides(self, arm: Arm, role: str, setup: Mapping[str, Any] | None) -> list[str]:
        return study_overrides(self.experiment, arm, role, setup, self.request.overrides)

    def _read_finished(
        self, arm: Arm, role: str, setup: Mapping[str, Any] | None = None
    ) -> list[Row] | None:
        """Return the trainings of a study; None if some are missing."""
        study = read_finished_study(
            self.request.storage,
            study_name(self.request.prefix, arm.name, role),
            self._overrides(arm, role, setup),
            n_trainings(self.experiment, arm, role),
        )
        return None if study is None else rows_from_study(study, arm, role, setup)

    def _read(self, arm: Arm, role: str, setup: Mapping[str, Any] | None) -> list[Row]:
        from energyopt.storage.reader import read_study

        name = study_name(self.request.prefix, arm.name, role)
        return rows_from_study(read_study(self.request.storage, name), arm, role, setup)

    def _missing_data(self, arm: Arm) -> str | None:
        """Return why an arm's data is missing; None if it is available."""
        if not arm.needs:
            return None
        from energyopt.config.trial_factory import TrialFactory
        from energyopt.jobs.app_config import compose_here, folders_here

        config = compose_here(arm.needs, self.request.config_dir)
        try:
            with TrialFactory(config, folders_here(self.request.config_dir)) as factory:
                _ = factory.task
        except ConfigError as error:
            return str(error)
        return None

    def _launch(self, overrides: Sequence[str], arm: Arm, role: str) -> None:
        """Run a study in a process of its own, which prints its own progress."""
        name = study_name(self.request.prefix, arm.name, role)
        command = [sys.executable, "-m", "energyopt", "-m", *overrides, f"study={name}"]
        env = os.environ | {STORAGE_VARIABLE: revealed(self.request.storage)}
        if self.request.config_dir is not None:
            command += ["--config-dir", str(self.request.config_dir)]
        parent = os.getpid()
        process = subprocess.Popen(  # noqa: S603  # our own program, no shell
            command,
            env=env,
            # A group of its own: a terminal sends Ctrl-C to the experiment alone, which passes it
            # on once. A second signal would end the study before it has stored its energies.
            process_group=0,
            # If the experiment is killed, the study stops as after Ctrl-C.
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509
        )
        with forwarding(partial(_terminate, process)) as received:
            code = process.wait()
        if received:
            if code not in _SAID:
                self._say(_INTERRUPTED)
            raise SystemExit(128 + received[0])
        if code < 0:
            raise SystemExit(128 - code)
        if code:
            if code not in _SAID:
                self._say(f"study {name} ended with exit code {code}; the same command resumes it")
            raise SystemExit(code)

    def _say(self, text: str) -> None:
        say(self.console, text)


def _terminate(process: subprocess.Popen[bytes], _number: int) -> None:
    """End a study: whatever the signal was, SIGTERM ends it without a traceback also at its start.

    It stores its energies before it ends.
    """
    with suppress(ProcessLookupError):
        process.terminate()
