"""Hydra's side of a study: from the overrides of a multirun to a coordinator and the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from energyopt.analysis.summary import summarize
from energyopt.config.overrides import override_for
from energyopt.config.trust import trusted_target
from energyopt.core.calibration import Calibration
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance
from energyopt.errors import (
    ConfigError,
    StorageError,
    TrialsFailedError,
)
from energyopt.hardware.command_meter import CommandMeters
from energyopt.jobs.app_config import config_folders
from energyopt.jobs.fork_server import ForkedJob
from energyopt.report.answer_view import stopped_text
from energyopt.report.console import say, waiting
from energyopt.report.live import LiveStudy
from energyopt.search.history_builder import HistoryBuilder
from energyopt.search.space import Value
from energyopt.search.sweep_keys import COMMAND, OWN
from energyopt.storage.command_account import CommandAccount
from energyopt.storage.credentials import refuse_kept_password, refuse_password
from energyopt.storage.identity import check_any_name, check_name
from energyopt.storage.run_leases import BEATS_OF_GRACE, only_coordinator
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.command_app import CommandApp
from energyopt.sweep.composer import Composer
from energyopt.sweep.coordinator import Coordinator, Limits
from energyopt.sweep.default_values import Locate
from energyopt.sweep.dry_run import FOLDER, dry_run, temporary_output
from energyopt.sweep.grid import check_grid, plan_grid
from energyopt.sweep.hydra_app import Multirun
from energyopt.sweep.options import Options
from energyopt.sweep.other_app import OtherApp
from energyopt.sweep.outbox import Outbox
from energyopt.sweep.own_app import OwnApp
from energyopt.sweep.sampler_factory import SamplerFactory
from energyopt.sweep.space_check import check_options, check_values
from energyopt.sweep.space_parser import parse_space
from energyopt.sweep.suggestion import suggest
from energyopt.sweep.trial_queue import NextPoint
from energyopt.training.ranks import own_rank
from energyopt.utils import failpoints
from energyopt.utils.files import refuse_shared
from energyopt.utils.signals import Interrupted, interrupting

_A_DAY_S = 86_400.0
_APPS: Mapping[str | None, type[OtherApp | OwnApp]] = {
    None: OtherApp,
    OWN: OwnApp,
    COMMAND: CommandApp,
}


class StudySweeper:
    """Creates or continues a study for Hydra's multirun.

    Call `fork` first, then `run`.

    Args:
        sweep_keys: Values of the keys of `Options`.
        hydra_context: Hydra's, with the config loader.
        task_function: What each job runs.
        config: The multirun's own config.
        arguments: Its overrides.

    Raises:
        EnergyoptError: If the study cannot be run; nothing is written then.
    """

    def __init__(
        self,
        sweep_keys: Mapping[str, Any],
        arguments: Sequence[str],
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        setup_globals()
        failpoints.arm()
        _refuse_ranks()
        self._options = options = Options.read(sweep_keys)
        self._config = config
        self._console = Console()
        self._space = parse_space(options.overrides(arguments), hydra_context.config_loader)
        self._composer = Composer(
            hydra_context.config_loader, config, self._space, _locate_of(options, config)
        )
        multirun = Multirun(hydra_context, task_function, config)
        app = _APPS[options.app]
        self._is_call = hasattr(task_function, "app")  # of Python: see `workflows.optimize`
        self._app: OtherApp | OwnApp = app(multirun, options, self._space, self._composer)
        self._check_space()
        refuse_kept_password(OmegaConf.to_container(config, resolve=False))
        is_own_app = options.is_own_app
        check_options(self._space, self._composer, is_own_app=is_own_app)
        self._composer.check()
        self._samplers = SamplerFactory(
            options, config, self._space, self._composer, lambda: self._app.goal
        )
        self._identity = self._app.identify()
        check = check_any_name if options.app is None else check_name
        check(self._app.name)
        # Before the study exists: a schedule that cannot be made must leave none.
        self._samplers.schedule(self._samplers.sampler(0))
        if options.grid:
            check_grid(self._space)
        check_values(self._space, self._composer, self._app.refusal, is_own_app=is_own_app)
        self._refuse_shared_pickles()
        self._app.make_launcher()

    def fork(self) -> ForkedJob | None:
        """Fork the server of the jobs, before anything here has threads or connections.

        Returns:
            None in this process; in the process of a job, that job: the caller must run it.
        """
        return self._app.fork()

    def run(self) -> None:
        """Run the missing trials of the study, and print its results.

        Raises:
            EnergyoptError: If it cannot be run, or no trial completed.
            SystemExit: After an interrupt, with the code of its signal.
        """
        app, console = self._app, self._console
        if self._options.dry_run:
            self._dry_run()
            return
        if not self._is_search:
            self._repeat()
            return
        with interrupting(), ExitStack() as stack:
            meters = CommandMeters.of(app.hardware, is_call=self._is_call)
            app.open(stack)
            self._rehearse()
            sole = stack.enter_context(only_coordinator(app.storage, app.name))
            app.check_machine(console)
            self._settle()
            earlier, self._identity = self._identity, app.identity_with_metrics(self._identity)
            if len(earlier.metrics) != len(self._identity.metrics):
                self._rehearse()
            self._samplers.monitor = app.monitor
            store, outbox = self._open_study(stack, sole=sole)
            app.prepare(store)
            n_reconciled = store.reap()
            account = store.account(meters, are_jobs_here=app.are_jobs_here, sole=sole)
            stack.callback(account.record, {})
            account.choose(self._provenance(store))
            coordinator = self._coordinator(store, outbox, account)
            n_trials, next_point, notes = self._plan(store)
            notes = [*app.notes(), *_study_notes(store, n_reconciled, n_trials), *notes]
            app.print_banner(console, n_trials, store.n_finished())
            provenance = app.ready.provenance if app.ready else None
            draws = not app.shares_terminal
            metrics = self._identity.metrics
            with LiveStudy(n_trials, console, provenance, metrics=metrics, draws=draws) as live:
                live.take_up(store.n_finished(), store.read().trials)
                live.warn(app.ready.flags if app.ready else ())
                for line in notes:
                    live.note(line)
                self._coordinate(coordinator, store, n_trials, next_point, live)
            self._end(store, account, coordinator.failure)

    def _rehearse(self) -> None:
        """Check that the sampler can search the space; after `fork`, since it may start threads."""
        if not self._options.grid:
            points = partial(suggest, space=self._space, adapter=self._app)
            self._samplers.rehearse(points, self._identity.metrics)

    def _dry_run(self) -> None:
        """Train one epoch of the default configuration, and print what the search would cost."""
        app, console = self._app, self._console
        with interrupting(), ExitStack() as stack:
            folder = stack.enter_context(temporary_output(self._config))
            app.job_overrides = (override_for(FOLDER, folder),)
            meters = CommandMeters.of(app.hardware)
            app.open(stack)
            app.check_machine(console)
            with self._waiting("training one epoch of the default configuration"):
                lines = dry_run(app, self._options, meters)
        for line in lines:
            say(console, line)

    def _check_space(self) -> None:
        self._app.check_space()
        for override in self._space.fixed:
            key, _, value = override.lstrip("+").partition("=")
            if key in ("storage", "hydra.sweeper.storage"):
                refuse_password(value)
        if not self._is_search and isinstance(self._app, OwnApp):
            raise ConfigError(
                "nothing to search: sweep at least one key, such as "
                "'lr=tag(log,interval(1e-4,1e-1))', or train once without -m"
            )

    @property
    def _is_search(self) -> bool:
        """True if anything is searched."""
        return bool(self._space.dimensions) or self._options.custom_search_space is not None

    def _repeat(self) -> None:
        """Run the only configuration outside of any study: a study of it would search nothing."""
        typed = OmegaConf.select(self._config, "hydra.overrides.hydra") or ()
        is_counted = any("hydra.sweeper.n_trials=" in override for override in typed)
        n_jobs = self._options.n_trials if is_counted else 1
        times = "once" if n_jobs == 1 else f"n_trials={n_jobs} times"
        say(
            self._console,
            f"nothing is searched, so the configuration runs {times}, outside of any study; a "
            "search has a key with a range or choices, such as 'lr=tag(log,interval(1e-4,1e-1))'",
        )
        with interrupting(), ExitStack() as stack:
            self._app.open(stack)
            try:
                self._app.repeat(n_jobs, self._console)
            except Interrupted as interrupt:
                raise SystemExit(interrupt.exit_code) from None

    def _refuse_shared_pickles(self) -> None:
        """Check that only this user can write submitit's pickles: loading one runs its code."""
        key = "hydra.launcher.submitit_folder"
        folder = OmegaConf.select(self._config, key)
        if folder is not None:
            refuse_shared(Path(str(folder).partition("%")[0]), key)  # %j becomes the job's number

    def _settle(self) -> None:
        """Learn what the trials of another app report: see `OtherApp.settle`."""
        if not isinstance(self._app, OtherApp):
            return
        try:
            with self._waiting("running the default configuration"):
                self._app.settle(self._samplers.first_pause_j(), self._first_point())
        except Interrupted as interrupt:
            say(self._console, "interrupted in the default configuration: there is no study yet")
            raise SystemExit(interrupt.exit_code) from None

    def _waiting(self, text: str) -> AbstractContextManager[object]:
        """Show a spinner while a job runs, unless it needs the terminal for itself."""
        if self._app.shares_terminal:
            return nullcontext()
        return waiting(self._console, text)

    def _first_point(self) -> Mapping[str, Value] | None:
        """Return the first point of a grid; None where points are suggested."""
        if not self._options.grid:
            return None
        _, next_point, _ = plan_grid(self._space, self._composer, self._options.n_trials)
        return next_point([])

    def _open_study(self, stack: ExitStack, *, sole: bool) -> tuple[StudyStore, Outbox]:
        app = self._app
        outbox = Outbox(
            app.output_folder,
            app.recipe,
            journals=app.keeps_journals,
            outcome_of_pause=app.outcome_of_pause,
        )
        # Jobs in this process block its heartbeats.
        grace_s = _A_DAY_S if app.in_process else BEATS_OF_GRACE * self._options.heartbeat_s
        store = StudyStore.open(
            app.storage,
            app.name,
            self._identity,
            self._samplers.sampler,
            remains=outbox.remains,
            grace_s=grace_s,
            sole=sole,
        )
        stack.callback(_suppress_storage_errors, store.close)
        return store, outbox

    def _provenance(self, store: StudyStore) -> Provenance | None:
        """Return where joules come from; None if only the first trial will tell."""
        ready = self._app.ready
        return store.read().provenance if ready is None else ready.provenance

    def _coordinator(
        self, store: StudyStore, outbox: Outbox, account: CommandAccount
    ) -> Coordinator:
        options, study = self._options, store.read()
        sampler = store.sampler.inner
        schedule = self._samplers.schedule(sampler)
        return Coordinator(
            store=store,
            space=self._space,
            adapter=self._app,
            limits=Limits(
                n_trials=options.n_trials,
                max_failures=options.failure_limit,
                max_failure_rate=options.max_failure_rate,
                heartbeat_s=options.heartbeat_s,
                storage_wait_s=options.storage_wait_s,
            ),
            calibration=Calibration.of(result for _, result in study.results),
            outbox=outbox,
            suggests_more=options.custom_search_space is not None,
            schedule=schedule,
            history_builder=HistoryBuilder(study.trials) if self._app.has_rules else None,
            budget=self._samplers.budget(sampler, schedule),
            account=account,
        )

    def _plan(self, store: StudyStore) -> tuple[int, NextPoint | None, list[str]]:
        """Return the number of trials, what plans their points, and lines to print."""
        if self._options.grid:
            return plan_grid(self._space, self._composer, self._options.n_trials)
        return self._options.n_trials, None, self._app.plan_default(store)

    def _coordinate(
        self,
        coordinator: Coordinator,
        store: StudyStore,
        n_trials: int,
        next_point: NextPoint | None,
        live: LiveStudy,
    ) -> None:
        try:
            coordinator.run(n_trials, next_point, live)
        except Interrupted as interrupt:
            study = store.read()
            summary = summarize(study) if study.target is not None else None
            live.note(stopped_text(summary, store.n_finished(), n_trials, store.paused()))
            cluster_jobs = self._app.jobs_left()
            if cluster_jobs is not None:
                live.note(cluster_jobs)
            raise SystemExit(interrupt.exit_code) from None

    def _end(self, store: StudyStore, account: CommandAccount, failure: str | None) -> None:
        study, name = store.read(), self._app.name

        def recount() -> StudyRecord:
            account.record({})
            return store.recounted(study)

        self._app.print_end(self._console, study, recount)
        if failure is not None:
            raise TrialsFailedError(f"study {name} was ended: {failure}")
        _refuse_failed(study, store.n_finished())


