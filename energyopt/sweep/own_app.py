"""Our own app: trials keep journals, pause and resume, and their energy is metered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from hydra.core.utils import JobStatus
from omegaconf import OmegaConf, open_dict
from optuna.trial import Trial
from rich.console import Console

from energyopt.config.monitor import configured_monitor
from energyopt.config.overrides import override_for
from energyopt.config.root_keys import check_roots, refusal
from energyopt.config.trial_factory import TrialFactory
from energyopt.config.trust import trusted_target
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.outcome import outcome_of
from energyopt.core.report_settings import ReportSettings
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.core.study_record import Metric, Outcome, StudyRecord
from energyopt.core.trial_result import TrialResult
from energyopt.jobs import external_launchers
from energyopt.jobs.app_config import config_folders
from energyopt.jobs.fork_server import ForkedJob
from energyopt.jobs.job import restore_limits, warm_up
from energyopt.jobs.job_result import outcome_of_error, outcome_of_value
from energyopt.report.console import say, waiting
from energyopt.report.study_output import banner, print_end
from energyopt.search.sampler_names import sampler_name
from energyopt.search.space import Value
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import fill_unknown
from energyopt.sweep.hydra_app import DEATH_S, HydraApp, package_note, value_of
from energyopt.sweep.preflight import Preflight
from energyopt.sweep.pruner_factory import refuse_pruner
from energyopt.sweep.study_identity import (
    command_words,
    identify,
    name_study,
    refuse_unsweepable,
)
from energyopt.sweep.training_goal import TrainingGoal

_PREFLIGHT = "preflight"


class OwnApp(HydraApp):
    """Runs the jobs of our own app; see `HydraApp`."""

    _outcome_of_pause: Callable[[TrialResult], Outcome]

    @property
    def goal(self) -> TrainingGoal:
        """The goal that the root keys state."""
        cfg = self._config
        return TrainingGoal(self.monitor, float(cfg.target), float(cfg.epochs))

    # The study -------------------------------------------------------------------------

    def check_space(self) -> None:
        """Check that trials can be compared along all dimensions."""
        refuse_unsweepable(self._space, grid=self._options.grid)
        refuse_pruner(self._options)

    def refusal(self, key: str, value: Value) -> str | None:
        """Return why a root key may not have a value."""
        return refusal(key, value)

    def identify(self) -> Identity:
        """Return the study's identity, and set the study's name in the multirun's config."""
        cfg = self._composer.default().copy()
        with open_dict(cfg):
            choices = cfg.pop("hydra").runtime.choices
            fill_unknown(cfg, self._space.scalars)
        check_roots(cfg)
        self._default = cfg
        metrics = self._set_monitor(configured_monitor(cfg) or ACCURACY)
        identity = identify(cfg, self._space, metrics, command_words(self._config))
        self.name = self._options.study_name or name_study(choices, identity)
        with open_dict(self._config):
            self._config.study = self.name
        return identity

    def _set_monitor(self, monitor: Monitor) -> Sequence[Metric]:
        """Set the metric by which trials are compared. Returns the objectives of the study."""
        factory = TrialFactory(self._default, config_folders(self._config))
        factory.monitor = self.monitor = monitor
        self._outcome_of_pause = partial(outcome_of, objective=factory.objective)
        return factory.objective.metrics

    def identity_with_metrics(self, identity: Identity) -> Identity:
        """Return the identity with the name of the metric that a task or a paradigm states."""
        if self.ready is not None:
            monitor = self.ready.monitor
        else:  # no job has run; importing the task and torch here disturbs no launcher but ours
            monitor = TrialFactory(self._default, config_folders(self._config)).monitor
        return replace(identity, metrics=tuple(self._set_monitor(monitor)))

    @property
    def outcome_of_pause(self) -> Callable[[TrialResult], Outcome]:
        """Function from the record of a paused trial to its outcome."""
        return self._outcome_of_pause

    @property
    def has_rules(self) -> bool:
        """True if stopping rules are configured."""
        return bool(OmegaConf.select(self._config, "stopping.rules"))

    # The run ---------------------------------------------------------------------------

    def make_launcher(self) -> None:
        """Make the launcher; only our own supports `trial_timeout_s`."""
        super().make_launcher()
        if self._local is None:
            external_launchers.check_timeout(self._config)

    def fork(self) -> ForkedJob | None:
        """Fork a server that is warm for our own trials and restores their power limits."""
        if self._local is None:
            return None
        return self._local.fork(partial(warm_up, self._config), partial(restore_limits, DEATH_S))

    def open(self, stack: ExitStack) -> None:
        """Restore the power limits of killed jobs, now and at the end."""
        stack.callback(restore_limits, DEATH_S)
        super().open(stack)
        self._restored = restore_limits()

    def check_machine(self, console: Console) -> None:
        """Run the preflight; other launchers than ours run it as their first trials."""
        if self._local is None:
            return
        preflight = Preflight(self._config, self._space, self._composer, self._build, console)
        with waiting(console, "starting: libraries, data, the default setup"):
            self.ready = preflight.check()

    def prepare(self, store: StudyStore) -> None:
        """Bind the study to its meter and device, and store the report settings."""
        if self.ready is not None:
            store.bind(self.ready.provenance)
        report = self._composer.default().get("report") or {}
        store.keep_plans(
            ReportSettings.from_dict({**report, "reuse": self._options.planned_trainings})
        )

    @property
    def hardware(self) -> Mapping[str, Any]:
        """The group `hardware` of the default configuration, resolved."""
        hardware: Any = OmegaConf.to_container(self._default.hardware, resolve=True)
        return dict(hardware)

    def plan_default(self, store: StudyStore) -> list[str]:
        """Queue the default configuration as trial 0."""
        return self._plan_baseline(store, "setup")

    def notes(self) -> list[str]:
        """Return lines about the GPUs and the CPU packages to print before the first trial."""
        notes = list(self._restored)
        ready, n_jobs = self.ready, self._options.n_jobs
        if ready is None or ready.max_parallel is None:
            return notes
        max_parallel, idle_s = ready.max_parallel, OmegaConf.select(self._config, "hardware.idle_s")
        if n_jobs > max_parallel and ready.holds_packages:
            notes.append(package_note(n_jobs, on_gpus=bool(ready.gpu), is_own_app=True))
        elif n_jobs > max_parallel:
            trials = "1 trial" if max_parallel == 1 else f"{max_parallel} trials"
            notes.append(f"n_jobs={n_jobs}, but there are GPUs for {trials} at a time")
        if idle_s and ready.gpu:
            notes.append(f"power at rest is measured for {idle_s:g} s, once for each GPU and limit")
        return notes

    def print_banner(self, console: Console, n_trials: int, n_finished: int) -> None:
        """Print what is searched and where its energy comes from."""
        swept = {dimension.key for dimension in self._space.groups}
        fixed = [text for group, text in self._trained().items() if group not in swept]
        text = banner(
            name=self.name,
            target=self._config.target,
            metric="validation accuracy" if self.monitor == ACCURACY else self.monitor.name,
            setup=", ".join(fixed),
            space=", ".join(dimension.describe() for dimension in self._space.dimensions),
            sampler=sampler_name(self._options.sampler),
            provenance=self.ready.provenance if self.ready else None,
            n_trials=n_trials,
            n_finished=n_finished,
        )
        say(console, text)

    def _trained(self) -> dict[str, str]:
        """Return what is trained, as text by group: a loop of one's own may use no task of ours."""
        choices = self._config.hydra.runtime.choices
        named = {group: f"{group} {choices.get(group)}" for group in ("task", "model")}
        if choices.get("paradigm") != "own":
            return named
        set_keys = {override.partition("=")[0] for override in self._space.fixed}
        loop = {"paradigm": f"paradigm {self._default.paradigm.get('_target_')}"}
        return loop | {group: text for group, text in named.items() if group in set_keys}

    def print_end(
        self, console: Console, study: StudyRecord, recount: Callable[[], StudyRecord]
    ) -> None:
        """Print the summary, and the commands to type next."""
        print_end(console, study, self.storage, recount)

    # What the coordinator calls: see `Adapter` --------------------------------------------

    @property
    def n_slots(self) -> int:
        """Number of trials that can run at a time: there may be fewer counters than `n_jobs`."""
        max_parallel = (self.ready and self.ready.max_parallel) or sys.maxsize
        return min(super().n_slots, max_parallel)

    def recipe(self, params: Mapping[str, Value], *, n_repeats: int = 0) -> tuple[str, ...]:
        """Return the overrides that set the values; repetitions take later seeds."""
        overrides = super().recipe(params)
        if not n_repeats:
            return overrides
        return (*overrides, override_for("seed", self._config.seed + n_repeats))

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run a trial with its context."""
        variables = {VARIABLE: self._variable(number, self.goal.give(context))}
        returned = self._run_job(number, [*recipe, override_for("study", self.name)], variables)
        if returned.status == JobStatus.COMPLETED:
            return outcome_of_value(value_of(returned), self._options.metrics)
        return outcome_of_error(value_of(returned))

    def _build(self, overrides: Sequence[str]) -> object:
        """Run a preflight job. Returns its value or exception."""
        context = RunContext(preflight=True).to_variable(self.output_folder)
        returned = self._returned(
            0,
            [
                *overrides,
                override_for("study", self.name),
                override_for(f"++hydra.job.env_set.{VARIABLE}", context),
                "++hydra.output_subdir=null",
                f"++hydra.sweep.subdir={_PREFLIGHT}",
            ],
        )
        return value_of(returned)

    def _custom_search_space(self) -> Callable[[Trial], Any] | None:
        """Return the user's own function, if it may be named."""
        function = self._options.custom_search_space
        if function is None:
            return None
        trusted = list(self._config.trusted_targets)
        suggest = trusted_target(str(function), config_folders(self._config), trusted)
        return partial(suggest, self._config)
