"""What all Hydra apps share as adapters of a study: the launcher, the folders, the recipes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial
from rich.console import Console

from energyopt.config.overrides import override_for
from energyopt.core.default_setup import DefaultSetup
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import setup as setup_words
from energyopt.errors import ConfigError, LauncherError, TrialError
from energyopt.jobs import external_launchers
from energyopt.jobs.failed_job import recorded
from energyopt.jobs.fork_server import ForkedJob
from energyopt.jobs.job import Readiness, restore_limits
from energyopt.jobs.job_result import outcome_of_error, shortened
from energyopt.jobs.launcher import LocalLauncher
from energyopt.report.console import say, say_code
from energyopt.search.guarded_sampler import blamed_on
from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import Composer
from energyopt.sweep.options import Options
from energyopt.sweep.training_goal import TrainingGoal
from energyopt.utils.paths import STORAGE_VARIABLE

DEATH_S = 3.0  # a driver takes its time to let go of a killed process


@dataclass(frozen=True, slots=True)
class Multirun:
    """The objects that Hydra hands to a sweeper.

    Attributes:
        context: Hydra's, with the config loader.
        task_function: Called by each job.
        config: The multirun's own config.
    """

    context: HydraContext
    task_function: TaskFunction
    config: DictConfig


def value_of(returned: JobReturn) -> Any:
    """Return the value of a job, or its exception, which Hydra's property would raise."""
    return returned._return_value  # noqa: SLF001


def package_note(n_jobs: int, *, on_gpus: bool, is_own_app: bool) -> str:
    """Return the sentence that trials which read the CPU packages run one at a time.

    Args:
        n_jobs: How many were to run.
        on_gpus: Whether GPUs are metered as well.
        is_own_app: Whether the keys are those of our own app.
    """
    prefix = "" if is_own_app else "hydra.sweeper."
    no_cpu = "hardware.cpu=false" if is_own_app else "'hydra.sweeper.hardware={cpu: false}'"
    other = no_cpu if on_gpus else f"{prefix}hardware=estimate, which counts CPU time,"
    return (
        f"{prefix}n_jobs={n_jobs}, but RAPL counts whole CPU packages, whichever trial runs on "
        f"them, so 1 trial runs at a time; {other} can run more"
    )


