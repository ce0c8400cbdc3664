"""Hydra's side of a study: from the overrides of a multirun to a coordinator, and to the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from energyopt.core.calibration import Calibration
from energyopt.errors import ConfigError, StorageError, StudyError
from energyopt.jobs.fork_server import ForkedJob
from energyopt.report.live import LiveStudy
from energyopt.search.history_builder import HistoryBuilder
from energyopt.storage.credentials import refuse_kept_password, refuse_password
from energyopt.storage.identity import check_name
from energyopt.storage.run_leases import BEATS_OF_GRACE, only_coordinator
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import Composer
from energyopt.sweep.coordinator import Coordinator, Limits
from energyopt.sweep.grid import plan_grid
from energyopt.sweep.hydra_app import HydraApp, Multirun
from energyopt.sweep.options import Options
from energyopt.sweep.outbox import Outbox
from energyopt.sweep.own_app import OwnApp
from energyopt.sweep.sampler_factory import SamplerFactory
from energyopt.sweep.space_parser import parse_space
from energyopt.sweep.trial_queue import NextPoint
from energyopt.utils import failpoints
from energyopt.utils.files import refuse_shared
from energyopt.utils.signals import Interrupted, interrupting

_A_DAY_S = 86_400.0


class StudySweeper:
    """Runs a study for Hydra's multirun: it creates one, or continues it.

    `fork` comes first, then `run`.

    Args:
        given: The keys of `Options`.
        hydra_context: Hydra's, with the config loader.
        task_function: What each job runs.
        config: The multirun's own config.
        arguments: Its overrides.

    Raises:
        EnergyoptError: If what is asked cannot be run; nothing is left behind then.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        arguments: Sequence[str],
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        setup_globals()
        failpoints.arm()
        self._options = options = Options.read(given)
        self._config = config
        self._console = Console()
        self._space = parse_space(options.words(arguments), hydra_context.config_loader)
        self._composer = Composer(hydra_context.config_loader, config, self._space)
        multirun = Multirun(hydra_context, task_function, config)
        app = HydraApp if options.app is None else OwnApp
        self._app = app(multirun, options, self._space, self._composer)
        self._check_space()
        refuse_kept_password(OmegaConf.to_container(config, resolve=False))
        self._composer.check()
        self._searching = SamplerFactory(options, config, self._space, self._composer)
        self._identity = self._app.identify()
        check_name(self._app.name)
        self._searching.schedule(
            self._searching.sampler(0)
        )  # what cannot be made leaves no study behind
        self._refuse_shared_pickles()
        self._app.make_launcher()

    def fork(self) -> ForkedJob | None:
        """Fork the server of the jobs, before anything here has threads or connections.

        Returns:
            None in this process; in that of a job, the job, which the caller is to run.
        """
        return self._app.fork()

    def run(self) -> None:
        """Run what is missing of the study, and show it.

        Raises:
            EnergyoptError: If it cannot be run, or no trial completed.
            SystemExit: After an interrupt, with the code of its signal.
        """
        app, console = self._app, self._console
        with interrupting(), ExitStack() as stack:
            app.open(stack)
            sole = stack.enter_context(only_coordinator(app.storage, app.name))
            app.check_machine(console)
            store, spool = self._open_study(stack, sole=sole)
            app.prepare(store)
            settled = store.reap()
            coordinator = self._coordinator(store, spool)
            n_trials, next_point, notes = self._plan(store)
            notes = [*app.notes(), *_study_notes(store, settled), *notes]
            app.print_banner(console, n_trials, store.counted())
            provenance = app.ready.provenance if app.ready else None
            with LiveStudy(n_trials, console, provenance) as live:
                live.take_up(store.counted(), store.read().trials)
                live.warn(app.ready.flags if app.ready else ())
                for note in notes:
                    live.note(note)
                self._coordinate(coordinator, store, n_trials, next_point, live)
        self._end(store, coordinator.failure)

    def _check_space(self) -> None:
        self._app.check_space()
        for override in self._space.fixed:
            key, _, value = override.lstrip("+").partition("=")
            if key in ("storage", "hydra.sweeper.storage"):
                refuse_password(value)
        if not self._space.dimensions and self._options.custom_search_space is None:
            raise ConfigError(
                "nothing to search: sweep at least one key, such as "
                "'lr=tag(log,interval(1e-4,1e-1))', or train once without -m"
            )

    def _refuse_shared_pickles(self) -> None:
        """Submitit keeps jobs and answers as pickles: who can write them runs code as this user."""
        key = "hydra.launcher.submitit_folder"
        folder = OmegaConf.select(self._config, key)
        if folder is not None:
            refuse_shared(Path(str(folder).partition("%")[0]), key)  # %j becomes the job's number

    def _open_study(self, stack: ExitStack, *, sole: bool) -> tuple[StudyStore, Outbox]:
        app = self._app
        spool = Outbox(
            app.output_folder, app.recipe, journals=app.keeps_journals, told=app.outcome_of_pause
        )
        # Jobs in this process keep it from saying that it lives.
        grace_s = _A_DAY_S if app.in_process else BEATS_OF_GRACE * self._options.heartbeat_s
        store = StudyStore.open(
            app.storage,
            app.name,
            self._identity,
            self._searching.sampler,
            remains=spool.remains,
            grace_s=grace_s,
            sole=sole,
        )
        stack.callback(_quietly, store.close)
        return store, spool

    def _coordinator(self, store: StudyStore, spool: Outbox) -> Coordinator:
        options, study = self._options, store.read()
        schedule = self._searching.schedule(store.sampler)
        return Coordinator(
            store=store,
            space=self._space,
            adapter=self._app,
            limits=Limits(
                n_trials=options.n_trials,
                max_failures=options.max_failures,
                max_failure_rate=options.max_failure_rate,
                heartbeat_s=options.heartbeat_s,
                storage_wait_s=options.storage_wait_s,
            ),
            known=Calibration.of(result for _, result in study.results),
            spool=spool,
            schedule=schedule,
            standing=HistoryBuilder(study.trials) if self._app.has_rules else None,
            budget=self._searching.budget(store.sampler, schedule),
        )

    def _plan(self, store: StudyStore) -> tuple[int, NextPoint | None, list[str]]:
        """The number of trials that there can be, what plans them, and what to say of them."""
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
            paused = store.paused()
            more = f", {paused} more paused" if paused else ""
            live.note(
                f"interrupted: {store.counted()} of {n_trials} trials are kept in study "
                f"{self._app.name}{more}; the same command goes on from there"
            )
            left = self._app.jobs_left()
            if left is not None:
                live.note(left)
            raise SystemExit(interrupt.exit_code) from None

    def _end(self, store: StudyStore, failure: str | None) -> None:
        study, name = store.read(), self._app.name
        self._app.print_end(self._console, study)
        if failure is not None:
            raise StudyError(f"study {name} was ended: {failure}")
        if not any(trial.state in ("complete", "paused") for trial in study.trials):
            reasons = [trial.reason for trial in study.trials if trial.reason]
            because = f"; the last: {reasons[-1]}" if reasons else ""
            raise StudyError(f"no trial of study {name} completed{because}")


def _study_notes(store: StudyStore, settled: int) -> list[str]:
    """What is to be said of the study before the first trial of this run."""
    notes = [] if store.note is None else [store.note]
    if settled:
        trials = "1 trial" if settled == 1 else f"{settled} trials"
        notes.append(f"{trials} of a run that died: what they burnt counts")
    paused = store.paused()
    if paused:
        trials = "1 trial is" if paused == 1 else f"{paused} trials are"
        notes.append(f"{trials} paused, and may go on")
    others = store.others()
    if others:
        who = ", ".join(map(str, others))
        notes.append(f"the study is shared with {who}: together they train n_trials")
    return notes


def _quietly(work: Callable[[], None]) -> None:
    """Say nothing if the storage is gone: what it was not told, the next run finds out."""
    with suppress(StorageError):
        work()
