"""Read exported studies as records, without a database.

The only objects created from a folder's content are records and Optuna's three distributions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from energyopt.core.command_energy import CommandEnergy
from energyopt.core.default_setup import DefaultSetup
from energyopt.core.energy import PARTS, Energy
from energyopt.core.report_settings import ReportSettings
from energyopt.core.study_record import Confirmation, Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import EnergyoptError, StudyError
from energyopt.storage.axes import AXES, with_changed
from energyopt.storage.database import sqlite_file, storage_url
from energyopt.storage.exchange.folder import (
    CONFIRMATIONS,
    STUDY,
    TRIALS,
    InvalidExportError,
    at_line,
    read_folder,
)
from energyopt.storage.exchange.plain import PlainStudy
from energyopt.storage.identity import BASELINE, PLANS, app_of
from energyopt.storage.optuna_tables import distribution_from_json, unique_distributions
from energyopt.storage.reader import read_study, study_names


def study_at(location: str, name: str) -> StudyRecord:
    """Read a study by its name in a storage, or from the folder that it was exported to.

    A name with a slash is a folder. For others, a study of that name takes precedence.

    Raises:
        StorageError: If the database or the folder cannot be read.
        StudyError: If there is no such study.
    """
    folder, is_path = Path(name).expanduser(), "/" in name
    if not (folder / STUDY).is_file():
        try:
            return read_study(location, name)
        except EnergyoptError as error:
            if not is_path:  # another program's study may have any name
                raise
            raise StudyError(
                f"{name} is neither a study's name nor a folder with a {STUDY}; `energyopt export` "
                "writes such a folder"
            ) from error
    file = sqlite_file(storage_url(location))
    if not is_path and (file is None or file.exists()) and name in study_names(location):
        return read_study(location, name)
    return record_from(read_folder(folder), folder)


def record_from(plain: PlainStudy, folder: Path) -> StudyRecord:
    """Return an exported study as a record.

    Raises:
        StorageError: If it contradicts itself; names the folder that it was read from.
    """
    study = plain.study
    identity = study["question"] or {}
    metrics = tuple(Metric(**metric) for metric in study["metrics"])
    default = DefaultSetup.from_dict(study["attributes"].get(BASELINE))
    trials = []
    for number, trial in enumerate(plain.trials):
        with at_line(folder / TRIALS, number):
            trials.append(_trial(trial, len(metrics), number, nearest=default.is_nearest))
    confirmations = []
    for number, data in enumerate(plain.confirmations):
        with at_line(folder / CONFIRMATIONS, number):
            confirmations.append(_confirmation(data, len(trials), number))
    record = StudyRecord(
        name=study["name"],
        metrics=metrics,
        overrides=tuple(identity.get("overrides", ())),
        sweep=tuple(identity.get("sweep", ())),
        target=identity.get("target"),
        app=app_of(identity),
        trials=tuple(trials),
        confirmations=tuple(confirmations),
        space=_space(plain),
        plans=ReportSettings.from_dict(study["attributes"].get(PLANS)),
        commands=tuple(map(command_from, study.get("commands", ()))),
        default_setup=default,
    )
    with at_line(folder / STUDY, 0):
        _check_energy(record, study.get("search_energy_j"))
    return record


def _space(plain: PlainStudy) -> dict[str, BaseDistribution]:
    space = unique_distributions(
        (key, json.dumps(distribution))
        for trial in plain.trials
        for key, distribution in trial["distributions"].items()
    )
    axes = plain.study["attributes"].get(AXES)
    return with_changed(space, axes, [trial["params"] for trial in plain.trials])


def command_from(data: Mapping[str, Any]) -> CommandEnergy:
    """Return an exported command as a record."""
    energy = None if data["energy"] is None else Energy.from_dict(data["energy"])
    trainings = Energy.from_dict(data["trainings"])
    return CommandEnergy(**{**data, "energy": energy, "trainings": trainings})


def distribution_from(data: Mapping[str, Any]) -> BaseDistribution:
    """Return one of Optuna's three distributions; raise ValueError if its numbers are invalid."""
    return distribution_from_json(json.dumps(data))