def _locate_of(options: Options, config: DictConfig) -> Locate:
    """Return what finds the code that a config names: our own app refuses foreign code."""
    if not options.is_own_app:
        return get_object
    folders, trusted = config_folders(config), list(config.trusted_targets)
    return partial(trusted_target, folders=folders, packages=trusted)


def _refuse_failed(study: StudyRecord, n_ended: int) -> None:
    """Check that a study has more than failures.

    Args:
        study: The study.
        n_ended: Number of its trials that ended, without those whose run died.

    Raises:
        TrialsFailedError: If no trial completed, or most of those that ended failed.
    """
    reasons = [trial.reason for trial in study.trials if trial.reason]
    because = f"; the last: {reasons[-1]}" if reasons else ""
    n_failed = n_ended - sum(trial.state in ("complete", "pruned") for trial in study.trials)
    if not any(trial.state in ("complete", "paused") for trial in study.trials):
        raise TrialsFailedError(f"no trial of study {study.name} completed{because}")
    if 2 * n_failed > n_ended:
        raise TrialsFailedError(
            f"{n_failed} of {n_ended} trials of study {study.name} failed{because}"
        )


def _study_notes(store: StudyStore, n_reconciled: int, n_trials: int) -> list[str]:
    """Return the lines to print about the study before the first trial of this run."""
    notes = [] if store.note is None else [store.note]
    if store.n_finished() >= n_trials and not store.paused():
        n_finished = store.n_finished()
        trials = "its trial" if n_finished == 1 else f"all of its {n_finished} trials"
        notes.append(f"the study has {trials}: nothing is missing")
    if n_reconciled:
        trials = "1 trial" if n_reconciled == 1 else f"{n_reconciled} trials"
        notes.append(f"{trials} of a run that died: what they burnt counts")
    paused = store.paused()
    if paused:
        trials = "1 trial is" if paused == 1 else f"{paused} trials are"
        notes.append(f"{trials} paused, and may go on")
    other_runs = store.others()
    if other_runs:
        runs = ", ".join(map(str, other_runs))
        notes.append(f"the study is shared with {runs}: together they train its trials")
    return notes


def _suppress_storage_errors(work: Callable[[], None]) -> None:
    """Ignore a storage that is gone: the next run reconciles what it misses."""
    with suppress(StorageError):
        work()


def _refuse_ranks() -> None:
    """Refuse a search that torchrun starts in each of several processes.

    Raises:
        ConfigError: If it does.
    """
    _, size = own_rank()
    if size > 1:
        raise ConfigError(
            f"{size} processes would each run this search; start it without torchrun, and start "
            "the ranks of a training in the job: docs/how-to/several-processes.md"
        )
