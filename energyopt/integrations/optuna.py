"""Studies of Optuna that count joules: `create_study`, and a `Run` for each trial.

    study = energyopt.create_study(monitor="val_loss", mode="min", target=0.35, epochs=20)

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        run = energyopt.integrations.optuna.Run(trial)
        run.begin(model=model, optimizer=optimizer)
        for epoch in run.epochs():
            ...
            run.report(val_loss)
        return run.values

    study.optimize(objective, n_trials=20)

The loop is Optuna's: trials run in this process, one after the other, and do not pause. The rest is
as in any study: its trials are recorded, and `energyopt show` and its like read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.errors import HydraException
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, Trial

from energyopt.config.overrides import override_for
from energyopt.core.calibration import Calibration
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.journal import read_result
from energyopt.core.metric import Mode, Monitor
from energyopt.core.number_checks import is_number
from energyopt.core.outcome import outcome_of
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import BROKEN, TrialResult
from energyopt.errors import ConfigError, RunStopped, TrialError
from energyopt.hardware.command_meter import CommandMeters
from energyopt.jobs.app_config import compose_here
from energyopt.objectives import EnergyVsAccuracy
from energyopt.search.history_builder import HistoryBuilder
from energyopt.search.joule import JouleSampler
from energyopt.search.samplers import continued_seed
from energyopt.storage import DEFAULT_STORAGE
from energyopt.storage.identity import Identity, file_name
from energyopt.storage.reconciliation import TrialRemnant
from energyopt.storage.user_loop_store import UserLoopStore, spoken_optuna
from energyopt.training import run as any_run
from energyopt.training.run_output import say
from energyopt.training.run_process import Terminated, call_task
from energyopt.utils.paths import STORAGE_VARIABLE

_APP = "objective(trial)"
_FOLDER = Path("studies")


@dataclass(frozen=True, slots=True)
class _Goal:
    """The goal of the trials of a study, and their hardware and rules."""

    monitor: Monitor
    target: float
    epochs: float
    hardware: Mapping[str, Any]
    rules: Mapping[str, Any]

    @property
    def objective(self) -> EnergyVsAccuracy:
        """Its two objectives."""
        return EnergyVsAccuracy(self.monitor)

    def identity(self) -> Identity:
        """Return the identity of its study, with the keys of other apps."""
        config = {
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
            "target": self.target,
            "epochs": self.epochs,
        }
        return Identity(
            self.objective.metrics,
            (),
            (),
            config,
            self.target,
            app=_APP,
            name_key="study_name",
        )


class EnergyStudy(optuna.Study):
    """A study of Optuna whose trials count joules: see `create_study`.

    Args:
        store: Keeps its trials.
        goal: What they are asked.
        folder: Folder of their folders.
    """

    def __init__(self, store: UserLoopStore, goal: _Goal, folder: Path) -> None:
        super().__init__(store.name, store.storage, sampler=store.sampler)
        self._store = store
        self._goal = goal
        self._folder = folder
        self._outcomes: dict[int, Outcome] = {}
        self._claimed: set[int] = set()
        self._is_told = False
        study = store.read()
        self._calibration = Calibration.of(result for _, result in study.results)
        self._history = HistoryBuilder(study.trials)
        self._account = store.account(CommandMeters.of(goal.hardware, is_call=True))

    def optimize(  # noqa: PLR0917  # Optuna's signature
        self,
        func: Callable[[Trial], float | Sequence[float]],
        n_trials: int | None = None,
        timeout: float | None = None,
        n_jobs: int = 1,
        catch: Iterable[type[Exception]] | type[Exception] = (),
        callbacks: Iterable[Callable[[optuna.Study, FrozenTrial], None]] | None = None,
        gc_after_trial: bool = False,
        show_progress_bar: bool = False,
    ) -> None:
        """Optimize as Optuna does; trials run one after the other.

        Raises:
            ConfigError: If `n_jobs` is not 1.
            TrialError: If an objective reports nothing, or returns something else.
        """
        if n_jobs != 1:
            raise ConfigError(
                f"study.optimize(n_jobs={n_jobs}): joules of threads cannot be told apart; leave "
                "it at 1, or use energyopt.optimize(), whose trials are processes"
            )
        if not self._is_told:
            self._is_told = True
            say(
                "trials of Study.optimize train to their end or stop early; those of "
                "energyopt.optimize() also pause and resume"
            )
        checked = self._checked(func)
        try:
            super().optimize(
                checked, n_trials, timeout, 1, catch, callbacks, gc_after_trial, show_progress_bar
            )
        finally:
            self._account.record({})

    def context(self, trial: Trial) -> RunContext:
        """Return the context of a trial's run, whose row is inserted."""
        if trial.number in self._claimed:
            raise TrialError(
                f"trial {trial.number} has a Run already: a trial is one training; make one Run in "
                "the objective"
            )
        self._claimed.add(trial.number)
        self._store.claim(trial)
        folder = self._folder / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JOURNAL).unlink(missing_ok=True)  # of an earlier study of this name
        self._account.began(trial.number, None)
        goal = self._goal
        return RunContext(
            folder=folder.absolute(),
            params=trial.params,
            metric=goal.monitor.name,
            mode=goal.monitor.mode,
            target=goal.target,
            calibration=self._calibration,
            history=self._history.history,
            epochs=goal.epochs,
            hardware=goal.hardware,
            rules=goal.rules,
        )

    def record(self, trial: Trial, result: TrialResult) -> Outcome:
        """Store the record of a trial whose run has ended. Returns its outcome."""
        if trial.number in self._outcomes:
            return self._outcomes[trial.number]
        outcome = Outcome("failed", reason=result.reason, result=result)
        if result.end not in BROKEN:
            outcome = outcome_of(result, self._goal.objective)
        self._outcomes[trial.number] = outcome
        overrides = tuple(override_for(key, value) for key, value in trial.params.items())
        self._store.record(trial, outcome, overrides)
        self._account.ended(trial.number, result)
        self._account.record({})
        if result.valid:
            self._calibration = self._calibration.updated_with(result)
            self._history.add(trial.number, trial.params, result)
        return outcome

    def _checked(
        self, func: Callable[[Trial], float | Sequence[float]]
    ) -> Callable[[Trial], tuple[float, ...]]:
        """Return the objective, which ends the run that it leaves open, and returns its values.

        It may return the metric, as it did before there was a run.
        """

        def objective(trial: Trial) -> tuple[float, ...]:
            returned = call_task(func, trial)
            outcome = self._outcomes.get(trial.number)
            if outcome is None or outcome.result is None:
                raise TrialError(
                    "the objective made no energyopt.integrations.optuna.Run(trial), so nothing is "
                    "known of its joules; make one, report() to it, and return run.values"
                )
            values = values_of(outcome)
            if not _is_told(returned, values, outcome.result.curve.accuracy):
                raise TrialError(
                    f"the objective returned {returned!r:.60}, which it did not report; return "
                    f"run.values, the energy to the target and the best {self._goal.monitor.name}"
                )
            return values

        return objective


