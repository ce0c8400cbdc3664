"""A dry run: one epoch of the default configuration, and what the search would cost."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig, OmegaConf, open_dict

from energyopt.analysis.forecast import Tried, forecast
from energyopt.config.overrides import override_for
from energyopt.core.calibration import Calibration
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, StudyError
from energyopt.hardware.command_meter import CommandMeters
from energyopt.hardware.estimate import watts_per_core
from energyopt.report.forecast_view import forecast_lines
from energyopt.sweep.options import Options
from energyopt.sweep.other_app import OtherApp
from energyopt.sweep.own_app import OwnApp
from energyopt.utils.failure import about

FOLDER = "hydra.sweep.dir"
SOON_J = 1e-9
"""Training energy at which a `Run` pauses: at its first evaluation."""


@contextmanager
def temporary_output(config: DictConfig) -> Iterator[str]:
    """Let the jobs of a multirun write into a folder that is removed at the end. Yields it."""
    folder = tempfile.mkdtemp(prefix="energyopt-dry-run-")
    with open_dict(config):
        OmegaConf.update(config, FOLDER, folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dry_run(app: OtherApp | OwnApp, options: Options, meters: CommandMeters) -> list[str]:
    """Train the default configuration for an epoch. Returns sentences about the whole search.

    Args:
        app: The app, checked; jobs write into a temporary folder.
        options: The options of the sweep.
        meters: Counts the energy of this command.

    Raises:
        EnergyoptError: If the default configuration cannot be trained, or reports no energy.
    """
    start_s, start_cpu_s, began_s = meters.time_s, meters.cpu_s, time.monotonic()
    outcome = _train(app)
    time_s, cpu_s = time.monotonic() - began_s, meters.cpu_s - start_cpu_s
    result, goal = outcome.result, app.goal
    if goal is None or (result is None and outcome.state != "failed"):
        raise ConfigError(
            "dry_run=true: the jobs of this app report no energy, so nothing can be said of its "
            "cost; make an energyopt.Run in them"
        )
    if result is None or outcome.state == "failed":
        error = StudyError(f"dry run: the default configuration failed: {outcome.reason}")
        raise about(error, outcome.traceback)
    watts = watts_per_core(result.start.provenance)
    tried = Tried(
        result,
        start_j=None if watts is None else watts * start_cpu_s,
        other_j=None if watts is None else max(watts * cpu_s - result.spent_j, 0.0),
        start_s=start_s,
        time_s=time_s,
    )
    return _lines(tried, result, goal.epochs, options, app)


def _lines(
    tried: Tried, result: TrialResult, epochs: float, options: Options, app: OtherApp | OwnApp
) -> list[str]:
    estimated = forecast(
        tried,
        epochs=epochs,
        n_trials=options.n_trials,
        n_jobs=min(app.n_slots, options.n_trials),
        budget_j=options.search_budget_j,
    )
    if estimated is None:
        raise StudyError("dry run: the default configuration trained nothing in its first epoch")
    lines = forecast_lines(estimated, result, options.n_trials, app.default_setup())
    return ["Dry run: nothing is stored.", *lines]


def _train(app: OtherApp | OwnApp) -> Outcome:
    """Train the default configuration until its first epoch, or its first evaluation, is over."""
    params = app.baseline()
    if isinstance(app, OwnApp):
        recipe = (*app.recipe(params), override_for("epochs", min(app.goal.epochs, 1)))
        return app.run(0, recipe, RunContext(params=params))
    app.settle(SOON_J, None)
    context = RunContext(params=params, pause_at_j=SOON_J, calibration=Calibration())
    return app.run(0, app.recipe(params), context)
