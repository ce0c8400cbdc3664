"""The sweeper: ask -> words -> launcher -> outcome -> tell, without a barrier between trials."""

from __future__ import annotations

import itertools
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial
from rich.console import Console

from energyopt import app as own_app
from energyopt.build import Setup, check_roots, make_sampler
from energyopt.errors import ConfigError, EnergyoptError, StudyError
from energyopt.journal import NAME, JournalReader
from energyopt.launcher import LocalLauncher
from energyopt.outcome import failed, outcome_of, outcome_of_error
from energyopt.question import identify, name_study, refuse_unsweepable
from energyopt.records import End, Metric, Outcome, Provenance, StudyRecord, TrialRecord
from energyopt.report.live import LiveStudy
from energyopt.report.study import banner, print_end
from energyopt.search.samplers import continued_seed, sampler_node
from energyopt.search.space import Dimension, Space, Value, parse_space
from energyopt.store.studies import DEFAULT_SETUP, Identity, StudyStore, only_coordinator

_INTERRUPTED = 130
_TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Options:
    """The keys of `hydra.sweeper`, those of hydra-optuna-sweeper among them.

    Attributes:
        app: "energyopt" in our own app; null in any other.
        sampler: A short name, or a node with a `_target_`.
        direction: "minimize" or "maximize", or a list of them, one an objective.
        metric_names: Names of the objectives; null numbers them.
        storage: A file or a SQLAlchemy URL.
        study_name: The study's name; null makes one.
        n_trials: The study's total.
        n_jobs: Trials at a time.
        max_failures: Failed trials that end the run; null never.
        max_failure_rate: Share of n_trials that may fail; null any.
        params: Sweeps from the config, by key; the command line has precedence.
        custom_search_space: A function of (config, trial) that suggests more.
    """

    app: str | None = None
    sampler: Any = "tpe"
    direction: Any = "minimize"
    metric_names: Sequence[str] | None = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int = 20
    n_jobs: int = 1
    max_failures: int | None = None
    max_failure_rate: float | None = None
    params: Mapping[str, Any] | None = None
    custom_search_space: Any = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Read the node; what is unknown is refused by Hydra already."""
        known = {field.name for field in fields(cls)}
        plain = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in given.items()
            if key in known
        }
        options = cls(**plain)
        for key in ("n_trials", "n_jobs"):
            value = getattr(options, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{key}={value}: a whole number of at least 1 is needed")
        return options

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The objectives as the node names them."""
        directions = [self.direction] if isinstance(self.direction, str) else list(self.direction)
        directions = [getattr(d, "name", str(d)).lower() for d in directions]
        wrong = [d for d in directions if d not in ("minimize", "maximize")]
        if wrong or not directions:
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction}: choose minimize or maximize, or a list "
                "of them, one an objective"
            )
        numbered = [f"value_{i}" for i in range(len(directions))]
        names = list(self.metric_names or (numbered if len(numbered) > 1 else ["value"]))
        if len(names) != len(directions):
            raise ConfigError(
                f"hydra.sweeper.metric_names={names} needs {len(directions)} names, one a direction"
            )
        return tuple(Metric(n, d) for n, d in zip(names, directions, strict=True))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A trial on its way: what to run, and where its journal will be."""

    trial: Trial
    words: tuple[str, ...]
    journal: Path


class StudySweeper:
    """Hydra's side of a study.

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
        """Run the study that the words ask for.

        Raises:
            EnergyoptError: If it cannot be run, or no trial completed.
        """
        options = Options.read(self._given)
        with _signals_interrupt():
            _Run(options, self._context, self._task_function, self._config, arguments).run()


