"""Run an experiment: one study after the other, each by the command that anybody could type."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from energyopt.core.units import time_left
from energyopt.errors import ConfigError
from energyopt.experiments.collect import (
    State,
    finished,
    grid_words,
    keep_state,
    study_name,
    summary_dir,
)
from energyopt.experiments.plan import Arm, Experiment, read_experiment
from energyopt.experiments.rows import GRID, Row, rows_of
from energyopt.experiments.selection import chosen
from energyopt.experiments.summary import summarize_here
from energyopt.report.console import say
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.identity import check_name
from energyopt.utils import failpoints
from energyopt.utils.process import die_with_parent

_KEYS = ("experiment", "size", "study", "storage")
# What the plan of an experiment says itself.
_PLANNED = ("seed", "sampler", "n_trials", "objective", "paradigm")
_SWEPT = re.compile(r"(choice|range|interval|int|float|str|tag|sort|shuffle|glob)\(")
_FLAGS = ("-m", "--multirun")


@dataclass(frozen=True)
class Request:
    """What the words ask for.

    Attributes:
        name: The experiment.
        prefix: With which the names of its studies begin.
        storage: Where they are kept.
        words: Overrides of all its trainings.
        large: Whether the larger workload is asked for.
        config_dir: A folder of the user's own configs.
    """

    name: str
    prefix: str
    storage: str
    words: tuple[str, ...] = ()
    large: bool = False
    config_dir: Path | None = None

    @classmethod
    def read(cls, words: Sequence[str]) -> Request:
        """Read the words of the command line.

        Raises:
            ConfigError: If they ask for what an experiment cannot do.
        """
        found: dict[str, str] = {}
        overrides: list[str] = []
        config_dir: Path | None = None
        multirun = False
        rest = iter(words)
        for word in rest:
            key, equals, value = word.partition("=")
            if word in _FLAGS:
                multirun = True
            elif key == "--config-dir":
                config_dir = Path(value if equals else next(rest, ""))
            elif word.startswith("-") or key.lstrip("+").partition(".")[0] == "hydra":
                raise ConfigError(
                    f"{word} is not for an experiment; it takes -m, --config-dir and key=value "
                    "words of its trainings"
                )
            elif key in _KEYS:
                found[key] = value
            else:
                overrides.append(_checked(word))
        name = found["experiment"]
        if not multirun:
            raise ConfigError(f"experiment={name} is several studies: run it with -m")
        size = found.get("size", "usual")
        if size not in ("usual", "large"):
            raise ConfigError(f"size={size} is neither usual nor large")
        prefix = found.get("study", name)
        if prefix:
            check_name(prefix)
        return cls(
            name=name,
            prefix=prefix,
            storage=found.get("storage", os.environ.get("ENERGYOPT_STORAGE", DEFAULT_STORAGE)),
            words=tuple(overrides),
            large=size == "large",
            config_dir=config_dir,
        )


def _checked(word: str) -> str:
    key, value = _key(word), word.partition("=")[2]
    if key in _PLANNED:
        raise ConfigError(f"{word}: {key} is part of an experiment's plan; leave it out")
    if _SWEPT.match(value):
        raise ConfigError(
            f"{word}: an experiment has its own axes; give one value, or write an experiment of "
            "your own (docs/experiments.md)"
        )
    return word


def run(words: Sequence[str]) -> None:
    """Run what is missing of an experiment, and summarize it.

    Args:
        words: The command line's.

    Raises:
        EnergyoptError: If it cannot be run.
        SystemExit: After an interrupt, or where a study failed, with its code.
    """
    request = Request.read(words)
    failpoints.arm()
    experiment = read_experiment(request.name, request.config_dir, large=request.large)
    _refuse_planned(request, experiment)
    _Run(request, experiment, Console()).run()


def _refuse_planned(request: Request, experiment: Experiment) -> None:
    """Refuse to change what tells the arms apart: their summary would be of something else."""
    searched = {key for arm in experiment.arms for key in arm.grid}
    of_all = set.intersection(*(set(arm.words) for arm in experiment.arms))
    told = {
        _key(word): arm.name for arm in experiment.arms for word in arm.words if word not in of_all
    }
    for word in request.words:
        key = _key(word)
        if key in searched:
            does = f"searches {key}"
        elif key in told:
            does = f"sets {key} for its arm {told[key]}"
        else:
            continue
        raise ConfigError(
            f"{word}: experiment {experiment.name} {does}; leave it out, or write an experiment "
            "of your own (docs/experiments.md)"
        )


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


@dataclass
class _Clock:
    """How long what is left will take, from what was trained."""

    trainings: int = 0
    spent_s: float = 0.0
    left: int = 0

    def estimate(self) -> str:
        return time_left(self.spent_s, self.trainings, self.left)


@dataclass
class _Run:
    request: Request
    experiment: Experiment
    console: Console
    skipped: dict[str, str] = field(default_factory=dict)
    clock: _Clock = field(default_factory=_Clock)

    def run(self) -> None:
        request, experiment = self.request, self.experiment
        self._say(f"experiment {experiment.name}: {experiment.about}")
        for arm in experiment.arms:
            reason = self._missing(arm)
            if reason is not None:
                self.skipped[arm.name] = reason
                self._say(f"arm {arm.name} is skipped: {reason}")
        arms = [arm for arm in experiment.arms if arm.name not in self.skipped]
        state = State(experiment, request.words, dict(self.skipped))
        keep_state(state, summary_dir(request.prefix))
        grids = {arm.name: self._done(arm, GRID) for arm in arms}
        self._expect(arms, grids)
        for at, arm in enumerate(arms, 1):
            where = f"arm {at} of {len(arms)}, {arm.name}"
            grids[arm.name] = self._study(arm, GRID, None, f"{where}: to choose its setup")
        for at, arm in enumerate(arms, 1):
            for role, setup in chosen(experiment, grids[arm.name] or []).items():
                where = f"arm {at} of {len(arms)}, {arm.name}"
                self._study(arm, role, setup, f"{where}: its {role} setup with new seeds")
        self.console.print()
        summarize_here(request.prefix, request.storage, self.console)

    def _expect(self, arms: Sequence[Arm], grids: Mapping[str, list[Row] | None]) -> None:
        again = {"training": 3, "paradigms": 4}.get(self.experiment.kind, 1)
        for arm in arms:
            if grids[arm.name] is None:
                self.clock.left += arm.setups * len(self.experiment.seeds)
            self.clock.left += again * len(self.experiment.again)

    def _study(
        self, arm: Arm, role: str, setup: Mapping[str, Any] | None, where: str
    ) -> list[Row] | None:
        """Run what is missing of a study; its trainings."""
        trainings = self._trainings(arm, role)
        rows = self._done(arm, role, setup)
        if rows is None:
            self._say(f"\n{where}, {trainings} trainings{self.clock.estimate()}")
            began = time.monotonic()
            self._launch(
                grid_words(self.experiment, arm, role, setup, self.request.words), arm, role
            )
            self.clock.trainings += trainings
            self.clock.spent_s += time.monotonic() - began
            failpoints.at("studied")
            rows = self._read(arm, role, setup)
        self.clock.left = max(0, self.clock.left - trainings)
        return rows

    def _trainings(self, arm: Arm, role: str) -> int:
        if role == GRID:
            return arm.setups * len(self.experiment.seeds)
        return len(self.experiment.again)

    def _done(
        self, arm: Arm, role: str, setup: Mapping[str, Any] | None = None
    ) -> list[Row] | None:
        """The trainings of a study that needs no more; None of one that does."""
        words = grid_words(self.experiment, arm, role, setup, self.request.words)
        name = study_name(self.request.prefix, arm.name, role)
        study = finished(self.request.storage, name, words, self._trainings(arm, role))
        return None if study is None else rows_of(study, arm, role, setup)

    def _read(self, arm: Arm, role: str, setup: Mapping[str, Any] | None) -> list[Row]:
        from energyopt.storage.reader import read_study

        name = study_name(self.request.prefix, arm.name, role)
        return rows_of(read_study(self.request.storage, name), arm, role, setup)

    def _missing(self, arm: Arm) -> str | None:
        """Why an arm's data is not there, in a sentence; None where it is."""
        if not arm.needs:
            return None
        from energyopt.config.trial_factory import TrialFactory
        from energyopt.jobs.compose import compose_here, folders_here

        config = compose_here(arm.needs, self.request.config_dir)
        try:
            with TrialFactory(config, folders_here(self.request.config_dir)) as setup:
                _ = setup.task
        except ConfigError as error:
            return str(error)
        return None

    def _launch(self, words: Sequence[str], arm: Arm, role: str) -> None:
        """Run a study in a process of its own, which shows what it does."""
        name = study_name(self.request.prefix, arm.name, role)
        command = [sys.executable, "-m", "energyopt", "-m", *words, f"study={name}"]
        env = os.environ | {"ENERGYOPT_STORAGE": self.request.storage}
        if self.request.config_dir is not None:
            command += ["--config-dir", str(self.request.config_dir)]
        parent = os.getpid()
        process = subprocess.Popen(  # noqa: S603  # our own program, no shell
            command,
            env=env,
            # Where the experiment is killed, a study ends as after Ctrl-C.
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509
        )
        with _passing_on(process):
            code = process.wait()
        if code < 0:
            raise SystemExit(128 - code)
        if code:
            if code not in (130, 143):
                self._say(f"study {name} ended with exit code {code}; the same command goes on")
            raise SystemExit(code)

    def _say(self, text: str) -> None:
        say(self.console, text)


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals are for the study, which closes its books; a terminal gives it Ctrl-C itself."""

    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(number)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
        signal.SIGINT: signal.signal(signal.SIGINT, _wait),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(number: int, frame: object) -> None:
    """Ctrl-C: the study has it, too, and ends."""
