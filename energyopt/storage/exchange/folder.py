"""Read the files of an exported study without trust; errors name file, line and key."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from energyopt.errors import StorageError
from energyopt.storage.exchange.plain import FORMAT, VERSION, PlainStudy
from energyopt.storage.exchange.schema import Part, problem

STUDY, TRIALS, CONFIRMATIONS = "study.json", "trials.jsonl", "confirmations.jsonl"
"""Files of an export that are read back."""

_MAX_LINE_BYTES = 64 << 20
_MAX_DEPTH = 200  # of data in attributes; what reads them further recurses, too
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class InvalidExportError(ValueError):
    """A line of an export is invalid; the message begins with the key."""


def read_folder(folder: Path) -> PlainStudy:
    """Read an export.

    Raises:
        StorageError: If it cannot be read, is damaged, is not an export, or is of a newer version.
    """
    study = _read_study(folder / STUDY)
    trials = tuple(_read_lines(folder / TRIALS, "trial", study["trials"]))
    confirmations = _read_lines(folder / CONFIRMATIONS, "confirmation", study["confirmations"])
    return PlainStudy(study, trials, tuple(confirmations))


def at_line(path: Path, number: int) -> AbstractContextManager[None]:
    """Prefix errors with the file and the line, which is counted from 0."""
    return _error_context(f"{path}, line {number + 1}")


def _read_study(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        text = file.read(_MAX_LINE_BYTES + 1)
    with _error_context(str(path)):
        data = _parse(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InvalidExportError("this is no study that energyopt has exported")
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise InvalidExportError(
                f"a newer energyopt wrote it (format {version}, this one reads up to {VERSION}); "
                "update energyopt"
            )
        return _check("study", data)


def _read_lines(path: Path, part: Part, count: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file, which must have as many as the study says."""
    with _opened(path) as file:
        for number in range(count):
            with at_line(path, number):
                line = file.readline(_MAX_LINE_BYTES + 1)
                if not line.endswith(b"\n") and len(line) <= _MAX_LINE_BYTES:
                    raise InvalidExportError(
                        f"the file ends here, and has {count} lines in {STUDY}"
                    )
                yield _check(part, _parse(line))
        if file.read(1):
            with at_line(path, count):
                raise InvalidExportError(f"there are more lines than the {count} in {STUDY}")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file: no link, and no pipe, which could block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StorageError(f"{path} is no plain file; export the study again")
            yield file
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(text: bytes) -> Any:
    if len(text) > _MAX_LINE_BYTES:
        raise InvalidExportError(f"it is longer than {_MAX_LINE_BYTES >> 20} MiB")
    try:
        decoded = text.decode()
        data = json.loads(decoded, parse_constant=_reject_constant)
        if "\\u" in decoded:  # a lone surrogate would fail only in the database
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise InvalidExportError("it is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidExportError(f"it is not JSON: {error.msg} at column {error.colno}") from error
    return data


def _reject_constant(name: str) -> float:
    raise InvalidExportError(f"it is not JSON: {name} is no number there")


def _check(part: Part, data: Any) -> dict[str, Any]:
    departure = problem(part, data)
    if departure is not None:
        key, message = departure
        raise InvalidExportError(f"{key}: {message}" if key else message)
    plain: dict[str, Any] = _with_floats(data)
    return plain


def _with_floats(value: Any, depth: int = 0) -> Any:
    """Replace the objects that stand for NaN and infinities by these numbers."""
    if depth > _MAX_DEPTH:
        raise InvalidExportError("it is nested too deeply")
    if isinstance(value, dict):
        if value.keys() == {"$float"} and value["$float"] in _FLOATS:
            return _FLOATS[value["$float"]]
        return {key: _with_floats(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item, depth + 1) for item in value]
    return value


@contextmanager
def _error_context(location: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StorageError(f"{location}: {error}; export the study again") from error
    except RecursionError as error:
        raise StorageError(
            f"{location}: it is nested too deeply; export the study again"
        ) from error
