"""Train the best setups of a study and its default again, with the same seeds, and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.recommendation import advise
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import joules
from energyopt.errors import StudyError
from energyopt.report.confirmation_view import confirmed_screen
from energyopt.search.schedule import setup_of
from energyopt.storage.confirmations import Confirmations
from energyopt.storage.reader import read_study
from energyopt.storage.run_leases import only_coordinator
from energyopt.utils import failpoints
from energyopt.utils.files import private_files
from energyopt.workflows.confirm_runner import ConfirmRun, ConfirmRunner
from energyopt.workflows.retrain import Request as Again
from energyopt.workflows.retrain import words_of

_FIRST_SEED = 1000  # far from the study's: no search has chosen what these make of a setup


@dataclass(frozen=True, slots=True)
class Request:
    """What to confirm.

    Attributes:
        seeds: How many trainings each setup gets, over all calls.
        top: How many of the study's setups, beside the default.
        target: Accuracy to reach; the study's own if None.
        overrides: Words that change all setups.
        config_dir: A folder of the user's own configs.
    """

    seeds: int = 5
    top: int = 3
    target: float | None = None
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None


def confirm(where: str, name: str, request: Request, console: Console) -> None:
    """Make the trainings that are missing, and say who wins.

    Args:
        where: The study's storage.
        name: Its name.
        request: What to confirm.
        console: Where to show it.

    Raises:
        EnergyoptError: If nothing can be confirmed, or a training fails.
        SystemExit: After an interrupt, with the code of its signal.
    """
    failpoints.arm()
    study = read_study(where, name)
    plan = interleaved(study, finalists(study, request), request)
    with only_coordinator(where, name) as sole, private_files():
        confirming = ConfirmRunner(study, plan, request.config_dir, console)
        with confirming.launching(), Confirmations.open(where, name) as books:
            books.reap(confirming.burnt, sole=sole)
            confirming.train_missing(books)
    study = read_study(where, name)
    console.print()
    setups = confirmed_setups(study, {training.words for training in plan})
    console.print(confirmed_screen(study, setups))
    cost = f"Confirming cost {joules(study.confirmation_j)} until now: search energy of the study."
    console.print(Text(cost))


def finalists(study: StudyRecord, request: Request) -> list[TrialRecord]:
    """The trials whose setups are compared: the best ones by recommendation, then the default.

    Raises:
        StudyError: If there are not two.
    """
    if study.target is None:
        raise StudyError(f"study {study.name} is another app's; run that app to train it again")
    target = study.target if request.target is None else request.target
    # One that was lost is planned again; one that never started has no words.
    default = next((t for t in reversed(study.trials) if t.default and t.overrides), None)
    reached = [advice.trial for advice in advise(study, target, confirmed=False) if advice.reached]
    if not reached:
        raise StudyError(
            f"no trial of study {study.name} reached {target:g}; search on, or give a lower "
            "--target"
        )
    usual = None if default is None else setup_of(default.params)
    best = [trial for trial in reached if setup_of(trial.params) != usual][: request.top]
    found = best if default is None else [*best, default]
    if len(found) == 1:
        raise StudyError(
            f"study {study.name} has trial {found[0].number} to confirm, and nothing to compare it "
            "with; search on"
        )
    return found


def interleaved(
    study: StudyRecord, trials: Sequence[TrialRecord], request: Request
) -> list[ConfirmRun]:
    """All trainings in their order: one seed after the other, each time another setup first.

    So what changes with the hour (temperature, other users) is in all setups alike.

    Raises:
        ConfigError: If a setup names code that nobody vouches for.
    """
    plan = []
    for index in range(request.seeds):
        first = index % len(trials)
        for trial in (*trials[first:], *trials[:first]):
            seed = _FIRST_SEED + index
            plan.append(ConfirmRun(trial, seed, _words(study, trial, seed, request)))
    return plan


def _words(study: StudyRecord, trial: TrialRecord, seed: int, request: Request) -> tuple[str, ...]:
    """Those of a retraining that ends at the target, whether or not the trial reached it."""
    changes = request.overrides
    if request.target is not None:
        changes = (f"target={request.target}", *changes)
    if not any(word.startswith("objective=") for word in changes):
        changes = ("objective=energy_to_target", *changes)
    return words_of(study, trial, Again(changes, seed=seed, config_dir=request.config_dir))
