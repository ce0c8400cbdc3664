"""Exported studies as records, in place of a database.

Nothing that a folder says is ever made an object of, but records and Optuna's three distributions.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution

from energyopt.core.energy import PARTS
from energyopt.core.report_settings import ReportSettings
from energyopt.core.study_record import Confirmation, Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.errors import EnergyoptError, StudyError
from energyopt.storage.database import sqlite_file, storage_url
from energyopt.storage.exchange.folder import (
    CONFIRMATIONS,
    STUDY,
    TRIALS,
    RubbishError,
    at_line,
    read_folder,
)
from energyopt.storage.exchange.plain import PlainStudy
from energyopt.storage.identity import PLANS
from energyopt.storage.reader import read_study, study_names


def study_at(where: str, word: str) -> StudyRecord:
    """A study by its name in a storage, or the folder that it was exported to.

    A word with a slash is a folder. Of others, a study of that name comes first.

    Args:
        where: A file or a SQLAlchemy URL.
        word: The study's name, or the folder.

    Raises:
        StorageError: If the database or the folder cannot be read.
        StudyError: If there is no such study.
    """
    folder, is_path = Path(word).expanduser(), "/" in word
    if not (folder / STUDY).is_file():
        try:
            return read_study(where, word)
        except EnergyoptError as error:
            if not is_path:  # another program's study may have any name
                raise
            raise StudyError(
                f"{word} is neither a study's name nor a folder with a {STUDY}; `energyopt export` "
                "writes such a folder"
            ) from error
    file = sqlite_file(storage_url(where))
    if not is_path and (file is None or file.exists()) and word in study_names(where):
        return read_study(where, word)
    return record_from(read_folder(folder), folder)


def record_from(plain: PlainStudy, folder: Path) -> StudyRecord:
    """The study as a record.

    Args:
        plain: What was read.
        folder: From where.

    Raises:
        StorageError: If it contradicts itself.
    """
    study = plain.study
    question = study["question"] or {}
    metrics = tuple(Metric(each["name"], each["direction"]) for each in study["metrics"])
    trials = []
    for number, trial in enumerate(plain.trials):
        with at_line(folder / TRIALS, number):
            trials.append(_trial(trial, len(metrics), number))
    confirmations = []
    for number, each in enumerate(plain.confirmations):
        with at_line(folder / CONFIRMATIONS, number):
            confirmations.append(_confirmation(each, len(trials), number))
    return StudyRecord(
        name=study["name"],
        metrics=metrics,
        overrides=tuple(question.get("overrides", ())),
        sweep=tuple(question.get("sweep", ())),
        target=question.get("target"),
        trials=tuple(trials),
        confirmations=tuple(confirmations),
        space=_space(plain),
        plans=ReportSettings.from_dict(study["attributes"].get(PLANS)),
    )


def distribution_from(data: Mapping[str, Any]) -> BaseDistribution:
    """One of Optuna's three distributions.

    Raises:
        ValueError: If its numbers fit none.
    """
    return _distribution(json.dumps(data))


def times_of(trial: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """When a trial began and ended.

    Raises:
        ValueError: If that is no time.
    """
    began, ended = (trial[key] and datetime.fromisoformat(trial[key]) for key in ("began", "ended"))
    return began, ended


def _trial(trial: Mapping[str, Any], n_values: int, number: int) -> TrialRecord:
    _check_trial(trial, n_values, number)
    row = trial["row"] or {}
    waits = trial["state"] == "running" and row.get("paused", False)
    return TrialRecord(
        number=number,
        state="paused" if waits else trial["state"],
        params=trial["params"],
        overrides=tuple(row.get("overrides", ())),
        values=tuple(trial["values"]) if trial["state"] == "complete" else (),
        feasible=all(violation <= 0 for violation in trial["constraints"].values()),
        reason=row.get("reason", ""),
        default=row.get("is_default", False),
        result=_result(trial["result"]),
    )


def _check_trial(trial: Mapping[str, Any], n_values: int, number: int) -> None:
    """Refuse what the schema allows and no study has."""
    if trial["number"] != number:
        raise RubbishError(f"number: {trial['number']} stands where {number} belongs")
    values = trial["values"]
    if trial["state"] == "complete" and (
        values is None or len(values) != n_values or any(map(math.isnan, values))
    ):
        raise RubbishError(f"values: {n_values} numbers belong to a complete trial")
    if trial["state"] == "failed" and values is not None:
        raise RubbishError("values: a failed trial has none")
    began, ended = times_of(trial)
    if began is None and trial["state"] != "waiting":
        raise RubbishError("began: only a waiting trial did not begin")
    if (ended is not None) != (trial["state"] in ("complete", "pruned", "failed")):
        raise RubbishError(f"ended: {trial['ended']!r} does not fit a {trial['state']} trial")
    if trial["params"].keys() != trial["distributions"].keys():
        raise RubbishError("distributions: their keys are not those of params")
    for key, value in trial["params"].items():
        distribution = distribution_from(trial["distributions"][key])
        if not distribution._contains(distribution.to_internal_repr(value)):  # noqa: SLF001  # no other way
            raise RubbishError(f"params.{key}: {value!r} is not of its distribution")
    if trial["row"] is None and trial["result"] is not None:
        raise RubbishError("result: there is none without a row")


def _confirmation(data: Mapping[str, Any], n_trials: int, number: int) -> Confirmation:
    if data["number"] != number:
        raise RubbishError(f"number: {data['number']} stands where {number} belongs")
    if data["trial"] >= n_trials:
        raise RubbishError(f"trial: there is no trial {data['trial']}")
    result, overrides = _result(data["result"]), tuple(data["overrides"])
    return Confirmation(**{**data, "result": result, "overrides": overrides})


def _result(data: Mapping[str, Any] | None) -> TrialResult | None:
    if data is None:
        return None
    checkpoints = data["checkpoints"]
    columns = [checkpoints[key] for key in ("samples", "steps", "epoch", "accuracy", "loss")]
    columns += checkpoints.get("heads", {}).values()
    for kind in ("training", "evaluation"):
        energies = checkpoints[kind]
        columns.append(energies["time_s"])
        columns += [energies[part] for part in PARTS if energies[part] is not None]
        columns += [board for board in energies["gpus_j"] if board != "gpu_j"]
        if "gpu_j" in energies["gpus_j"] and energies["gpu_j"] is None:
            raise RubbishError(f"result.checkpoints.{kind}.gpus_j: there is no gpu_j")
    if len({len(column) for column in columns}) > 1:
        raise RubbishError("result.checkpoints: its columns are not equally long")
    if any(epoch <= 0 for epoch in checkpoints["epoch"]):
        raise RubbishError("result.checkpoints.epoch: a curve begins above 0")
    return TrialResult.from_dict(data)


def _space(plain: PlainStudy) -> dict[str, BaseDistribution]:
    """The distribution of each searched key, but for those that had several."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for trial in plain.trials:
        for key, data in trial["distributions"].items():
            found[key].add(json.dumps(data))
    return {key: _distribution(*found[key]) for key in sorted(found) if len(found[key]) == 1}


@cache
def _distribution(text: str) -> BaseDistribution:
    """The trials of a study share their few distributions."""
    return json_to_distribution(text)
