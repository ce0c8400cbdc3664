"""Train a setup of a study again, report test accuracy, and keep the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from energyopt.analysis.pareto import join_overrides, trained_as
from energyopt.analysis.summary import summarize
from energyopt.config.trial_factory import TrialFactory
from energyopt.core.journal import NAME
from energyopt.core.protocols import Paradigm, SupportsSave, SupportsTest
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.errors import ConfigError, StorageError, StudyError
from energyopt.jobs.compose import compose_here, folders_here
from energyopt.report.console import say
from energyopt.report.study_output import words_to_vouch_for
from energyopt.storage.identity import check_name
from energyopt.utils.files import private_files, refuse_existing, written_whole
from energyopt.utils.signals import interrupting
from energyopt.workflows.train import print_result, saying, shown_trial


@dataclass(frozen=True, slots=True)
class Request:
    """What to train again, and what to do with it.

    Attributes:
        overrides: Words that change the setup.
        trial: Number of the trial; None takes the cheapest that reached the target.
        seed: Another seed; None keeps the study's.
        out: Where to keep the model; None keeps none.
        force: Overwrite that file.
        config_dir: A folder of the user's own configs.
    """

    overrides: tuple[str, ...] = ()
    trial: int | None = None
    seed: int | None = None
    out: Path | None = None
    force: bool = False
    config_dir: Path | None = None


def retrain(study: StudyRecord, request: Request, console: Console) -> None:
    """Train a trial's setup again.

    Args:
        study: The study.
        request: Which trial, and what to do with it.
        console: Where to show it.

    Raises:
        StudyError: If there is no such trial.
        ConfigError: If the setup cannot be built, or names code that nobody vouches for.
        StorageError: If the model cannot be written.
    """
    check_name(study.name)  # a folder is named after it
    trial = _chosen(study, request.trial)
    words = words_of(study, trial, request)
    _check_out(request)
    say(console, f"trial {trial.number} of {study.name}: {' '.join(words)}")
    folder = Path("studies") / study.name / f"retrain-{os.getpid()}"
    with (
        private_files(),
        interrupting(),
        _setup(words, request.config_dir, console) as setup,
        shown_trial(setup, folder / NAME, console) as ready,
    ):
        result = ready.train()
    paradigm = ready.paradigm
    print_result(result, console)
    if isinstance(paradigm, SupportsTest):
        line = f"Test accuracy {paradigm.test():.4f}, of the model as it ended "
        line += f"(validation {result.checkpoints[-1].accuracy:.4f})."
    else:
        line = "This paradigm has no test(): no test accuracy."
    say(console, line, style="bold")
    if request.out is not None:
        _save(paradigm, request.out, force=request.force)
        say(console, f"Model: {request.out}")


def _check_out(request: Request) -> None:
    out = request.out
    if out is None:
        return
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: the model is kept as .safetensors; give such a file")
    refuse_existing(out, force=request.force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: {out.parent} cannot be made: {error.strerror}") from error
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out {out}: the folder {out.parent} may not be written")


def _chosen(study: StudyRecord, number: int | None) -> TrialRecord:
    if number is None:
        recommended = summarize(study).recommended
        if recommended is None:
            raise StudyError(
                f"no trial of study {study.name} reached its target; choose one with --trial N"
            )
        number = recommended.trial
    found = next((trial for trial in study.trials if trial.number == number), None)
    if found is None:
        last = len(study.trials) - 1
        raise StudyError(f"study {study.name} has no trial {number}; its trials are 0 to {last}")
    if study.target is None:
        raise StudyError(f"study {study.name} is another app's; run that app to train it again")
    return found


def words_of(study: StudyRecord, trial: TrialRecord, request: Request) -> tuple[str, ...]:
    """The words that train a trial's setup again.

    Raises:
        ConfigError: If they name code that nobody vouches for.
    """
    stored = [word for word in trained_as(study, trial) if not word.startswith("--")]
    typed = {*request.overrides, f"--config-dir={request.config_dir}"}
    untyped = [word for word in words_to_vouch_for(study, trial) if word not in typed]
    if untyped:
        raise ConfigError(
            f"study {study.name} was run with {' '.join(untyped)}; nothing that a database names "
            "is run: type that again after the study's name"
        )
    changes = list(request.overrides)
    if request.seed is not None:
        changes.insert(0, f"seed={request.seed}")
    if trial.result is not None and trial.result.reached:
        changes.insert(0, "objective=energy_to_target")
    if any(word.startswith("objective=") for word in changes):
        # Options of the study's objective would be unknown keys of another.
        stored = [word for word in stored if not word.lstrip("+").startswith("objective.")]
    return join_overrides(stored, changes)


def _setup(words: tuple[str, ...], config_dir: Path | None, console: Console) -> TrialFactory:
    cfg, folders = compose_here(words, config_dir), folders_here(config_dir)
    return TrialFactory(cfg, folders, on_wait=saying(console))


def _save(paradigm: Paradigm | None, out: Path, *, force: bool) -> None:
    if not isinstance(paradigm, SupportsSave):
        raise ConfigError("this paradigm has no save(path): the model cannot be kept")
    try:
        with written_whole(out, force=force) as fresh:
            paradigm.save(fresh)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}") from error
