"""Another Hydra app: its jobs return values, and keep no journals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
from energyopt.core.metric import ACCURACY
from energyopt.core.outcome import paused
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import LauncherError
from energyopt.jobs import external_launchers
from energyopt.jobs.fork_server import ForkedJob
from energyopt.jobs.job import Readiness
from energyopt.jobs.job_result import outcome_of, outcome_of_error
from energyopt.jobs.launcher import LocalLauncher
from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import Composer
from energyopt.sweep.options import Options
from energyopt.sweep.results_file import write_results


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


class HydraApp:
    """Runs the jobs of a Hydra app through its launcher; see `Adapter`.

    `OwnApp` extends it for our own app.

    Args:
        multirun: The objects of Hydra.
        options: Options of the sweep.
        space: The search space.
        composer: Knows which dimensions exist under a choice of groups.

    Attributes:
        name: The study's name, once `identify` was called.
        ready: Result of the preflight; None without one.
        monitor: The metric by which trials are compared, once `check_machine` was called.
    """

    keeps_journals = False
    monitor = ACCURACY

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

    @cached_property
    def output_folder(self) -> Path:
        """Folder of the trials' folders; it may hold the study's name, so call `identify` first."""
        return Path(str(OmegaConf.select(self._config, "hydra.sweep.dir")))

    @cached_property
    def storage(self) -> str:
        """Storage of the study: a file or a SQLAlchemy URL."""
        return str(self._options.storage or self.output_folder / "study.db")

    # The study -------------------------------------------------------------------------

    def check_space(self) -> None:
        """Check that the swept keys may be swept; another app may sweep anything."""

    def identify(self) -> Identity:
        """Return the study's identity, with the metrics that are known before any job."""
        space = self._space
        return Identity(self._options.metrics, space.fixed, space.sweep, None, None)

    @property
    def outcome_of_pause(self) -> Callable[[TrialResult], Outcome]:
        """Function from the record of a paused trial to its outcome."""
        return paused

    @property
    def has_rules(self) -> bool:
        """True if stopping rules are configured; they need the history of the study."""
        return False

    # The run ---------------------------------------------------------------------------

    def make_launcher(self) -> None:
        """Make the launcher that the config asks for.

        Raises:
            ConfigError: If it cannot run the study.
        """
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._multirun.context,
            task_function=self._multirun.task_function,
            config=self._config,
        )
        self._local: LocalLauncher | None = getattr(self._launcher, "local", None)
        self.in_process = external_launchers.runs_here(self._launcher, self._config)

    def fork(self) -> ForkedJob | None:
        """Fork the server of the jobs, where the launcher has one; see `LocalLauncher.fork`."""
        return None if self._local is None else self._local.fork()

    def open(self, stack: ExitStack) -> None:
        """Close the server when the stack is closed."""
        if self._local is not None:
            stack.callback(self._local.close)

    def check_machine(self, console: Console) -> None:
        """Check for what would fail every trial; another app has no such check."""

    def identity_with_metrics(self, identity: Identity) -> Identity:
        """Return the identity with the names of its metrics, which a job may have to say."""
        return identity

    def prepare(self, store: StudyStore) -> None:
        """Store the settings of a new or continued study; another app has none."""

    def plan_default(self, store: StudyStore) -> list[str]:
        """Queue the default configuration first. Returns lines to print about it."""
        del store
        return []

    def notes(self) -> list[str]:
        """Return lines about the machine to print before the first trial."""
        return []

    def print_banner(self, console: Console, n_trials: int, counted: int) -> None:
        """Print what is searched, before the first trial."""

    def print_end(self, console: Console, study: StudyRecord) -> None:
        """Write the results file."""
        del console
        write_results(study, self.output_folder)

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
        function(trial)
        keys = {dimension.key for dimension in self._space.dimensions}
        return {key: value for key, value in trial.params.items() if key not in keys}

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Return the overrides that set the values."""
        del n_repeats  # another app handles its own seed
        keys = {dimension.key for dimension in self._space.dimensions}
        extra = (override_for(key, value) for key, value in params.items() if key not in keys)
        return (*self._space.words(params), *extra)

    def folder(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.output_folder / str(number)

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a job; its values are the outcome."""
        del context  # jobs of another app do not read it yet
        return self._launch(number, recipe)

    def stop(self) -> None:
        """End the jobs of our own launcher; other launchers keep theirs."""
        if self._local is not None:
            self._local.close()

    def clean_up(self) -> None:
        """Do nothing: jobs of another app set no power limits."""

    def _launch(self, number: int, overrides: Sequence[str]) -> Outcome:
        returned = self._returned(number, [*self._space.fixed, *overrides])
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if isinstance(value, LauncherError):
            raise value
        if returned.status == JobStatus.COMPLETED:
            return outcome_of(value, self._options.metrics)
        return outcome_of_error(value)

    def _returned(self, number: int, overrides: Sequence[str]) -> JobReturn:
        try:
            (returned,) = self._launcher.launch([list(overrides)], initial_job_idx=number)
        # Catches everything: a launcher passes on any exception of its cluster, and a job in this
        # process may call sys.exit.
        except (Exception, SystemExit) as error:
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        return returned

    def _custom_search_space(self) -> Callable[[Trial], Any] | None:
        function = self._options.custom_search_space
        if isinstance(function, str):
            function = get_method(function)
        return None if function is None else partial(function, self._config)
