"""Exported studies, read without trust: what is wrong is said by file, line and key.

Nothing that a folder says is ever made an object of, but records and Optuna's three distributions.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from optuna.distributions import BaseDistribution, json_to_distribution

from energyopt.curve import PARTS
from energyopt.errors import StorageError, StudyError
from energyopt.records import Confirmation, Metric, StudyRecord, TrialRecord, TrialResult
from energyopt.store.database import sqlite_file, storage_url
from energyopt.store.exporting import FORMAT, VERSION, PlainStudy
from energyopt.store.identity import is_name
from energyopt.store.reading import read_study, study_names
from energyopt.store.schema import Part, problem

STUDY, TRIALS, CONFIRMATIONS = "study.json", "trials.jsonl", "confirmations.jsonl"
"""Files of an export that are read back."""

_LONGEST_BYTES = 64 << 20
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class _RubbishError(ValueError):
    """What is wrong with a line, by key."""


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
    folder = Path(word).expanduser()
    if not (folder / STUDY).is_file():
        if is_name(word):
            return read_study(where, word)
        raise StudyError(
            f"{word} is neither a study's name nor a folder with a {STUDY}; `energyopt export` "
            "writes such a folder"
        )
    file = sqlite_file(storage_url(where))
    if is_name(word) and (file is None or file.exists()) and word in study_names(where):
        return read_study(where, word)
    return record_from(read_folder(folder), folder)


def read_folder(folder: Path) -> PlainStudy:
    """Read an export.

    Raises:
        StorageError: If it cannot be read, is damaged or not one, or a newer program's.
    """
    study = _read_study(folder / STUDY)
    trials = tuple(_read_lines(folder / TRIALS, "trial", study["trials"]))
    confirmations = _read_lines(folder / CONFIRMATIONS, "confirmation", study["confirmations"])
    return PlainStudy(study, trials, tuple(confirmations))


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


def at_line(path: Path, number: int) -> AbstractContextManager[None]:
    """Say what is wrong with a line as where it is, counted from 0."""
    return _saying(f"{path}, line {number + 1}")


def _read_study(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        text = file.read(_LONGEST_BYTES + 1)
    with _saying(str(path)):
        data = _parsed(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise _RubbishError("this is no study that energyopt has exported")
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise _RubbishError(
                f"a newer energyopt wrote it (format {version}, this one reads up to {VERSION}); "
                "update energyopt"
            )
        return _checked("study", data)


def _read_lines(path: Path, part: Part, count: int) -> Iterator[dict[str, Any]]:
    """The lines of a file, which has as many as the study says."""
    with _opened(path) as file:
        for number in range(count):
            with at_line(path, number):
                line = file.readline(_LONGEST_BYTES + 1)
                if not line.endswith(b"\n") and len(line) <= _LONGEST_BYTES:
                    raise _RubbishError(f"the file ends here, and has {count} lines in {STUDY}")
                yield _checked(part, _parsed(line))
        if file.read(1):
            with at_line(path, count):
                raise _RubbishError(f"there are more lines than the {count} in {STUDY}")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file: nothing that a link leads to, and nothing that could keep us waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StorageError(f"{path} is no plain file; export the study again")
            yield file
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error


def _parsed(text: bytes) -> Any:
    if len(text) > _LONGEST_BYTES:
        raise _RubbishError(f"it is longer than {_LONGEST_BYTES >> 20} MiB")
    try:
        words = text.decode()
        data = json.loads(words, parse_constant=_no_constant)
        if "\\u" in words:  # half a character would be found by the database alone
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise _RubbishError("it is not text in UTF-8") from error
    except RecursionError as error:
        raise _RubbishError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise _RubbishError(f"it is not JSON: {error.msg} at column {error.colno}") from error
    return data


def _no_constant(name: str) -> float:
    raise _RubbishError(f"it is not JSON: {name} is no number there")


def _checked(part: Part, data: Any) -> dict[str, Any]:
    found = problem(part, data)
    if found is not None:
        key, what = found
        raise _RubbishError(f"{key}: {what}" if key else what)
    plain: dict[str, Any] = _with_floats(data)
    return plain


def _with_floats(value: Any) -> Any:
    """Numbers that JSON has no word for, as numbers."""
    if isinstance(value, dict):
        if value.keys() == {"$float"} and value["$float"] in _FLOATS:
            return _FLOATS[value["$float"]]
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return value


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
        raise _RubbishError(f"number: {trial['number']} stands where {number} belongs")
    values = trial["values"]
    if trial["state"] == "complete" and (
        values is None or len(values) != n_values or any(map(math.isnan, values))
    ):
        raise _RubbishError(f"values: {n_values} numbers belong to a complete trial")
    if trial["state"] == "failed" and values is not None:
        raise _RubbishError("values: a failed trial has none")
    began, ended = times_of(trial)
    if began is None and trial["state"] != "waiting":
        raise _RubbishError("began: only a waiting trial did not begin")
    if (ended is not None) != (trial["state"] in ("complete", "pruned", "failed")):
        raise _RubbishError(f"ended: {trial['ended']!r} does not fit a {trial['state']} trial")
    if trial["params"].keys() != trial["distributions"].keys():
        raise _RubbishError("distributions: their keys are not those of params")
    for key, value in trial["params"].items():
        distribution = distribution_from(trial["distributions"][key])
        if not distribution._contains(distribution.to_internal_repr(value)):  # noqa: SLF001  # no other way
            raise _RubbishError(f"params.{key}: {value!r} is not of its distribution")
    if trial["row"] is None and trial["result"] is not None:
        raise _RubbishError("result: there is none without a row")


def _confirmation(data: Mapping[str, Any], n_trials: int, number: int) -> Confirmation:
    if data["number"] != number:
        raise _RubbishError(f"number: {data['number']} stands where {number} belongs")
    if data["trial"] >= n_trials:
        raise _RubbishError(f"trial: there is no trial {data['trial']}")
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
            raise _RubbishError(f"result.checkpoints.{kind}.gpus_j: there is no gpu_j")
    if len({len(column) for column in columns}) > 1:
        raise _RubbishError("result.checkpoints: its columns are not equally long")
    if any(epoch <= 0 for epoch in checkpoints["epoch"]):
        raise _RubbishError("result.checkpoints.epoch: a curve begins above 0")
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


@contextmanager
def _saying(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StorageError(f"{where}: {error}; export the study again") from error
