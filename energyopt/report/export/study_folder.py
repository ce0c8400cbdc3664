"""Export a study as a folder: JSON to import again, tables for pandas and spreadsheets."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from energyopt.analysis.energy_breakdown import DEVICES
from energyopt.analysis.summary import summarize
from energyopt.core.energy import Energy
from energyopt.core.gpu_trace import TraceSample
from energyopt.core.metric import ACCURACY
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, StorageError
from energyopt.report.account_view import book_lines
from energyopt.report.answer_view import answer_text
from energyopt.report.export.front_file import (
    Cell,
    code,
    csv_text,
    markdown_cell,
    metric_column,
)
from energyopt.report.export.front_file import plain as plain_cell
from energyopt.report.sentences import source_text
from energyopt.storage.exchange.folder import CONFIRMATIONS, STUDY, TRIALS, read_folder
from energyopt.storage.exchange.plain import PlainStudy, to_line
from energyopt.storage.exchange.reader import record_from
from energyopt.storage.exchange.schema import schema_text
from energyopt.utils.files import umask

_ABOUT_FILES = {
    STUDY: "the question: objectives, target, words, the resolved config that all trials "
    "share; the runs. Read back",
    TRIALS: "a trial a line: parameters, distributions, values, constraints, attributes, "
    "words, and the whole record: curve, books, provenance, conditions. Read back",
    CONFIRMATIONS: "a line for each training that confirms a setup with another seed. Read back",
    "schema.json": "the JSON Schema (2020-12) of these three",
    "trials.csv": "a row a trial, for pandas and spreadsheets, as are those below",
    "curves.csv": "a row an evaluation; `training_j` and `training_s` are summed from the first "
    "step, the share of what was paid before it included; `window_` is the training since the "
    "evaluation before",
    "traces.csv": "a row for each sample of a GPU: power, energy counter, power limit in force, "
    "temperature, clocks and why they are low (NVML's bits), other processes; times are since the "
    "trial began",
    "ledger.csv": "a row for each purpose of each training, and for what each command used "
    "outside of its trainings; the sum of `total_j` is the search energy",
}

FILES = (*_ABOUT_FILES, "README.md")
"""All files of an export."""

Row = Mapping[str, Cell]

_CURVE_COLUMNS = [
    "trial",
    "evaluation",
    "samples",
    "steps",
    "epoch",
    "loss",
    "training_j",
    "training_s",
    "provenance",
]

_TRACE_COLUMNS = ("of", "number", *(field.name for field in fields(TraceSample)))


def write_folder(plain: PlainStudy, folder: Path, *, force: bool = False) -> StudyRecord:
    """Write a study to a new folder atomically, and read it back.

    Returns:
        The study as read back.

    Raises:
        ConfigError: If the folder exists, or holds files that are not of an export.
        StorageError: If it cannot be written.
    """
    _check_replaceable(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system as the folder, so that renaming is atomic.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            study = _fill(temporary / folder.name, plain)
            if force and folder.exists():  # without force, renaming onto it fails
                folder.rename(temporary / "before")
            (temporary / folder.name).rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder} cannot be written: {reason}; choose another --out") from error
    return study


def _check_replaceable(folder: Path, *, force: bool) -> None:
    """Raise unless the folder is missing, or an export that may be replaced."""
    if not os.path.lexists(folder):
        return
    if not force:
        raise ConfigError(f"{folder} exists; add --force to replace it, or give another --out")
    if folder.is_symlink() or not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give another --out")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    if foreign:
        raise ConfigError(
            f"{folder} holds {foreign[0]}, which is no file of an export, and was left as it is; "
            "give another --out"
        )


def _fill(folder: Path, plain: PlainStudy) -> StudyRecord:
    folder.mkdir()
    folder.chmod(0o777 & ~umask())  # mkdtemp creates its folders for this user only
    (folder / STUDY).write_text(f"{to_line(plain.study, indent=2)}\n", encoding="utf-8")
    for name, lines in ((TRIALS, plain.trials), (CONFIRMATIONS, plain.confirmations)):
        with (folder / name).open("w", encoding="utf-8") as file:
            file.writelines(f"{to_line(line)}\n" for line in lines)
    study = record_from(read_folder(folder), folder)
    (folder / "schema.json").write_text(schema_text(), encoding="utf-8")
    names = [metric.name for metric in study.metrics]
    _write_table(folder / "trials.csv", (trial_row(trial, names) for trial in study.trials))
    _write_table(folder / "curves.csv", itertools.chain(*map(_curve_rows, study.trials)))
    traces = ([row[key] for key in _TRACE_COLUMNS] for row in _trace_rows(study))
    (folder / "traces.csv").write_text(csv_text(_TRACE_COLUMNS, traces), encoding="utf-8")
    _write_table(folder / "ledger.csv", _ledger_rows(study))
    (folder / "README.md").write_text(_readme(study, plain), encoding="utf-8")
    return study


def _write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV file with the columns of all rows; a row may lack some."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = csv_text(columns, ([row.get(key) for key in columns] for row in rows))
    path.write_text(text, encoding="utf-8", newline="")


def trial_row(trial: TrialRecord, metrics: Iterable[str]) -> Row:
    """Return a trial as a row of trials.csv; `metrics` are the names of the objectives."""
    result = trial.result
    return {
        "trial": trial.number,
        "state": trial.state,
        "default": trial.default,
        "nearest_to_default": trial.nearest,
        "feasible": trial.feasible,
        "reason": trial.reason,
        **{f"value_{name}": value for name, value in zip(metrics, trial.values, strict=False)},
        **({} if result is None else _result_cells(result)),
        **{f"params_{key}": plain_cell(value) for key, value in trial.params.items()},
        "overrides": shlex.join(trial.overrides),
    }


def _result_cells(result: TrialResult) -> Row:
    last = result.checkpoints[-1] if len(result.checkpoints) else None
    return {
        "end": result.end,
        "stopped_by": result.stopped_by,
        "target": result.target,
        "energy_to_target_j": result.energy_to_target_j,
        "time_to_target_s": result.time_to_target_s,
        f"best_{result.monitor.name}": _best(result),
        "epochs": None if last is None else last.epoch,
        "samples": None if last is None else last.samples,
        "training_j": result.training_j,
        "upfront_j": result.upfront_j,
        "spent_j": result.spent_j,
        "training_s": result.booked("training").time_s,
        "net_j": result.energy_net_j,
        "limit_w": result.conditions.limit_w,
        **_source_cells(result),
    }


def _best(result: TrialResult) -> float | None:
    """Return the best value; of an accuracy 0 without any, as it was before other metrics."""
    return result.best_accuracy if result.monitor == ACCURACY else result.best_value


def _source_cells(result: TrialResult) -> Row:
    """Return the columns with the source of a training's energies."""
    provenance = result.start.provenance
    return {
        "provenance": provenance.kind,
        "meter": provenance.meter,
        "meter_version": provenance.version,
        "scope": provenance.scope,
        "device": provenance.device,
        "flags": " ".join(result.flags),
    }


