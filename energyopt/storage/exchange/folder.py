"""The files of an exported study, read without trust: errors name file, line and key."""

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

_LONGEST_BYTES = 64 << 20
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class RubbishError(ValueError):
    """What is wrong with a line, by key."""


def read_folder(folder: Path) -> PlainStudy:
    """Read an export.

    Raises:
        StorageError: If it cannot be read, is damaged or not one, or a newer program's.
    """
    study = _read_study(folder / STUDY)
    trials = tuple(_read_lines(folder / TRIALS, "trial", study["trials"]))
    confirmations = _read_lines(folder / CONFIRMATIONS, "confirmation", study["confirmations"])
    return PlainStudy(study, trials, tuple(confirmations))


def at_line(path: Path, number: int) -> AbstractContextManager[None]:
    """Say what is wrong with a line as where it is, counted from 0."""
    return _saying(f"{path}, line {number + 1}")


def _read_study(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        text = file.read(_LONGEST_BYTES + 1)
    with _saying(str(path)):
        data = _parsed(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise RubbishError("this is no study that energyopt has exported")
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise RubbishError(
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
                    raise RubbishError(f"the file ends here, and has {count} lines in {STUDY}")
                yield _checked(part, _parsed(line))
        if file.read(1):
            with at_line(path, count):
                raise RubbishError(f"there are more lines than the {count} in {STUDY}")


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
        raise RubbishError(f"it is longer than {_LONGEST_BYTES >> 20} MiB")
    try:
        words = text.decode()
        data = json.loads(words, parse_constant=_no_constant)
        if "\\u" in words:  # half a character would be found by the database alone
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise RubbishError("it is not text in UTF-8") from error
    except RecursionError as error:
        raise RubbishError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise RubbishError(f"it is not JSON: {error.msg} at column {error.colno}") from error
    return data


def _no_constant(name: str) -> float:
    raise RubbishError(f"it is not JSON: {name} is no number there")


def _checked(part: Part, data: Any) -> dict[str, Any]:
    found = problem(part, data)
    if found is not None:
        key, what = found
        raise RubbishError(f"{key}: {what}" if key else what)
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


@contextmanager
def _saying(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StorageError(f"{where}: {error}; export the study again") from error
