"""Train a configuration of a study again, print its test value, and save the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from energyopt.analysis.pareto import (
    check_target,
    join_overrides,
    trained_as,
    without_trial_seeds,
)
from energyopt.analysis.summary import summarize
from energyopt.config.trial_factory import TrialFactory
from energyopt.core.command_template import refusal_to_train
from energyopt.core.journal import NAME
from energyopt.core.protocols import Paradigm, SupportsSave, SupportsTest
from energyopt.core.run_context import VARIABLE
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.errors import ConfigError, StorageError, StudyError
from energyopt.jobs.app_config import compose_here, folders_here
from energyopt.report.console import say
from energyopt.report.study_output import untrusted_overrides
from energyopt.storage.identity import check_name
from energyopt.utils.files import private_files, refuse_existing, written_whole
from energyopt.utils.signals import interrupting
from energyopt.workflows.train import print_result, show_trial


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """Options of a retraining.

    Attributes:
        overrides: Overrides that change the configuration.
        trial: Number of the trial; None takes the answer of the study.
        target: Value of the metric for which that is the answer; the study's own if None.
        seed: Another seed; None keeps the study's.
        out: File for the model; None saves none.
        force: Overwrite that file.
        config_dir: A folder of user configs.
    """

    overrides: tuple[str, ...] = ()
    trial: int | None = None
    target: float | None = None
    seed: int | None = None
    out: Path | None = None
    force: bool = False
    config_dir: Path | None = None


def retrain(study: StudyRecord, request: RetrainRequest, console: Console) -> None:
    """Train the configuration of a trial again.

    Raises:
        StudyError: If there is no such trial.
        ConfigError: If the configuration cannot be built, or would run code that the user has not
            named on this command line.
        StorageError: If the model cannot be written.
    """
    check_name(study.name)  # the output folder is named after it
    check_target(study, request.target)
    trial = find_trial(study, request)
    overrides = overrides_for(study, trial, request)
    _check_out(request)
    say(console, f"trial {trial.number} of {study.name}: {' '.join(overrides)}")
    folder = Path("studies") / study.name / f"retrain-{os.getpid()}"
    with (
        private_files(),
        interrupting(),
        _trial_factory(overrides, request, console) as factory,
        show_trial(factory, folder / NAME, console) as ready,
    ):
        result = ready.train()
    paradigm = ready.paradigm
    print_result(result, console)
    if isinstance(paradigm, SupportsTest):
        monitor = result.monitor
        line = f"Test {monitor.name} {monitor.text(paradigm.test())}, of the model as it ended "
        line += f"(validation {monitor.text(result.checkpoints[-1].accuracy)})."
    else:
        line = f"This paradigm has no test(): no test {result.monitor.name}."
    say(console, line, style="bold")
    if request.out is not None and isinstance(paradigm, SupportsSave):
        _save(paradigm, request.out, force=request.force)
        say(console, f"Model: {request.out}")


def _check_out(request: RetrainRequest) -> None:
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


def find_trial(study: StudyRecord, request: RetrainRequest) -> TrialRecord:
    """Return the trial that is asked for, or the answer of the study: a trial without its seed."""
    number = request.trial
    if number is None:
        answer = summarize(study, request.target).answer
        if answer is None:
            target = "its target" if request.target is None else f"{request.target:g}"
            raise StudyError(
                f"no trial of study {study.name} reached {target}; choose one with --trial N"
            )
        number = answer.trial
    trial = next((trial for trial in study.trials if trial.number == number), None)
    if trial is None:
        last = len(study.trials) - 1
        raise StudyError(f"study {study.name} has no trial {number}; its trials are 0 to {last}")
    if study.target is None or study.app is not None:
        raise StudyError(refusal_to_train(study.name, study.app, trial.params, VARIABLE))
    return trial if request.trial is not None else without_trial_seeds(trial)


def overrides_for(
    study: StudyRecord, trial: TrialRecord, request: RetrainRequest
) -> tuple[str, ...]:
    """Return the overrides that train a trial's configuration again.

    Raises:
        ConfigError: If one that must be typed again (`runs_untyped`) was not.
    """
    stored = [override for override in trained_as(study, trial) if not override.startswith("--")]
    typed = {*request.overrides, f"--config-dir={request.config_dir}"}
    keys = {override.lstrip("+").partition("=")[0] for override in request.overrides}
    untyped = [
        override
        for override in untrusted_overrides(study, trial)
        if override not in typed and override.lstrip("+").partition("=")[0] not in keys  # replaced
    ]
    if untyped:
        raise ConfigError(
            f"study {study.name} was run with {' '.join(untyped)}; nothing that a database names "
            "is run: type that again after the study's name"
        )
    changes = list(request.overrides)
    if request.seed is not None:
        changes.insert(0, f"seed={request.seed}")
    if request.target is not None:
        changes.insert(0, f"target={request.target}")
    target = study.target if request.target is None else request.target
    hit = None if trial.result is None or target is None else trial.result.first_at(target)
    if hit is not None:
        changes.insert(0, "objective=energy_to_target")
    if any(override.startswith("objective=") for override in changes):
        # Another objective does not have the keys of the study's.
        stored = [
            override for override in stored if not override.lstrip("+").startswith("objective.")
        ]
    return join_overrides(stored, changes)


class _SavingFactory(TrialFactory):
    """Refuses a paradigm whose model cannot be saved, when it is built: before it trains."""

    def make_paradigm(self) -> Paradigm:
        paradigm = super().make_paradigm()
        if not isinstance(paradigm, SupportsSave):
            raise ConfigError(
                f"--out: {type(paradigm).__name__} has no save(path), so its model cannot be kept; "
                "give it one, or retrain without --out"
            )
        return paradigm


def _trial_factory(
    overrides: tuple[str, ...], request: RetrainRequest, console: Console
) -> TrialFactory:
    cfg, folders = compose_here(overrides, request.config_dir), folders_here(request.config_dir)
    factory = TrialFactory if request.out is None else _SavingFactory
    return factory(cfg, folders, on_wait=partial(say, console))


def _save(paradigm: SupportsSave, out: Path, *, force: bool) -> None:
    try:
        with written_whole(out, force=force) as temporary:
            paradigm.save(temporary)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}") from error