class _Run:
    """One run of the command: it may create a study, or go on with one."""

    def __init__(
        self,
        options: Options,
        context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        arguments: Sequence[str],
    ) -> None:
        setup_globals()
        self._options = options
        self._context = context
        self._task_function = task_function
        self._config = config
        self._own = options.app is not None
        self._console = Console()
        self._answers: queue.SimpleQueue[tuple[_Asked, JobReturn]] = queue.SimpleQueue()
        self._running: dict[int, _Asked] = {}
        self._failures = 0
        self._failure: str | None = None
        words = _with_params(arguments, options.params)
        self._space = parse_space(words, context.config_loader)
        self._check_space()
        self._identity, self._name = self._ask_what()
        self._jobs_folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))

    # What is asked -------------------------------------------------------------------------

    def _check_space(self) -> None:
        if self._own:
            refuse_unsweepable(self._space, self._options.sampler)
        if not self._space.dimensions and self._options.custom_search_space is None:
            raise ConfigError(
                "nothing to search: sweep at least one key, such as "
                "'lr=tag(log,interval(1e-4,1e-1))', or train once without -m"
            )

    def _ask_what(self) -> tuple[Identity, str]:
        """The study's identity and name; the coordinator's config is told the name."""
        if not self._own:
            name = self._options.study_name or str(self._config.hydra.job.name)
            space = self._space
            return Identity(self._options.metrics, space.fixed, space.sweep, None, None), name
        cfg = self._compose(self._default_words())
        with open_dict(cfg):
            choices = cfg.pop("hydra").runtime.choices
        check_roots(cfg)
        identity = identify(cfg, self._space, Setup(cfg).objective.metrics)
        name = self._options.study_name or name_study(choices, identity)
        with open_dict(self._config):
            self._config.study = name
        return identity, name

    def _compose(self, words: Sequence[str]) -> DictConfig:
        loader = self._context.config_loader
        return loader.load_sweep_config(self._config, [*self._space.fixed, *words])

    def _default_words(self) -> tuple[str, ...]:
        """Group choices of the default setup: the default option where it may be chosen."""
        choices = self._config.hydra.runtime.choices
        params = {d.key: d.nearest(choices.get(d.key)) for d in self._space.groups}
        return self._space.words(params)

    @cached_property
    def _present(self) -> Callable[[tuple[str, ...]], tuple[Dimension, ...]]:
        """Which scalar axes exist under a choice of groups; each choice is composed once."""
        known: dict[tuple[str, ...], tuple[Dimension, ...]] = {}

        def present(groups: tuple[str, ...]) -> tuple[Dimension, ...]:
            if groups not in known:
                cfg = self._compose(groups)
                known[groups] = tuple(
                    d for d in self._space.scalars if d.always or _exists(cfg, d.key)
                )
            return known[groups]

        return present

    def _check_keys(self) -> None:
        """Refuse an axis whose key exists in no choice, and a conditional grid."""
        missing = {d.key for d in self._space.scalars}
        for values in itertools.product(*(d.grid() for d in self._space.groups)):
            params = {d.key: v for d, v in zip(self._space.groups, values, strict=True)}
            present = {d.key for d in self._present(self._space.words(params))}
            absent = {d.key for d in self._space.scalars} - present
            if absent and self._options.sampler == "grid":
                raise ConfigError(
                    f"sampler=grid needs every axis in every choice, but {min(absent)} does not "
                    f"exist with {' '.join(self._space.words(params))}; choose another sampler"
                )
            missing -= present
            if not missing and self._options.sampler != "grid":
                return
        if missing:
            key = min(missing)
            raise ConfigError(
                f"{key} is swept, but no such key exists"
                + (" in any choice" if self._space.groups else "")
                + f"; to add it write +{key}=..."
            )

    # The run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Run what is missing of the study, and show it."""
        self._check_keys()
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context,
            task_function=self._task_function,
            config=self._config,
        )
        self._launcher = launcher
        self._local: LocalLauncher | None = getattr(launcher, "local", None)
        with ExitStack() as stack:
            if self._local is not None:
                self._local.open(own_app.warm_up if self._own else None)
                stack.callback(self._local.close)
            storage = self._storage()
            stack.enter_context(only_coordinator(storage, self._name))
            provenance = self._preflight() if self._own and self._local else None
            self._store = StudyStore.open(storage, self._name, self._identity, self._sampler)
            if provenance is not None:
                self._store.bind(provenance)
            self._reap()
            before = self._store.read()
            n_trials = self._plan(before)
            counted = self._store.counted()
            if self._own:
                self._print_banner(provenance, n_trials, counted)
            with LiveStudy(n_trials, self._console) as self._live:
                self._live.take_up(counted, before.trials)
                for note in self._notes:
                    self._live.note(note)
                self._loop(n_trials)
        self._end()

    def _print_banner(self, provenance: Provenance | None, n_trials: int, counted: int) -> None:
        choices = self._config.hydra.runtime.choices
        sampler = self._options.sampler
        text = banner(
            name=self._name,
            target=self._config.target,
            setup=f"task {choices.get('task')}, model {choices.get('model')}",
            space=", ".join(d.describe() for d in self._space.dimensions),
            sampler=sampler if isinstance(sampler, str) else sampler["_target_"],
            provenance=provenance,
            n_trials=n_trials,
            counted=counted,
        )
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _storage(self) -> str:
        if self._options.storage:
            return str(self._options.storage)
        return str(self._jobs_folder / "study.db")  # another app's study, not named: its own file

    def _sampler(self, existing: int) -> BaseSampler:
        node = sampler_node(self._options.sampler)
        seed = self._config.seed if self._own else node.get("seed")
        return make_sampler(node, continued_seed(seed, existing), self._config)

    def _preflight(self) -> Provenance:
        """Build everything once, in a process of its own, and learn where joules come from.

        Raises:
            EnergyoptError: What would fail every trial.
        """
        words = [
            *self._space.fixed,
            *self._space.words(self._baseline()),
            Dimension.plain("study", self._name),
        ]
        words += [f"+{own_app.PREFLIGHT}=true", "++hydra.output_subdir=null",
                  f"++hydra.sweep.subdir={own_app.PREFLIGHT}"]  # fmt: skip
        (returned,) = self._launcher.launch([words], initial_job_idx=0)
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if isinstance(value, Provenance):
            return value
        if isinstance(value, EnergyoptError):
            raise value
        raise StudyError(f"the default setup cannot be built: {outcome_of_error(value).reason}")

    # Planned trials ------------------------------------------------------------------------

    def _baseline(self) -> dict[str, Value]:
        """The default setup, clipped into the space."""
        groups = self._default_words()
        cfg = self._compose(groups)
        choices = self._config.hydra.runtime.choices
        params = {d.key: d.nearest(choices.get(d.key)) for d in self._space.groups}
        for dimension in self._present(groups):
            params[dimension.key] = dimension.nearest(OmegaConf.select(cfg, dimension.key))
        return params

    def _plan(self, before: StudyRecord) -> int:
        """Plan what is not left to the sampler; the number of trials that there can be."""
        self._notes: list[str] = []
        self._grid: Iterator[dict[str, Value]] = iter(())
        if self._options.sampler == "grid":
            return self._plan_grid()
        if self._own and not before.trials:
            params = self._baseline()
            self._store.plan(params, default=True)
            self._notes.append(
                f"trial 0 is the default setup: {' '.join(self._space.words(params))}"
                + self._clipped(params)
            )
        return self._options.n_trials

    def _plan_grid(self) -> int:
        axes = self._space.dimensions
        points = [
            dict(zip((d.key for d in axes), values, strict=True))
            for values in itertools.product(*(d.grid() for d in axes))
        ]
        seen = self._store.seen()
        self._grid = iter([point for point in points if point not in seen])
        if len(points) > self._options.n_trials:
            self._notes.append(
                f"the grid has {len(points)} points, n_trials={self._options.n_trials} trains the "
                f"first of them; n_trials={len(points)} trains all"
            )
        return min(self._options.n_trials, len(points))

    def _clipped(self, params: Mapping[str, Value]) -> str:
        cfg = self._compose(self._default_words())
        moved = [
            f"{key}={OmegaConf.select(cfg, key)}"
            for key, value in params.items()
            if key not in {d.key for d in self._space.groups}
            and OmegaConf.select(cfg, key) != value
        ]
        return f" (moved into the space from {', '.join(moved)})" if moved else ""

    def _reap(self) -> None:
        """Trials of a coordinator that died: their joules are kept, their setups run again."""
        for trial in self._store.running():
            self._lose(trial, self._journal(trial.number), "lost", "its run died")

    def _lose(self, trial: Trial | FrozenTrial, journal: Path, end: End, reason: str) -> None:
        result = JournalReader(journal).read().result(end, reason) if self._own else None
        outcome = Outcome("failed", reason=reason, result=result)
        words = self._space.words(trial.params)
        self._store.tell(trial, outcome, words, lost=True)
        self._store.plan(trial.params, default=bool(trial.user_attrs.get(DEFAULT_SETUP)))

    def _journal(self, number: int) -> Path:
        return self._jobs_folder / str(number) / NAME

    # Ask, launch, tell ---------------------------------------------------------------------

    def _loop(self, n_trials: int) -> None:
        counted = self._store.counted()
        try:
            while True:
                while counted + len(self._running) < n_trials and self._has_room():
                    self._start(self._ask())
                if not self._running:
                    return
                asked, returned = self._answers.get()
                self._tell(asked, returned)
                counted += 1
        except KeyboardInterrupt as interrupt:
            self._interrupted(counted, n_trials, interrupt)

    def _has_room(self) -> bool:
        return self._failure is None and len(self._running) < self._slots()

    def _slots(self) -> int:
        in_process = type(self._launcher).__name__ == "BasicLauncher"
        return 1 if in_process else self._options.n_jobs

    def _ask(self) -> _Asked:
        point = next(self._grid, None)
        if point is not None:
            self._store.plan(point)
        trial = self._store.ask()
        with self._store.speaking():
            params = {d.key: _suggest(trial, d) for d in self._space.groups}
            for dimension in self._present(self._space.words(params)):
                params[dimension.key] = _suggest(trial, dimension)
            words = self._space.words(params) + self._custom_words(trial)
        return _Asked(trial, words, self._journal(trial.number))

    def _custom_words(self, trial: Trial) -> tuple[str, ...]:
        """What a user's own function suggested beyond the words."""
        if self._options.custom_search_space is None:
            return ()
        from hydra.utils import get_method

        function = self._options.custom_search_space
        known = set(trial.params)
        if isinstance(function, str):
            function = get_method(function)
        function(self._config, trial)
        new = {key: value for key, value in trial.params.items() if key not in known}
        return tuple(Dimension.plain(key, value) for key, value in new.items())

    def _start(self, asked: _Asked) -> None:
        self._running[asked.trial.number] = asked
        self._live.started(asked.trial.number, asked.words, asked.journal)

        def run() -> None:
            self._answers.put((asked, self._launch(asked)))

        if type(self._launcher).__name__ == "BasicLauncher":
            run()  # in this process and thread, for debugging
        else:
            threading.Thread(target=run, daemon=True).start()

    def _launch(self, asked: _Asked) -> JobReturn:
        words = [*self._space.fixed, *asked.words]
        if self._own:
            words.append(Dimension.plain("study", self._name))
        try:
            (returned,) = self._launcher.launch([words], initial_job_idx=asked.trial.number)
        # The one place that catches: a launcher raises whatever its cluster does.
        except Exception as error:  # noqa: BLE001
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        return returned

    def _tell(self, asked: _Asked, returned: JobReturn) -> None:
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if returned.status == JobStatus.COMPLETED:
            outcome = outcome_of(value, self._identity.metrics)
        else:
            outcome = outcome_of_error(value)
        if outcome.state == "failed" and self._own:
            result = JournalReader(asked.journal).read().result("failed", outcome.reason)
            outcome = Outcome("failed", reason=outcome.reason, result=result)
        refusal = self._bind(outcome)
        if refusal is not None:
            outcome = failed(str(refusal))
        self._store.tell(asked.trial, outcome, asked.words)
        del self._running[asked.trial.number]
        self._live.ended(_as_record(asked, outcome))
        if refusal is not None:
            raise refusal
        if outcome.state == "failed":
            self._count_failure(outcome.reason)

    def _bind(self, outcome: Outcome) -> StudyError | None:
        if outcome.result is None or not outcome.result.valid:
            return None
        try:
            self._store.bind(outcome.result.start.provenance)
        except StudyError as error:
            return error
        return None

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        rate = self._options.max_failure_rate
        most = self._options.max_failures
        if rate is not None and self._failures > rate * self._options.n_trials:
            self._failure = f"max_failure_rate={rate} is passed; the last trial failed: {reason}"
        elif most is not None and self._failures >= most:
            self._failure = f"max_failures={most} is reached; the last trial failed: {reason}"

    def _interrupted(self, counted: int, n_trials: int, interrupt: KeyboardInterrupt) -> None:
        if self._local is not None:
            self._local.close()
        for asked in self._running.values():
            self._lose(asked.trial, asked.journal, "interrupted", "interrupted")
        self._live.note(
            f"interrupted: {counted} of {n_trials} trials are kept in study {self._name}; "
            "the same command goes on from there"
        )
        raise SystemExit(_TERMINATED if isinstance(interrupt, _Terminated) else _INTERRUPTED)

    # The end -------------------------------------------------------------------------------

    def _end(self) -> None:
        study = self._store.read()
        if self._own:
            print_end(self._console, study, self._storage(), self._jobs_folder)
        else:
            _write_results(study, self._jobs_folder)
        if self._failure is not None:
            raise StudyError(f"study {self._name} was ended: {self._failure}")
        if not any(trial.state == "complete" for trial in study.trials):
            reasons = [trial.reason for trial in study.trials if trial.reason]
            because = f"; the last: {reasons[-1]}" if reasons else ""
            raise StudyError(f"no trial of study {self._name} completed{because}")


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends before it takes the machine away."""


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM end a study as Ctrl-C does: bookkeeping first."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_params(arguments: Sequence[str], params: Mapping[str, Any] | None) -> list[str]:
    """The command line's words, and those of `hydra.sweeper.params` that it does not set."""
    given = {word.lstrip("+").partition("=")[0] for word in arguments}
    extra = [f"{key}={value}" for key, value in (params or {}).items() if key not in given]
    return [*arguments, *extra]


