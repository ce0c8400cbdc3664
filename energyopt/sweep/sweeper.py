"""Hydra's side of a study: from the words of a multirun to a coordinator, and to the answer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import Trial
from rich.console import Console

from energyopt.config.root_keys import check_roots
from energyopt.config.trial_factory import Setup
from energyopt.config.trust import trusted_target
from energyopt.core.calibration import Known
from energyopt.core.report_settings import Plans
from energyopt.core.trial_result import Outcome, Provenance, TrialResult
from energyopt.core.units import setup as setup_words
from energyopt.errors import ConfigError, EnergyoptError, GpusTaken, StorageError, StudyError
from energyopt.jobs import external_launchers as elsewhere
from energyopt.jobs import job as own_app
from energyopt.jobs.job_result import outcome_of_error
from energyopt.jobs.launcher import LocalLauncher
from energyopt.objectives import judge, paused
from energyopt.report.console import say, waiting
from energyopt.report.live import LiveStudy
from energyopt.report.study_output import banner, print_end
from energyopt.search.history_builder import Standing
from energyopt.search.space import Dimension, Value, parse_space
from energyopt.storage.credentials import refuse_kept_password, refuse_password
from energyopt.storage.identity import Identity, check_name
from energyopt.storage.reconciliation import Point
from energyopt.storage.run_leases import BEATS_OF_GRACE, only_coordinator
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import Composer
from energyopt.sweep.coordinator import Coordinator, Jobs
from energyopt.sweep.options import Options
from energyopt.sweep.outbox import Spool
from energyopt.sweep.results_file import write_results
from energyopt.sweep.sampler_factory import Searching
from energyopt.sweep.study_identity import (
    POWER_LIMIT,
    command_words,
    identify,
    name_study,
    refuse_steps,
    refuse_unsweepable,
)
from energyopt.utils import failpoints
from energyopt.utils.files import refuse_shared
from energyopt.utils.signals import Interrupted, interrupting

NextPoint = Callable[[Sequence[Point]], Point | None]

_A_DAY_S = 86_400.0
_DEATH_S = 3.0  # a driver takes its time to let go of a killed process


class StudySweeper:
    """Runs a study for Hydra's multirun.

    Args:
        **options: The keys of `Options`.
    """

    def __init__(self, **options: Any) -> None:
        self._given = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what the multirun is about."""
        self._context = hydra_context
        self._task_function = task_function
        self._config = config

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run what is missing of the study that the words ask for, and show it.

        Raises:
            EnergyoptError: If it cannot be run, or no trial completed.
            SystemExit: After an interrupt, with the code of its signal.
        """
        setup_globals()
        failpoints.arm()
        options = Options.read(self._given)
        with interrupting():
            _Run(options, self._context, self._task_function, self._config, arguments).run()


class _Run:
    """One run of the command: it creates a study, or goes on with one."""

    def __init__(
        self,
        options: Options,
        context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        arguments: Sequence[str],
    ) -> None:
        self._options = options
        self._config = config
        self._own = options.app is not None
        self._told: Callable[[TrialResult], Outcome] = paused
        self._console = Console()
        self._space = parse_space(options.words(arguments), context.config_loader)
        self._check_space()
        refuse_kept_password(OmegaConf.to_container(config, resolve=False))
        self._composer = Composer(context.config_loader, config, self._space)
        self._composer.check()
        self._searching = Searching(options, config, self._space, self._composer)
        self._identity, self._name = self._ask_what()
        check_name(self._name)
        self._searching.schedule(
            self._searching.sampler(0)
        )  # what cannot be made leaves no study behind
        self._folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
        self._storage = str(options.storage or self._folder / "study.db")
        self._refuse_shared_pickles()
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task_function, config=config
        )
        self._local: LocalLauncher | None = getattr(self._launcher, "local", None)
        if self._own and self._local is None:
            elsewhere.refuse_timeout(config)
        self._ready: own_app.Readiness | None = None
        self._restored: list[str] = []

    def run(self) -> None:
        """Run the study."""
        with ExitStack() as stack:
            self._open(stack)
            sole = stack.enter_context(only_coordinator(self._storage, self._name))
            if self._own and self._local:
                self._ready = self._shown_preflight()
                self._check_limits(self._ready)
            provenance = self._ready.provenance if self._ready else None
            store = self._open_study(stack, sole=sole)
            if provenance is not None:
                store.bind(provenance)
            if self._own:
                store.keep_plans(self._plans())
            settled = store.reap()
            coordinator = self._coordinator(store)
            n_trials, next_point, notes = self._plan(store)
            notes = [*self._hardware_notes(), *self._study_notes(store, settled), *notes]
            if self._own:
                self._print_banner(provenance, n_trials, store.counted())
            with LiveStudy(n_trials, self._console, provenance) as live:
                live.take_up(store.counted(), store.read().trials)
                live.mind(self._ready.flags if self._ready else ())
                for note in notes:
                    live.note(note)
                self._coordinate(coordinator, store, n_trials, next_point, live)
        self._end(store, coordinator.failure)

    def _open_study(self, stack: ExitStack, *, sole: bool) -> StudyStore:
        words = self._space.words
        spool = Spool(self._folder, words, journals=self._own, told=self._told)
        # Jobs in this process keep it from saying that it lives.
        beats_s = _A_DAY_S if self._in_process else BEATS_OF_GRACE * self._options.heartbeat_s
        store = StudyStore.open(
            self._storage,
            self._name,
            self._identity,
            self._searching.sampler,
            remains=spool.remains,
            grace_s=beats_s,
            sole=sole,
        )
        self._spool = spool
        stack.callback(_quietly, store.close)
        return store

    @property
    def _in_process(self) -> bool:
        return elsewhere.runs_here(self._launcher, self._config)

    # What is asked -------------------------------------------------------------------------

    def _check_space(self) -> None:
        if self._own:
            refuse_unsweepable(self._space, grid=self._options.grid)
        for word in self._space.fixed:
            key, _, value = word.lstrip("+").partition("=")
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

    def _ask_what(self) -> tuple[Identity, str]:
        """The study's identity and name; the multirun's config is told the name."""
        space, hydra = self._space, self._config.hydra
        if not self._own:
            name = self._options.study_name or str(hydra.job.name)
            return Identity(self._options.metrics, space.fixed, space.sweep, None, None), name
        cfg = self._composer.default().copy()
        with open_dict(cfg):
            choices = cfg.pop("hydra").runtime.choices
        refuse_steps(cfg)
        check_roots(cfg)
        folders = own_app.config_folders(self._config)
        objective = Setup(cfg, folders).objective
        self._told = partial(judge, objective=objective)
        identity = identify(cfg, space, objective.metrics, command_words(self._config))
        name = self._options.study_name or name_study(choices, identity)
        with open_dict(self._config):
            self._config.study = name
        return identity, name

    def _plans(self) -> Plans:
        said = self._composer.default().get("report") or {}
        return Plans.from_dict({**said, "reuse": self._options.reuse})

    def _study_words(self) -> tuple[str, ...]:
        """What each of our own jobs is told beside its setup."""
        return (Dimension.plain("study", self._name),) if self._own else ()

    # What is run ---------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> None:
        """Fork the server of the jobs; put back what killed jobs left, now and at the end."""
        if self._own:
            stack.callback(own_app.restore_limits, _DEATH_S)
        if self._local is not None:
            # Before anything here has threads or connections: it forks.
            warm_up = partial(own_app.warm_up, self._config) if self._own else None
            clean_up = partial(own_app.restore_limits, _DEATH_S) if self._own else None
            self._local.open(warm_up, clean_up)
            stack.callback(self._local.close)
        if self._own:
            self._restored = own_app.restore_limits()

    def _check_limits(self, ready: own_app.Readiness) -> None:
        """Refuse a sweep of power limits that the GPUs do not take.

        Raises:
            ConfigError: Naming the range.
        """
        swept = next((d for d in self._space.scalars if d.key == POWER_LIMIT), None)
        if swept is None or ready.limits_w is None:
            return
        low_w, high_w = ready.limits_w
        wrong = [v for v in swept.ends() if isinstance(v, int | float) and not low_w <= v <= high_w]
        if wrong:
            raise ConfigError(
                f"{swept.describe()}: {wrong[0]} is outside {low_w:g} to {high_w:g} W of "
                f"{ready.gpu}; choose limits in the range"
            )
        if ready.limit_w is not None:  # the default setup leaves the limit as it is
            self._composer.assume(POWER_LIMIT, ready.limit_w)

    def _hardware_notes(self) -> list[str]:
        """What is to be said of the GPUs before the first trial."""
        notes = list(self._restored)
        rivals = self._ready.rivals if self._ready else None
        if rivals is None:
            return notes
        n_jobs, idle_s = self._options.n_jobs, OmegaConf.select(self._config, "hardware.idle_s")
        if n_jobs > rivals:
            trials = "1 trial" if rivals == 1 else f"{rivals} trials"
            notes.append(f"n_jobs={n_jobs}, but there are GPUs for {trials} at a time")
        if idle_s:
            notes.append(f"power at rest is measured for {idle_s:g} s, once for each GPU and limit")
        return notes

    def _study_notes(self, store: StudyStore, settled: int) -> list[str]:
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

    def _shown_preflight(self) -> own_app.Readiness:
        with waiting(self._console, "starting: libraries, data, the default setup"):
            return self._preflight_choices()

    def _preflight_choices(self) -> own_app.Readiness:
        """Check the default setup, and each other option that a group may take.

        Raises:
            EnergyoptError: What would fail every trial, or every one with such an option.
        """
        default = self._composer.baseline()
        ready = self._preflight(default)
        for dimension in self._space.groups:
            for option in dimension.grid():
                if option == default[dimension.key]:
                    continue
                try:
                    self._preflight(self._composer.baseline({dimension.key: option}))
                except EnergyoptError as error:
                    raise ConfigError(
                        f"{dimension.word(option)} cannot be trained here ({error}); leave it out "
                        "of the choice"
                    ) from error
        return ready

    def _preflight(self, params: Mapping[str, Value]) -> own_app.Readiness:
        """Build a setup once, in a process of its own, and learn where joules come from."""
        try:
            return self._try(params, "++hardware.lease_wait_s=0")
        except GpusTaken as taken:
            wait_s = OmegaConf.select(self._config, "hardware.lease_wait_s")
            if not wait_s:
                raise
            held = str(taken).partition(": energy counters")[0]
            say(self._console, f"{held}: waiting {wait_s:g} s for it")
        return self._try(params)

    def _try(self, params: Mapping[str, Value], *more: str) -> own_app.Readiness:
        words = [
            *self._space.fixed,
            *self._space.words(params),
            *self._study_words(),
            f"+{own_app.PREFLIGHT}=true",
            "++hydra.output_subdir=null",
            f"++hydra.sweep.subdir={own_app.PREFLIGHT}",
            *more,
        ]
        (returned,) = self._launcher.launch([words], initial_job_idx=0)
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if isinstance(value, own_app.Readiness):
            return value
        if isinstance(value, EnergyoptError):
            raise value
        raise StudyError(f"the default setup cannot be built: {outcome_of_error(value).reason}")

    def _coordinator(self, store: StudyStore) -> Coordinator:
        jobs = Jobs(
            launcher=self._launcher,
            folder=self._folder,
            extra=self._study_words(),
            in_process=self._in_process,
            journals=self._own,
            stop=self._local.close if self._local else _leave,
            clean_up=own_app.restore_limits if self._own else _leave,
            seed=self._config.seed if self._own else 0,
            most_at_a_time=(self._ready and self._ready.rivals) or sys.maxsize,
        )
        study = store.read()
        schedule = self._searching.schedule(store.sampler)
        has_rules = self._own and bool(OmegaConf.select(self._config, "stopping.rules"))
        return Coordinator(
            store=store,
            space=self._space,
            composer=self._composer,
            options=self._options,
            metrics=self._identity.metrics,
            jobs=jobs,
            known=Known.of(result for _, result in study.results),
            spool=self._spool,
            schedule=schedule,
            standing=Standing(study.trials) if has_rules else None,
            suggest_more=self._suggest_more(),
            budget=self._searching.budget(store.sampler, schedule),
        )

    def _suggest_more(self) -> Callable[[Trial], None] | None:
        """The user's own search space function; in our own app somebody must vouch for it."""
        function = self._options.custom_search_space
        if function is None:
            return None
        if self._own:
            folders = own_app.config_folders(self._config)
            function = trusted_target(str(function), folders, list(self._config.trusted_targets))
        elif isinstance(function, str):
            function = get_method(function)
        return partial(function, self._config)

    def _plan(self, store: StudyStore) -> tuple[int, NextPoint | None, list[str]]:
        """The number of trials that there can be, what plans them, and what to say of them."""
        if self._options.grid:
            return self._plan_grid()
        if not self._own:
            return self._options.n_trials, None, []
        params = self._composer.baseline()
        if not store.plan_first(params):
            return self._options.n_trials, None, []
        note = f"trial 0 is the default setup: {setup_words(params)}"
        moved = self._composer.moved(params)
        if moved:
            note += f" (moved into the space from {', '.join(moved)})"
        return self._options.n_trials, None, [note]

    def _plan_grid(self) -> tuple[int, NextPoint, list[str]]:
        axes, groups = self._space.dimensions, self._space.groups
        points: list[Point] = []
        for values in itertools.product(*(d.grid() for d in axes)):
            whole = dict(zip((d.key for d in axes), values, strict=True))
            present = self._composer.present({d.key: whole[d.key] for d in groups})
            keys = {d.key for d in (*groups, *present)}
            point = {key: value for key, value in whole.items() if key in keys}
            if point not in points:  # it may differ in keys that do not exist there alone
                points.append(point)

        def next_point(seen: Sequence[Point]) -> Point | None:
            there = {frozenset(point.items()) for point in seen}
            return next((p for p in points if frozenset(p.items()) not in there), None)

        n_trials, size = self._options.n_trials, len(points)
        if size <= n_trials:
            return size, next_point, []
        note = f"the grid has {size} points, n_trials={n_trials} trains the first of them; "
        return n_trials, next_point, [note + f"n_trials={size} trains all"]

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
                f"{self._name}{more}; the same command goes on from there"
            )
            others = elsewhere.going_on(self._config)
            if others is not None:
                live.note(others)
            raise SystemExit(interrupt.exit_code) from None

    # What is said --------------------------------------------------------------------------

    def _print_banner(self, provenance: Provenance | None, n_trials: int, counted: int) -> None:
        choices = self._config.hydra.runtime.choices
        swept = {d.key for d in self._space.groups}
        fixed = [f"{g} {choices.get(g)}" for g in ("task", "model") if g not in swept]
        sampler = self._options.sampler
        text = banner(
            name=self._name,
            target=self._config.target,
            setup=", ".join(fixed),
            space=", ".join(d.describe() for d in self._space.dimensions),
            sampler=sampler if isinstance(sampler, str) else sampler["_target_"],
            provenance=provenance,
            n_trials=n_trials,
            counted=counted,
        )
        say(self._console, text)

    def _end(self, store: StudyStore, failure: str | None) -> None:
        study = store.read()
        if self._own:
            print_end(self._console, study, self._storage, self._folder)
        else:
            write_results(study, self._folder)
        if failure is not None:
            raise StudyError(f"study {self._name} was ended: {failure}")
        if not any(trial.state in ("complete", "paused") for trial in study.trials):
            reasons = [trial.reason for trial in study.trials if trial.reason]
            because = f"; the last: {reasons[-1]}" if reasons else ""
            raise StudyError(f"no trial of study {self._name} completed{because}")


def _quietly(work: Callable[[], None]) -> None:
    """Say nothing if the storage is gone: what it was not told, the next run finds out."""
    with suppress(StorageError):
        work()


def _leave() -> None:
    """Jobs that another launcher runs elsewhere are not ours to stop."""
