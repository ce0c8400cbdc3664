"""Compare the best configurations of a study and its default over the same new seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.pareto import check_target
from energyopt.analysis.ranking import advise
from energyopt.core.command_template import refusal_to_train
from energyopt.core.run_context import VARIABLE
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import joules
from energyopt.errors import StudyError
from energyopt.report.confirmation_view import confirmation_view
from energyopt.search.schedule import params_key
from energyopt.storage.confirmations import Confirmations
from energyopt.storage.reader import read_study
from energyopt.storage.run_leases import only_coordinator
from energyopt.utils import failpoints
from energyopt.utils.files import private_files
from energyopt.workflows.confirm_runner import ConfirmRun, ConfirmRunner
from energyopt.workflows.retrain import RetrainRequest, overrides_for

# Above the seeds of a search: with the seeds that chose a configuration, its energy is biased low.
_FIRST_SEED = 1000


@dataclass(frozen=True, slots=True)
class ConfirmRequest:
    """Options of a confirmation.

    Attributes:
        seeds: Trainings per configuration, including those of earlier calls.
        top: Number of the study's best configurations, in addition to the default.
        target: Value of the metric to reach; the study's target if None.
        overrides: Overrides for all configurations.
        config_dir: A folder of user configs.
    """

    seeds: int = 5
    top: int = 3
    target: float | None = None
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None


def confirm(storage: str, name: str, request: ConfirmRequest, console: Console) -> None:
    """Run the missing trainings of a confirmation, and print the comparison.

    Raises:
        EnergyoptError: If nothing can be confirmed, or a training fails.
        SystemExit: After an interrupt, with the code of its signal.
    """
    failpoints.arm()
    study = read_study(storage, name)
    check_target(study, request.target)
    plan = interleaved(study, finalists(study, request), request)
    with only_coordinator(storage, name) as sole, private_files():
        runner = ConfirmRunner(study, plan, request.config_dir, console)
        with runner.launching(), Confirmations.open(storage, name) as confirmations:
            confirmations.reap(runner.read_partial_result, sole=sole)
            account = confirmations.account(runner.meters, study, sole=sole)
            try:
                runner.train_missing(confirmations, account)
                _print_comparison(read_study(storage, name), plan, console)
            finally:
                account.record({})


def _print_comparison(study: StudyRecord, plan: Sequence[ConfirmRun], console: Console) -> None:
    console.print()
    setups = confirmed_setups(study, {run.overrides for run in plan})
    console.print(confirmation_view(study, setups))
    cost = f"Confirming cost {joules(study.confirmation_j)} until now: search energy of the study."
    console.print(Text(cost))


def finalists(study: StudyRecord, request: ConfirmRequest) -> list[TrialRecord]:
    """Return one trial per configuration to compare: the recommended ones, then the default.

    Raises:
        StudyError: If there are fewer than two.
    """
    if study.target is None or study.app is not None:
        raise StudyError(refusal_to_train(study.name, study.app, {}, VARIABLE))
    target = study.target if request.target is None else request.target
    # A crashed default trial is repeated under a new number, so take the last one. One that never
    # started has no overrides.
    default = next((t for t in reversed(study.trials) if t.default and t.overrides), None)
    reached = [advice.trial for advice in advise(study, target, confirmed=False) if advice.reached]
    if not reached:
        raise StudyError(
            f"no trial of study {study.name} reached {target:g}; search on, or give a "
            f"{study.monitor.easier} --target"
        )
    default_params = None if default is None else params_key(default.params)
    best = [trial for trial in reached if params_key(trial.params) != default_params][: request.top]
    trials = best if default is None else [*best, default]
    if len(trials) == 1:
        raise StudyError(
            f"study {study.name} has trial {trials[0].number} to confirm, and nothing to compare "
            "it with; search on"
        )
    return trials


def interleaved(
    study: StudyRecord, trials: Sequence[TrialRecord], request: ConfirmRequest
) -> list[ConfirmRun]:
    """Return all trainings in their order: seed by seed, each seed starting with the next trial.

    Drift over time (temperature, other users) then affects all configurations alike.

    Raises:
        ConfigError: If a configuration would run code that the user has not named.
    """
    plan = []
    for index in range(request.seeds):
        first = index % len(trials)
        for trial in (*trials[first:], *trials[:first]):
            seed = _FIRST_SEED + index
            plan.append(ConfirmRun(trial, seed, _overrides(study, trial, seed, request)))
    return plan


def _overrides(
    study: StudyRecord, trial: TrialRecord, seed: int, request: ConfirmRequest
) -> tuple[str, ...]:
    """Return the overrides of a retraining that ends at the target.

    `overrides_for` adds that objective only for a trial that reached the target.
    """
    changes = request.overrides
    if request.target is not None:
        changes = (f"target={request.target}", *changes)
    if not any(override.startswith("objective=") for override in changes):
        changes = ("objective=energy_to_target", *changes)
    retraining = RetrainRequest(changes, seed=seed, config_dir=request.config_dir)
    return overrides_for(study, trial, retraining)