def _exists(cfg: DictConfig, key: str) -> bool:
    missing = object()
    return OmegaConf.select(cfg, key, default=missing, throw_on_missing=False) is not missing


def _suggest(trial: Trial, dimension: Dimension) -> Value:
    at = dimension.distribution
    if isinstance(at, CategoricalDistribution):
        chosen: Value = trial.suggest_categorical(dimension.key, at.choices)
        return chosen
    if isinstance(at, IntDistribution):
        return trial.suggest_int(dimension.key, at.low, at.high, step=at.step, log=at.log)
    assert isinstance(at, FloatDistribution)  # noqa: S101  # for the type checker
    return trial.suggest_float(dimension.key, at.low, at.high, step=at.step, log=at.log)


def _as_record(asked: _Asked, outcome: Outcome) -> TrialRecord:
    return TrialRecord(
        number=asked.trial.number,
        state=outcome.state,
        params=asked.trial.params,
        overrides=asked.words,
        values=outcome.values,
        feasible=all(violation <= 0 for violation in outcome.constraints.values()),
        reason=outcome.reason,
        default=bool(asked.trial.user_attrs.get(DEFAULT_SETUP)),
        result=outcome.result,
    )


def _write_results(study: StudyRecord, folder: Path) -> None:
    """`optimization_results.yaml`, as hydra-optuna-sweeper writes it."""
    complete = [t for t in study.trials if t.state == "complete" and t.feasible]
    results: dict[str, Any] = {"name": "energyopt"}
    if len(study.metrics) == 1:
        sign = 1 if study.metrics[0].direction == "minimize" else -1
        best = min(complete, key=lambda t: sign * t.values[0], default=None)
        if best is not None:
            results |= {"best_params": dict(best.params), "best_value": best.values[0]}
    else:
        results["solutions"] = [
            {"params": dict(t.params), "values": list(t.values)}
            for t in complete
            if not any(_dominates(o, t, study.metrics) for o in complete)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")


def _dominates(a: TrialRecord, b: TrialRecord, metrics: Sequence[Metric]) -> bool:
    signs = [1 if metric.direction == "minimize" else -1 for metric in metrics]
    pairs = [(s * x, s * y) for s, x, y in zip(signs, a.values, b.values, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)
