"""A command of the user's, whose program reports through `energyopt.Run`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial

from hydra.core.utils import JobReturn
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from energyopt.core.command_template import CommandTemplate
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, LauncherError
from energyopt.jobs.command import CommandTask
from energyopt.jobs.fork_server import ForkedJob
from energyopt.jobs.job import restore_limits
from energyopt.jobs.job_result import failed, outcome_of_error
from energyopt.jobs.worker import OUTPUT
from energyopt.search.space import Dimension, Value
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.hydra_app import DEATH_S
from energyopt.sweep.job_devices import JobDevices, launched_ranks
from energyopt.sweep.key_names import in_words_of_command
from energyopt.sweep.other_app import OtherApp
from energyopt.utils.failure import about

LINES = """\
    import energyopt
    run = energyopt.Run(monitor="val_loss", mode="min", target=0.35)  # before data and model
    run.begin(model=model, optimizer=optimizer)                       # before the first step
    for epoch in run.epochs(20):                                      # the loop over epochs
        with run.evaluation():                                        # around the validation
        run.report(val_loss)                                          # at the end of an epoch"""
"""The lines with which a training reports."""


_NO_RUN = "the command ended without an energyopt.Run"
_REFUSAL = f"{_NO_RUN}, so nothing is known of its training: it needs the lines above"


class CommandApp(OtherApp):
    """Runs a command for each trial; see `HydraApp`."""

    _reports = False  # whether a trial has made a `Run`

    @property
    def _task(self) -> CommandTask:
        task = self._multirun.task_function
        assert isinstance(task, CommandTask)  # noqa: S101  # `cli/commands/search.py` makes it
        return task

    @property
    def _template(self) -> CommandTemplate:
        return self._task.template.with_fixed(self._task.fixed)

    @cached_property
    def _devices(self) -> JobDevices:
        return JobDevices(self.hardware, ranks=launched_ranks(self._template.filled({})))

    @property
    def app_text(self) -> str:
        """The command, with places for what is searched."""
        return self._template.to_app()

    @property
    def _described(self) -> str:
        return self._template.typed

    def check_space(self) -> None:
        """Tell the composer of the user's defaults; without them trial 0 is in the middle."""
        for dimension in self._space.dimensions:
            if dimension.key in self._task.default:
                self._composer.assume(dimension.key, self._task.default[dimension.key])
            else:
                self._composer.guess(dimension.key, middle_of(dimension))

    def identify(self) -> Identity:
        """Return the study's identity: its question is the command."""
        question = {"command": self._described}
        return replace(super().identify(), app_config=question, name_key="study")

    def fork(self) -> ForkedJob | None:
        """Fork a server that imports nothing more: the command does."""
        if self._local is None:
            return None
        return self._local.fork(clean_up=partial(restore_limits, DEATH_S))

    def prepare(self, store: StudyStore) -> None:
        """Store the settings of a new or continued study."""
        super().prepare(store)
        self._reports = self._first_run is not None or bool(store.read().results)

    def run(self, number: int, recipe: Sequence[str], context: RunContext) -> Outcome:
        """Run the command; end the search where the first one reports nothing."""
        outcome = super().run(number, recipe, context)
        if outcome.reason == _NO_RUN and not self._reports:
            raise about(LauncherError(_REFUSAL), LINES)
        self._reports = self._reports or outcome.result is not None
        return outcome

    def notes(self) -> list[str]:
        """Return lines about the machine to print before the first trial."""
        return list(map(in_words_of_command, super().notes()))

    def _check_returned(self) -> None:
        """Refuse a command that reports nothing.

        Raises:
            ConfigError: With what its training needs.
        """
        first = None if self._first_run is None else self._first_run.outcome
        if first is not None and first.reason != _NO_RUN:
            error = ConfigError(
                f"trial 0 failed before its energyopt.Run began: {first.reason}; all it printed "
                f"is in {self.folder(0) / OUTPUT}"
            )
            raise about(error, first.traceback)
        raise about(ConfigError(_REFUSAL), LINES)

    def _train(
        self, number: int, recipe: Sequence[str], context: RunContext, *, is_metered: bool
    ) -> tuple[JobReturn, float]:
        """Run the command; before the goal is settled, with what of it the words state."""
        stated = self._options
        if self.goal is None and None not in (stated.monitor, stated.mode, stated.target):
            context = replace(
                context,
                metric=str(stated.monitor),
                mode=str(stated.mode),
                target=float(stated.target or 0.0),
            )
        context = replace(context, has_one_run=True)
        return super()._train(number, recipe, context, is_metered=is_metered)

    def _outcome(self, number: int, returned: JobReturn, time_s: float) -> Outcome:
        outcome = super()._outcome(number, returned, time_s)
        return replace(outcome, reason=in_words_of_command(outcome.reason))

    def _outcome_of_run(self, record: TrialResult, value: object) -> Outcome:
        """Return the outcome of a record; a command that fails after its training has failed."""
        outcome = super()._outcome_of_run(record, value)
        if outcome.state != "failed" and isinstance(value, Exception):
            return replace(outcome_of_error(value), result=record)
        return outcome

    def _outcome_without_run(self, value: object, time_s: float) -> Outcome:
        """Return the outcome of a command that made no `Run`."""
        del value, time_s
        return failed(_NO_RUN)


def middle_of(dimension: Dimension) -> Value:
    """Return the middle of a range, with two digits; the first of choices."""
    axis = dimension.distribution
    if isinstance(axis, CategoricalDistribution):
        return dimension.nearest(None)
    assert isinstance(axis, FloatDistribution | IntDistribution)  # noqa: S101  # for mypy
    middle = math.sqrt(axis.low * axis.high) if axis.log else (axis.low + axis.high) / 2
    return dimension.nearest(float(f"{middle:.2g}"))