class HydraApp(ABC):
    """Runs the jobs of a Hydra app through its launcher; see `Adapter`.

    `OwnApp` extends it for our own app, `OtherApp` for any other.

    Args:
        multirun: The objects of Hydra.
        options: Options of the sweep.
        space: The search space.
        composer: Knows which dimensions exist under a choice of groups.

    Attributes:
        name: The study's name, once `identify` was called.
        ready: Result of the preflight; None without one.
        job_overrides: Overrides of all jobs, after their own.
        monitor: The metric by which trials are compared, once `check_machine` was called.
    """

    monitor: Monitor = ACCURACY

    def __init__(
        self, multirun: Multirun, options: Options, space: Space, composer: Composer
    ) -> None:
        self._multirun = multirun
        self._config = multirun.config
        self._options = options
        self._space = space
        self._composer = composer
        self.name = options.study_name or str(self._config.hydra.job.name)
        self.ready: Readiness | None = None
        self.job_overrides: tuple[str, ...] = ()

    @cached_property
    def output_folder(self) -> Path:
        """Folder of the trials' folders; it may hold the study's name, so call `identify` first."""
        return Path(str(OmegaConf.select(self._config, "hydra.sweep.dir")))

    @cached_property
    def storage(self) -> str:
        """Storage of the study: a file or a SQLAlchemy URL."""
        return str(self._options.storage or self.output_folder / "study.db")

    @property
    @abstractmethod
    def goal(self) -> TrainingGoal | None:
        """The goal of its trainings; None where its jobs return values."""

    @property
    def keeps_journals(self) -> bool:
        """True if its jobs report, and so can be followed, paused, and accounted for."""
        return self.goal is not None

    # The study -------------------------------------------------------------------------

    @abstractmethod
    def check_space(self) -> None:
        """Check that the swept keys may be swept."""

    @abstractmethod
    def refusal(self, key: str, value: Value) -> str | None:
        """Return why a key may not have a value, as a sentence, before any config is asked."""

    @abstractmethod
    def identify(self) -> Identity:
        """Return the study's identity, with the metrics that are known before any job."""

    @property
    @abstractmethod
    def outcome_of_pause(self) -> Callable[[TrialResult], Outcome]:
        """Function from the record of a paused trial to its outcome."""

    @property
    @abstractmethod
    def has_rules(self) -> bool:
        """True if stopping rules are configured; they need the history of the study."""

    # The run ---------------------------------------------------------------------------

    def make_launcher(self) -> None:
        """Make the launcher that the config asks for.

        Raises:
            ConfigError: If it cannot run the study.
        """
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._multirun.context,
            task_function=recorded(self._task_function),
            config=self._config,
        )
        self._local: LocalLauncher | None = getattr(self._launcher, "local", None)
        if self._local is None:  # our own launcher does it in each trial
            os.environ.pop(STORAGE_VARIABLE, None)
        self.in_process = external_launchers.runs_here(self._launcher, self._config)

    @property
    def _task_function(self) -> TaskFunction:
        """The function that jobs call."""
        return self._multirun.task_function

    @abstractmethod
    def fork(self) -> ForkedJob | None:
        """Fork the server of the jobs, where the launcher has one; see `LocalLauncher.fork`."""

    def open(self, stack: ExitStack) -> None:
        """Close the server when the stack is closed."""
        if self._local is not None:
            stack.callback(self._local.close)

    @abstractmethod
    def check_machine(self, console: Console) -> None:
        """Check for what would fail every trial."""

    @abstractmethod
    def identity_with_metrics(self, identity: Identity) -> Identity:
        """Return the identity with the names of its metrics, which a job may have to say."""

    @abstractmethod
    def prepare(self, store: StudyStore) -> None:
        """Store the settings of a new or continued study."""

    @abstractmethod
    def plan_default(self, store: StudyStore) -> list[str]:
        """Queue the default configuration first. Returns lines to print about it."""

    def _plan_baseline(self, store: StudyStore, noun: str, how: str = "") -> list[str]:
        """Queue the default configuration as trial 0. Returns what it is, if it is new.

        Args:
            store: The study.
            noun: What this app calls a configuration.
            how: Said of the trial.
        """
        params = self.baseline()
        default = self.default_setup()
        if not store.plan_first(params, default):
            return []
        called = f"{noun} nearest to the default" if default.is_nearest else f"default {noun}"
        text = f"trial 0 is the {called}{how}: {setup_words(params)}"
        return [f"{text} ({default.explanation})" if default.is_nearest else text]

    @abstractmethod
    def notes(self) -> list[str]:
        """Return lines about the machine to print before the first trial."""

    @abstractmethod
    def print_banner(self, console: Console, n_trials: int, n_finished: int) -> None:
        """Print what is searched, before the first trial."""

    @abstractmethod
    def print_end(
        self, console: Console, study: StudyRecord, recount: Callable[[], StudyRecord]
    ) -> None:
        """Print or write the results.

        Args:
            console: Where to print.
            study: The study.
            recount: Returns it with the energy of its commands until now.
        """

    @property
    def are_jobs_here(self) -> bool:
        """True if trials run in processes of this command."""
        return not external_launchers.runs_elsewhere(self._config)

    @property
    @abstractmethod
    def hardware(self) -> Mapping[str, Any]:
        """The group `hardware` of the default configuration, resolved."""

    @property
    def shares_terminal(self) -> bool:
        """True if jobs print to the terminal of this command, or read from it."""
        if self._local is not None:
            return not self._local.redirects_output
        return self.in_process or not external_launchers.redirects_output(self._config)

    def jobs_left(self) -> str | None:
        """Return a line about jobs that a cluster still runs; None without any."""
        return external_launchers.describe_running_jobs(self._config)

    # What the coordinator calls: see `Adapter` --------------------------------------------

    @property
    def n_slots(self) -> int:
        """Number of trials that can run at a time."""
        return 1 if self.in_process else self._options.n_jobs

    def dimensions(self, groups: Mapping[str, Value]) -> Sequence[Dimension]:
        """Return the dimensions that exist under a choice of groups."""
        return self._composer.present(groups)

    def suggest_more(self, trial: Trial) -> Mapping[str, Value]:
        """Call the user's own `custom_search_space`."""
        function = self._custom_search_space()
        if function is None:
            return {}
        with blamed_on(f"custom_search_space {self._options.custom_search_space}"):
            function(trial)
        keys = {dimension.key for dimension in self._space.dimensions}
        return {key: value for key, value in trial.params.items() if key not in keys}

    def baseline(self) -> Mapping[str, Value]:
        """Return the values of the default configuration."""
        return self._composer.baseline()

    def default_setup(self) -> DefaultSetup:
        """Return how that configuration differs from the user's default."""
        return self._composer.default_setup(self.baseline())

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Return the overrides that set the values."""
        del n_repeats  # another app handles its own seed
        keys = {dimension.key for dimension in self._space.dimensions}
        extra = (override_for(key, value) for key, value in params.items() if key not in keys)
        return (*self._space.overrides(params), *extra)

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.output_folder / str(number)

    def has_run(self, number: int) -> bool:
        """Return True if a trial ran before the study was opened: its journal is to be kept."""
        del number
        return False

    @abstractmethod
    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a trial with its context."""

    def stop(self) -> None:
        """End the jobs of our own launcher; other launchers keep theirs."""
        if self._local is not None:
            self._local.close()

    def clean_up(self) -> None:
        """Restore the power limits that a killed trial left."""
        restore_limits()

    def _run_job(
        self, number: int, overrides: Sequence[str], variables: Mapping[str, str]
    ) -> JobReturn:
        """Run a job with environment variables. Returns its answer.

        Raises:
            LauncherError: If the launcher died.
        """
        variable_overrides = [
            override_for(f"++hydra.job.env_set.{key}", value) for key, value in variables.items()
        ]
        returned = self._returned(number, [*self._space.fixed, *overrides, *variable_overrides])
        if isinstance(value_of(returned), LauncherError):
            raise value_of(returned)
        return returned

    def _variable(self, number: int, context: RunContext) -> str:
        """Return the value of the variable that gives a job its context.

        Raises:
            TrialError: If the folder of the job cannot be written.
        """
        folder = self.folder(number)
        try:
            return replace(context, folder=folder.absolute()).to_variable(folder)
        except OSError as error:
            raise TrialError(f"{folder} cannot be written: {error.strerror}") from error

    def _returned(self, number: int, overrides: Sequence[str]) -> JobReturn:
        try:
            words = [*overrides, *self.job_overrides]
            (returned,) = self._launcher.launch([words], initial_job_idx=number)
        # Catches everything: a launcher passes on any exception of its cluster, and a job in this
        # process may call sys.exit.
        except (Exception, SystemExit) as error:
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        return returned

    def repeat(self, n_jobs: int, console: Console) -> None:
        """Run the fixed configuration as jobs outside of any study.

        Raises:
            TrialError: If one failed; the others run all the same.
        """
        reasons = []
        for number in range(n_jobs):
            returned = self._returned(number, self._space.fixed)
            value = value_of(returned)
            if returned.status == JobStatus.COMPLETED:
                say(console, f"job {number} returned {shortened(value)}")
                continue
            outcome = outcome_of_error(value)
            reasons.append(outcome.reason)
            if self._local is None:  # ours lets jobs print it outside of a study
                say_code(console, outcome.traceback)
        if reasons:
            raise TrialError(f"{len(reasons)} of {n_jobs} jobs failed; the last: {reasons[-1]}")

    def _custom_search_space(self) -> Callable[[Trial], Any] | None:
        function = self._options.custom_search_space
        if function is None:
            return None
        if isinstance(function, str):
            try:
                function = get_method(function)
            except Exception as error:  # of Hydra, or of the module that it imports
                text = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(
                    f"hydra.sweeper.custom_search_space={function}: {text}"
                ) from error
        if not callable(function):
            raise ConfigError(
                f"hydra.sweeper.custom_search_space={function}: the path of a function of (config, "
                "trial) is needed, such as my_app.suggest"
            )
        return partial(function, self._config)