def _check_energy(record: StudyRecord, search_energy_j: float | None) -> None:
    """Check that the commands are in order, and that the sum of all energy is that of the parts."""
    for number, command in enumerate(record.commands):
        if command.number != number:
            raise InvalidExportError(f"commands: {command.number} stands where {number} belongs")
    sum_j = record.search_energy_j
    if search_energy_j is not None and not math.isclose(
        search_energy_j, sum_j, rel_tol=1e-6, abs_tol=1e-9
    ):
        raise InvalidExportError(
            f"search_energy_j: {search_energy_j:g} J are said, and the parts add up to {sum_j:g} J"
        )


def times_of(trial: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the times at which a trial began and ended; raise ValueError if one is not a time."""
    began, ended = (trial[key] and datetime.fromisoformat(trial[key]) for key in ("began", "ended"))
    return began, ended


def _trial(trial: Mapping[str, Any], n_values: int, number: int, *, nearest: bool) -> TrialRecord:
    _check_trial(trial, n_values, number)
    row = trial["row"] or {}
    is_paused = trial["state"] == "running" and row.get("paused", False)
    return TrialRecord(
        number=number,
        state="paused" if is_paused else trial["state"],
        params=trial["params"],
        overrides=tuple(row.get("overrides", ())),
        values=tuple(trial["values"]) if trial["state"] == "complete" else (),
        feasible=all(violation <= 0 for violation in trial["constraints"].values()),
        reason=row.get("reason", ""),
        default=row.get("is_default", False),
        nearest=row.get("is_default", False) and nearest,
        result=_result(trial["result"]),
    )


def _check_trial(trial: Mapping[str, Any], n_values: int, number: int) -> None:
    """Check what the schema cannot express."""
    if trial["number"] != number:
        raise InvalidExportError(f"number: {trial['number']} stands where {number} belongs")
    values = trial["values"]
    if trial["state"] == "complete" and (
        values is None or len(values) != n_values or any(map(math.isnan, values))
    ):
        raise InvalidExportError(f"values: {n_values} numbers belong to a complete trial")
    if trial["state"] == "failed" and values is not None:
        raise InvalidExportError("values: a failed trial has none")
    began, ended = times_of(trial)
    if began is None and trial["state"] != "waiting":
        raise InvalidExportError("began: only a waiting trial did not begin")
    if (ended is not None) != (trial["state"] in ("complete", "pruned", "failed")):
        raise InvalidExportError(f"ended: {trial['ended']!r} does not fit a {trial['state']} trial")
    if trial["params"].keys() != trial["distributions"].keys():
        raise InvalidExportError("distributions: their keys are not those of params")
    for key, value in trial["params"].items():
        distribution = distribution_from(trial["distributions"][key])
        if not distribution._contains(distribution.to_internal_repr(value)):  # noqa: SLF001  # no other way
            raise InvalidExportError(f"params.{key}: {value!r} is not of its distribution")
    if trial["row"] is None and trial["result"] is not None:
        raise InvalidExportError("result: there is none without a row")


def _confirmation(data: Mapping[str, Any], n_trials: int, number: int) -> Confirmation:
    if data["number"] != number:
        raise InvalidExportError(f"number: {data['number']} stands where {number} belongs")
    if data["trial"] >= n_trials:
        raise InvalidExportError(f"trial: there is no trial {data['trial']}")
    result, overrides = _result(data["result"]), tuple(data["overrides"])
    return Confirmation(**{**data, "result": result, "overrides": overrides})


def _result(data: Mapping[str, Any] | None) -> TrialResult | None:
    if data is None:
        return None
    checkpoints = data["checkpoints"]
    columns = [checkpoints[key] for key in ("samples", "steps", "epoch", "accuracy", "loss")]
    columns += checkpoints.get("heads", {}).values()
    for purpose in ("training", "evaluation"):
        energies = checkpoints[purpose]
        columns.append(energies["time_s"])
        columns += [energies[part] for part in PARTS if energies[part] is not None]
        columns += [column for column in energies["gpus_j"] if column != "gpu_j"]
        if "gpu_j" in energies["gpus_j"] and energies["gpu_j"] is None:
            raise InvalidExportError(f"result.checkpoints.{purpose}.gpus_j: there is no gpu_j")
    if len({len(column) for column in columns}) > 1:
        raise InvalidExportError("result.checkpoints: its columns are not equally long")
    if any(epoch <= 0 for epoch in checkpoints["epoch"]):
        raise InvalidExportError("result.checkpoints.epoch: a curve begins above 0")
    result = TrialResult.from_dict(data)
    result.trace.samples()  # raises ValueError if they are damaged
    return result