def _curve_rows(trial: TrialRecord) -> Iterator[Row]:
    if trial.result is None:
        return
    result, kind = trial.result, trial.result.start.provenance.kind
    metric = metric_column(result.monitor, _CURVE_COLUMNS)
    training_j, training_s = result.upfront_j, sum(cost.share_s for cost in result.upfront)
    for number, checkpoint in enumerate(result.checkpoints):
        training_j += checkpoint.training.total_j
        training_s += checkpoint.training.time_s
        yield {
            "trial": trial.number,
            "evaluation": number,
            "samples": checkpoint.samples,
            "steps": checkpoint.steps,
            "epoch": checkpoint.epoch,
            metric: plain_cell(checkpoint.accuracy),
            "loss": plain_cell(checkpoint.loss),
            "training_j": training_j,
            "training_s": training_s,
            **_window_cells("window", checkpoint.training),
            **_window_cells("evaluation", checkpoint.evaluation),
            **{f"accuracy_{head}": accuracy for head, accuracy in checkpoint.heads.items()},
            "provenance": kind,
        }


def _window_cells(name: str, energy: Energy) -> Row:
    return {f"{name}_{part}": getattr(energy, part) for part in ("time_s", *DEVICES)}


def _trace_rows(study: StudyRecord) -> Iterator[Row]:
    for kind, number, result in _trainings(study):
        for sample in result.trace.samples():
            yield {"of": kind, "number": number, **asdict(sample)}


def _trainings(study: StudyRecord) -> Iterator[tuple[str, int, TrialResult]]:
    """Yield all trainings with a record: what they are, and their number."""
    trials = [("trial", trial.number, trial.result) for trial in study.trials]
    confirmations = [("confirmation", c.number, c.result) for c in study.confirmations]
    for kind, number, result in (*trials, *confirmations):
        if result is not None:
            yield kind, number, result


def _ledger_rows(study: StudyRecord) -> Iterator[Row]:
    """Yield all energy used by the study: the sum of `total_j` is its search energy."""
    for kind, number, result in _trainings(study):
        for purpose, energy in result.books.items():
            yield {
                "of": kind,
                "number": number,
                "purpose": purpose,
                **{part: getattr(energy, part) for part in ("total_j", *DEVICES, "time_s")},
                **_source_cells(result),
            }
    for command in study.commands:
        if command.other is not None:
            yield {
                "of": command.command,
                "number": command.number,
                "purpose": "other",
                **{part: getattr(command.other, part) for part in ("total_j", *DEVICES, "time_s")},
            }


def _readme(study: StudyRecord, plain: PlainStudy) -> str:
    """Return the README of an export, in Markdown."""
    header, summary = plain.study, summarize(study)
    provenance = "none yet"
    if study.provenance is not None:
        provenance = markdown_cell(source_text(study.provenance))
    return "\n\n".join(
        (
            f"# Study {code(study.name)}",
            f"Written by {header['written_by']}, format {header['format']} {header['version']}: "
            f"{len(study.trials)} trials, {len(study.confirmations)} confirming trainings. "
            f"Where the joules come from: {provenance}.",
            *map(markdown_cell, (*answer_text(summary).lines, *book_lines(summary))),
            "\n".join(f"- `{name}`: {description}." for name, description in _ABOUT_FILES.items()),
            "Units are in the names: J, s, W, Hz, degC. What was not measured is empty or null, "
            "never 0; a number that is none is `{\"$float\": \"nan\"}`. A trial that missed its "
            "target has no `energy_to_target_j`; its value is what it used without reaching it.",
            "Folders of paths (`.../`), names of hosts and users, and passwords were left out.",
            "    energyopt show DIR       # also pareto, recommend, report\n"
            "    energyopt import DIR     # into a database",
        )
    ) + "\n"  # fmt: skip
