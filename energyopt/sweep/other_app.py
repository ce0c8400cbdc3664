"""Another Hydra app: its jobs report through `energyopt.Run`, or return values.

Where nothing states what they report, the default configuration runs before the study exists: what
its `Run` declares becomes the study's goal, and the run its first trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import cached_property, partial, wraps
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.pruners import BasePruner
from rich.console import Console

from energyopt.config.trust import targets_in
from energyopt.core.calibration import Calibration
from energyopt.core.journal import read_result
from energyopt.core.outcome import outcome_of, outcome_of_paused
from energyopt.core.report_settings import ReportSettings
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import BROKEN, TrialResult
from energyopt.errors import ConfigError, EnergyoptError
from energyopt.jobs.fork_server import ForkedJob
from energyopt.jobs.job import restore_limits
from energyopt.jobs.job_result import (
    failed,
    outcome_of_error,
    outcome_of_value,
    traceback_of_job,
)
from energyopt.objectives import BestMetric, EnergyVsAccuracy
from energyopt.report.console import say
from energyopt.report.study_output import banner, print_end
from energyopt.search.pruner_names import pruner_name
from energyopt.search.sampler_names import sampler_name
from energyopt.search.space import Value
from energyopt.search.sweep_keys import DECLARED
from energyopt.storage.identity import Identity
from energyopt.storage.reader import read_identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.app_command import app_command
from energyopt.sweep.app_question import question_of
from energyopt.sweep.first_run import FirstRun, check_began, forget_earlier
from energyopt.sweep.group_options import hardware_options, stopping_options
from energyopt.sweep.hydra_app import DEATH_S, HydraApp, package_note, value_of
from energyopt.sweep.job_devices import JobDevices, visible_to
from energyopt.sweep.pruner_factory import make_pruner
from energyopt.sweep.pruner_service import PrunerService
from energyopt.sweep.reported_value import outcome_of_reports
from energyopt.sweep.results_file import describe_results, write_results
from energyopt.sweep.returned_record import outcome_of_attributes, with_returned_record
from energyopt.sweep.training_goal import TrainingGoal
from energyopt.training.run_process import call_task
from energyopt.utils.failure import about


class OtherApp(HydraApp):
    """Runs the jobs of another app; see `HydraApp`."""

    _settled: TrainingGoal | None = None
    _first_run: FirstRun | None = None
    _pruner: BasePruner | None = None
    _judge: PrunerService | None = None
    _n_unreported = 0  # trials without a report, which no pruner could judge

    @property
    def goal(self) -> TrainingGoal | None:
        """The goal of its trainings; None where its jobs return values."""
        return self._settled or TrainingGoal.stated(self._options)

    @property
    def app_text(self) -> str:
        """The command that runs this app, as its study keeps it."""
        return app_command(self._multirun)

    @property
    def _described(self) -> str:
        return f"{self.app_text} with {self._config.hydra.job.config_name}"

    # The study -------------------------------------------------------------------------

    def check_space(self) -> None:
        """Do nothing: another app may sweep anything."""

    def refusal(self, key: str, value: Value) -> None:
        """Return None: the configs of another app say what they take."""

    def identify(self) -> Identity:
        """Return the study's identity, with the metrics that are known before any job."""
        space, goal, config = self._space, self.goal, self._composer.default().copy()
        with open_dict(config):
            del config["hydra"]
        axes = space.axes
        shared = Identity(
            self._options.metrics,
            space.fixed,
            space.sweep,
            None,
            None,
            axes=axes,
            app_config=question_of(config, axes),
            name_key="hydra.sweeper.study_name",
        )
        if goal is None:
            return shared
        return replace(
            shared,
            metrics=self._objective(goal).metrics,
            config=goal.to_config(),
            target=goal.target,
            app=self.app_text,
        )

    def identity_with_metrics(self, identity: Identity) -> Identity:
        """Return the identity with the goal, which the first job may have declared."""
        del identity
        if self.goal is not None:
            self.monitor = self.goal.monitor
        return self.identify()

    def settle(self, pause_at_j: float | None, first_point: Mapping[str, Value] | None) -> None:
        """Learn the goal of the study, if nothing states it.

        A study that exists has one. For a new one the default configuration runs.

        Args:
            pause_at_j: Training energy at which that run pauses, in J; None never.
            first_point: The first planned point, to run instead; None without a plan.

        Raises:
            EnergyoptError: If it declares something else than the config states, or cannot run.
        """
        if self.goal is None:
            self._settle(pause_at_j, first_point)
        if self._pruner is not None and self.goal is not None:
            self.goal.check_direction(self._options)

    def _settle(self, pause_at_j: float | None, first_point: Mapping[str, Value] | None) -> None:
        identity = read_identity(self.storage, self.name)
        if identity is not None:
            self._settled = TrainingGoal.stored(identity)
            if self.goal is not None:
                self.goal.check_stated(self._options, f"study {self.name} has")
        elif self._options.custom_search_space is None:
            params = self._composer.baseline() if first_point is None else first_point
            self._run_first(params, pause_at_j)
        elif self._pruner is not None:
            raise ConfigError(
                "hydra.sweeper.pruner with custom_search_space: no default configuration can run "
                "first, so state what the jobs report: hydra.sweeper.monitor, mode, target, epochs"
            )
        if self.goal is None:
            self._check_returned()

    def _run_first(self, params: Mapping[str, Value], pause_at_j: float | None) -> None:
        forget_earlier(self.folder(0))
        recipe = self.recipe(params)
        context = RunContext(params=params, pause_at_j=pause_at_j, calibration=Calibration())
        # An app that makes no Run may use all GPUs; a Run leases what is not leased for it.
        metered = self._options.hardware != "auto"
        returned, time_s = self._train(0, recipe, context, is_metered=metered)
        if (record := read_result(self.folder(0))) is not None:
            check_began(record, returned)
            self._settled = TrainingGoal.declared(record.start, self._options)
        self._first_run = FirstRun(recipe, self._outcome(0, returned, time_s))

    def _check_returned(self) -> None:
        """Check that nothing is asked of jobs that return values which only reports give.

        Raises:
            ConfigError: Naming the key.
        """
        first = None if self._first_run is None else self._first_run.outcome
        if self._options.is_goal_stated:
            because = f" ({first.reason})" if first and first.reason else ""
            raise ConfigError(
                "hydra.sweeper states a part of monitor, mode, target and epochs, and no job made "
                f"an energyopt.Run that declares the rest{because}: state all four, or none"
            )
        if first is not None and first.result is not None:
            return  # it returned its joules
        if first is not None and first.state == "failed" and (self._is_joule or self._pruner):
            # A study of returned values would refuse the Run of the mended app.
            choose = "hydra/sweeper/sampler=tpe" if self._is_joule else "hydra/sweeper/pruner=none"
            error = ConfigError(
                f"the default configuration failed before its energyopt.Run began: {first.reason}; "
                f"mend that, or choose {choose} if its jobs return values"
            )
            raise about(error, first.traceback)
        for key in DECLARED:
            value = getattr(self._options, key.name)
            if key.needs_joules and value is not None:
                raise ConfigError(
                    f"hydra.sweeper.{key.name}={value}: the jobs report no joules; make an "
                    "energyopt.Run in them, or leave it null: search_budget_s is a budget there, "
                    "too"
                )

    @property
    def outcome_of_pause(self) -> Callable[[TrialResult], Outcome]:
        """Function from the record of a paused trial to its outcome."""
        if self.goal is None:
            return outcome_of_paused
        return partial(outcome_of, objective=self._objective(self.goal))

    def _objective(self, goal: TrainingGoal) -> EnergyVsAccuracy | BestMetric:
        """Return the objective of trainings: the metric alone, where a pruner judges by it."""
        options = self._options
        if options.pruner is None:
            return EnergyVsAccuracy(goal.monitor)
        return BestMetric(goal.monitor, options.metrics[0].name if options.metric_names else None)

    @property
    def has_rules(self) -> bool:
        """True if stopping rules are configured; they need the history of the study."""
        return self.goal is not None and bool(self._rules)

    @cached_property
    def _rules(self) -> Mapping[str, Any]:
        return stopping_options(self._options.stopping).get("rules") or {}

    @cached_property
    def hardware(self) -> Mapping[str, Any]:
        """The group `hardware` of the sweeper, resolved."""
        return hardware_options(self._options.hardware)

    @cached_property
    def _devices(self) -> JobDevices:
        return JobDevices(self.hardware)

    # The run ---------------------------------------------------------------------------

    @property
    def _task_function(self) -> TaskFunction:
        """The function of the app, which a pause of its `Run` may leave."""
        function = self._multirun.task_function

        @wraps(function)
        def call(cfg: DictConfig) -> Any:
            return call_task(function, cfg)

        return call

    def make_launcher(self) -> None:
        """Make the launcher, and the pruner that judges what its jobs report."""
        super().make_launcher()
        function = self._multirun.task_function
        self._pruner = make_pruner(self._options, self._config, self._launcher, function)

    def fork(self) -> ForkedJob | None:
        """Fork a server that has imported what the default configuration names."""
        if self._local is None:
            return None
        config: Any = OmegaConf.to_container(self._composer.default())
        nodes = [node for key, node in config.items() if key != "hydra"]
        modules = [target.rpartition(".")[0] for target in targets_in(nodes)]
        return self._local.fork_if_safe(modules, partial(restore_limits, DEATH_S))

    def open(self, stack: ExitStack) -> None:
        """Hold the energy counters of jobs in this process before any of them begins CUDA."""
        super().open(stack)
        if self.in_process:
            stack.enter_context(self._devices.hold(is_metered=self.goal is not None))

    def check_machine(self, console: Console) -> None:  # noqa: ARG002  # of the adapter
        """Find the user's own function; `settle` runs a first job, where it is needed."""
        self._custom_search_space()

    def prepare(self, store: StudyStore) -> None:
        """Store the settings of a new or continued study."""
        if self.goal is not None:
            store.keep_plans(ReportSettings.from_dict({"reuse": self._options.planned_trainings}))
        if self._pruner is not None and self.goal is not None:
            store.reports.use(self._pruner)
            name, metric = pruner_name(self._options.pruner), self.goal.monitor.name
            self._judge = PrunerService(
                store.reports, name, metric, are_jobs_here=self.are_jobs_here
            )

    def plan_default(self, store: StudyStore) -> list[str]:
        """Queue the default configuration first. Returns lines to print about it."""
        notes = self._sampler_notes(store)
        if self._first_run is None and self.goal is None:
            return notes
        ran_first = ", which ran first" if self._first_run is not None else ""
        return [*self._plan_baseline(store, "configuration", ran_first), *notes]

    @property
    def _pruner_key(self) -> str:
        return f"hydra.sweeper.pruner={pruner_name(self._options.pruner)}"

    @property
    def _is_joule(self) -> bool:
        """True if the sampler is the one that learns from energies."""
        return sampler_name(self._options.sampler) == "joule"

    def _sampler_notes(self, store: StudyStore) -> list[str]:
        """Return a warning about a sampler that learns from energies, if no job reports any."""
        if self.goal is not None or not self._is_joule:
            return []
        first = self._first_run
        if store.read().results or (first is not None and first.outcome.result is not None):
            return []
        return [
            "hydra/sweeper/sampler=joule has nothing to learn from: the jobs report no energy, so "
            "it suggests at random; make an energyopt.Run in them, return the attribute curve, or "
            "choose hydra/sweeper/sampler=tpe"
        ]

    def notes(self) -> list[str]:
        """Return lines about the machine to print before the first trial."""
        n_jobs, max_parallel = self._options.n_jobs, self._devices.max_parallel
        if self.goal is None and self._pruner is not None:
            return [f"{self._pruner_key} has nothing to judge: the jobs make no energyopt.Run"]
        if self.goal is None or n_jobs <= max_parallel:
            return []
        if self._devices.reads_cpu:
            return [package_note(n_jobs, on_gpus=self._devices.reads_gpus, is_own_app=False)]
        trials = "1 trial" if max_parallel == 1 else f"{max_parallel} trials"
        return [
            f"hydra.sweeper.n_jobs={n_jobs}, but there are energy counters for {trials} at a time"
        ]

    def print_banner(self, console: Console, n_trials: int, n_finished: int) -> None:
        """Print what is searched, before the first trial, where the jobs report."""
        if (goal := self.goal) is None:
            return
        text = banner(
            name=self.name,
            target=goal.target,
            metric=goal.monitor.name,
            setup=self._described,
            space=", ".join(dimension.describe() for dimension in self._space.dimensions),
            sampler=sampler_name(self._options.sampler),
            provenance=None,
            n_trials=n_trials,
            n_finished=n_finished,
        )
        say(console, text)

    def print_end(
        self, console: Console, study: StudyRecord, recount: Callable[[], StudyRecord]
    ) -> None:
        """Write the results file; print the summary, or the best of the returned values."""
        write_results(study, self.output_folder)
        if self._n_unreported:
            say(console, f"{self._pruner_key}: no energyopt.Run in {self._n_unreported} trials")
        if self.goal is not None:
            print_end(console, study, self.storage, recount)
        if self.goal is None or self._pruner is not None:
            say(console, describe_results(study, self.storage, self.output_folder))

    # What the coordinator calls: see `Adapter` --------------------------------------------

    @property
    def n_slots(self) -> int:
        """Number of trials that can run at a time."""
        if self.goal is None:
            return super().n_slots
        return min(super().n_slots, self._devices.max_parallel)

    def has_run(self, number: int) -> bool:
        """Return True if a trial ran before the study was opened; `run` returns its outcome."""
        return number == 0 and self._first_run is not None

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a job; the record of its `Run` is the outcome, or what it returned."""
        if number == 0:
            first, self._first_run = self._first_run, None
            if first and first.recipe == tuple(recipe):
                return first.outcome
        answer = self._train(number, recipe, context, is_metered=self.goal is not None)
        return self._outcome(number, *answer)

    def _train(
        self, number: int, recipe: Sequence[str], context: RunContext, *, is_metered: bool
    ) -> tuple[JobReturn, float]:
        """Run a job with its context and its GPUs. Returns its answer, and how long it took."""
        if self.goal is not None:
            context = self.goal.give(context)
        if self.has_rules:
            context = replace(context, rules=self._rules)
        judge, folder = self._judge, self.folder(number)
        with (
            self._devices.lease() if is_metered else nullcontext(()) as gpus,
            judge.following(number, folder) if judge is not None else nullcontext(),
        ):
            context = replace(context, hardware=self.hardware, leased_gpus=gpus)
            context = replace(context, has_pruner=judge is not None)
            variables = {VARIABLE: self._variable(number, context), **visible_to(gpus)}
            began_s = time.monotonic()
            returned = self._run_job(number, recipe, variables)
            return returned, time.monotonic() - began_s

    def _outcome(self, number: int, returned: JobReturn, time_s: float) -> Outcome:
        """Return the outcome of a job, with the traceback of what it raised, if it did."""
        outcome = self._outcome_of_answer(number, returned, time_s)
        if returned.status == JobStatus.COMPLETED:
            return outcome
        return replace(outcome, traceback=traceback_of_job(value_of(returned)))

    def _outcome_of_answer(self, number: int, returned: JobReturn, time_s: float) -> Outcome:
        value, record = value_of(returned), read_result(self.folder(number))
        if record is not None:
            return self._outcome_of_run(record, value)
        if returned.status != JobStatus.COMPLETED:
            return outcome_of_error(value)
        return self._outcome_without_run(value, time_s)

    def _outcome_without_run(self, value: object, time_s: float) -> Outcome:
        if self.goal is None:
            return with_returned_record(outcome_of_value(value, self._options.metrics), time_s)
        objective = self._objective(self.goal)
        if isinstance(objective, BestMetric):
            self._n_unreported += 1
            return outcome_of_value(value, objective.metrics)
        return outcome_of_attributes(value, self.goal, time_s)

    def _outcome_of_run(self, record: TrialResult, value: object) -> Outcome:
        goal = self.goal
        if goal is None:
            return failed(
                f"the job made an energyopt.Run, but study {self.name} is of returned values; give "
                "another hydra.sweeper.study_name, and state monitor, mode, target and epochs "
                "below hydra.sweeper",
                record,
            )
        if (refusal := goal.refusal(record.start)) is not None:
            return failed(refusal, record)
        if record.end in BROKEN:
            is_raised = isinstance(value, Exception)
            said = outcome_of_error(value) if is_raised else failed(record.reason)
            return replace(said, result=record)
        objective = self._objective(goal)
        try:
            if isinstance(objective, BestMetric):
                return outcome_of_reports(record, value, objective)
            return outcome_of(record, objective)
        except EnergyoptError as error:
            return failed(str(error), record)