class Run(any_run.Run):
    """The run of a trial of a study that `create_study` made.

    It is used as `energyopt.Run` is, whose metric, target and epochs are those of the study.
    `optuna.TrialPruned` leaves its loop where a stopping rule ends it.

    Args:
        trial: The trial.
        **options: Further options of `energyopt.Run`, such as `on_report`.

    Raises:
        ConfigError: If the trial is of another study.
    """

    def __init__(self, trial: Trial, **options: Any) -> None:
        study = getattr(trial, "study", None)
        if not isinstance(study, EnergyStudy):
            raise ConfigError(
                f"Run({type(trial).__name__}) needs a trial of a study that "
                "energyopt.create_study() made"
            )
        self._trial = trial
        self._study = study
        super().__init__(**options)

    def _given_context(self) -> RunContext:
        return self._study.context(self._trial)

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the trial, for Optuna: energy to target in J, best value of the metric.

        Asking for them after the loop ends the run.

        Raises:
            optuna.TrialPruned: If the training was stopped before the target.
            TrialError: If it failed, or reported nothing.
        """
        return values_of(self._study.record(self._trial, self.result))

    def epochs(self, n: int | None = None) -> Iterator[int]:
        """Iterate as `energyopt.Run` does; the training begins here, if `begin` was not called."""
        self._begin()
        return super().epochs(n)

    def steps(self, n: int, *, evaluate_every: int) -> Iterator[range]:
        """Iterate as `energyopt.Run` does; the training begins here, if `begin` was not called."""
        self._begin()
        return super().steps(n, evaluate_every=evaluate_every)

    def _begin(self) -> None:
        if not self.session.is_begun:  # nothing pauses, so nothing needs to be given to it
            self.begin()

    def close(self, error: BaseException | None = None) -> None:
        """End the run, if it has not ended, and store its record.

        Args:
            error: What ended it, if it was an exception.
        """
        if self.session.result is None and isinstance(error, optuna.TrialPruned):
            self.session.finish("stopped", str(error) or "pruned by the objective")
        super().close(error)
        # In a signal handler the database may be in use: the next run of the study reads the
        # journal.
        if not isinstance(error, Terminated):
            self._record()

    def _ends_here(self) -> bool:
        try:
            ends = super()._ends_here()
        except RunStopped as stopped:
            outcome = self._study.record(self._trial, self.result)
            if outcome.state == "pruned":
                raise optuna.TrialPruned(stopped.reason) from None
            return True
        self._record()
        return ends

    def _end_own_loop(self, epoch: float) -> None:
        super()._end_own_loop(epoch)
        self._record()

    def _record(self) -> None:
        """Store the record, once the run has ended."""
        if self.session.result is not None:
            self._study.record(self._trial, self.session.result)


def _is_told(returned: object, values: tuple[float, ...], reported: Sequence[float]) -> bool:
    """Return whether an objective returned nothing, its values, or a value that it reported."""
    if returned is None:
        return True
    if isinstance(returned, tuple | list):
        return tuple(returned) == values
    try:
        return float(returned) in reported  # type: ignore[arg-type]  # NumPy's and torch's, too
    except (TypeError, ValueError):
        return False


def values_of(outcome: Outcome) -> tuple[float, ...]:
    """Return the values of a trial for Optuna.

    Raises:
        optuna.TrialPruned: If it was stopped before the target.
        TrialError: If it failed, or reported nothing.
    """
    if outcome.state == "pruned":
        raise optuna.TrialPruned(outcome.reason)
    if outcome.state == "failed":
        raise TrialError(f"the trial has no values: {outcome.reason}")
    return outcome.values


def create_study(
    *,
    monitor: str,
    mode: Mode,
    target: float,
    epochs: float,
    storage: str | os.PathLike[str] | None = None,
    study_name: str = "optuna",
    default: Mapping[str, Any] | None = None,
    hardware: str = "auto",
    stopping: str = "none",
    seed: int | None = None,
) -> optuna.Study:
    """Create a study of Optuna with the objectives energy to target and best value of the metric.

    A study of this name is continued. Its sampler learns from joules; it trains each trial to its
    end.

    Args:
        monitor: Name of the metric that its trials report.
        mode: "max" if more of it is better, "min" if less is.
        target: Value of it to reach.
        epochs: Maximum number of epochs of a trial.
        storage: A file or a SQLAlchemy URL. If None, the value of ENERGYOPT_STORAGE, else
            studies/energyopt.db.
        study_name: Its name.
        default: Your own values of the searched parameters: they are the first trial, and savings
            are compared with it.
        hardware: What meters its trials: an option of the group `hardware`.
        stopping: What may stop a trial: options of the group `stopping`, such as "dominance", or
            "[dominance,energy_cap]".
        seed: Seed of the sampler.

    Raises:
        ConfigError: If an argument is not allowed.
        StorageError: If the database cannot be used.
        StudyError: If the study exists with another question.
    """
    goal = _goal(
        monitor=monitor,
        mode=mode,
        target=target,
        epochs=epochs,
        hardware=hardware,
        stopping=stopping,
    )

    def sampler(existing: int) -> JouleSampler:
        return JouleSampler(
            seed=continued_seed(seed, existing),
            target=goal.target,
            epochs=goal.epochs,
            monitor=goal.monitor,
        )

    folder = _FOLDER / file_name(study_name)

    def remains(trial: FrozenTrial) -> TrialRemnant:
        return TrialRemnant(result=read_result(folder / str(trial.number)))

    location = _location(storage)
    with spoken_optuna():
        store = UserLoopStore.open(location, study_name, goal.identity(), sampler, remains=remains)
        store.reap()
        if default is not None:
            store.plan_first(default)
        return EnergyStudy(store, goal, folder)


def _goal(
    *, monitor: str, mode: Mode, target: float, epochs: float, hardware: str, stopping: str
) -> _Goal:
    """Return the goal of a study.

    Raises:
        ConfigError: If an argument is not allowed.
    """
    if not isinstance(monitor, str) or not monitor:
        raise ConfigError(f"monitor={monitor!r}: the name of the metric that is reported is needed")
    for key, value in (("target", target), ("epochs", epochs)):
        if not is_number(value) or (key == "epochs" and value <= 0):
            raise ConfigError(f"{key}={value!r}: a number is needed, and epochs above 0")
    metric = Monitor(monitor, mode)
    metric.check_target(target)
    try:
        config = compose_here([f"hardware={hardware}", f"stopping={stopping}"])
    except HydraException as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"hardware={hardware}, stopping={stopping}: {text}") from error
    options: Any = OmegaConf.to_container(config.hardware, resolve=True)
    rules: Any = OmegaConf.to_container(config.stopping.rules, resolve=True)
    return _Goal(metric, float(target), float(epochs), options, rules)


def _location(storage: str | os.PathLike[str] | None) -> str:
    """Return a storage as a file or a URL.

    Raises:
        ConfigError: If it is something else.
    """
    if storage is None:
        return os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
    if isinstance(storage, str | os.PathLike):
        return os.fspath(storage)
    raise ConfigError(
        f"storage={type(storage).__name__}: studies are kept in SQLite files and in PostgreSQL; "
        "give the path of a file, or a URL"
    )
