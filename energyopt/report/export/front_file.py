"""Fronts as files: CSV for spreadsheets, JSON for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from energyopt.analysis.paired_ratio import CONFIDENCE
from energyopt.analysis.pareto import FrontPoint, front_of
from energyopt.analysis.summary import Summary, summarize
from energyopt.core.study_record import StudyRecord
from energyopt.errors import ConfigError, StorageError
from energyopt.report.sentences import book_lines
from energyopt.utils.files import written_whole

Format = Literal["csv", "json", "md"]
"""File formats of a front; the suffix of a file chooses one."""

Cell = str | int | float | bool | None

_UNITS = {"energy": "J", "time": "s", "accuracy": "1"}
# What a spreadsheet takes for the start of a formula, or skips in front of one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_front(
    points: Sequence[FrontPoint], study: StudyRecord, path: Path, *, force: bool = False
) -> None:
    """Write a front to a file, all of it or nothing.

    Args:
        points: The front.
        study: The study it belongs to.
        path: A file ending in `.csv`, `.json` or `.md`.
        force: Whether a file that exists is replaced.

    Raises:
        ConfigError: The suffix is unknown, or the file exists.
        StorageError: The file cannot be written.
    """
    text = render_front(points, study, format_of(path))
    try:
        with written_whole(path, force=force) as fresh:
            fresh.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path} cannot be written: {reason}; choose another path.") from error


def format_of(path: Path) -> Format:
    """Tell a file's format from its suffix.

    Raises:
        ConfigError: The suffix is none of the known ones.
    """
    formats: tuple[Format, ...] = get_args(Format)
    for each in formats:
        if path.suffix.lower() == f".{each}":
            return each
    allowed = ", ".join(f".{each}" for each in formats)
    raise ConfigError(f"{path} ends in {path.suffix or 'no suffix'!r}; use one of {allowed}.")


def render_front(points: Sequence[FrontPoint], study: StudyRecord, fmt: Format) -> str:
    """Write a front as text, with what it is a front of."""
    if fmt == "csv":
        return _csv(points, study)
    if fmt == "json":
        return _json(points, study)
    return _markdown(points, study)


def _csv(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    keys = _param_keys(points)
    of = front_of(points, study)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = [*_COLUMNS, *(f"params_{key}" for key in keys), "overrides", "front_of"]
    writer.writerow(csv_cell(name) for name in columns)
    for point in points:
        writer.writerow(csv_cell(cell) for cell in (*_cells(point, keys), of))
    return file.getvalue()


def _json(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    data = {
        "front_of": front_of(points, study),
        "study": study.name,
        "target": study.target,
        "unit": _UNITS,
        "accuracy": "validation",
        "search_energy_j": study.search_energy_j,
        "books": _books(summarize(study)),
        "points": [
            {
                **{name: read(point) for name, read in _COLUMNS.items()},
                "flags": list(point.flags),
                "params": {key: plain(value) for key, value in point.params.items()},
                "overrides": shlex.join(point.overrides),
            }
            for point in points
        ],
    }
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _books(summary: Summary) -> dict[str, Any]:
    """What the search cost, and after how many trainings it has paid back; None for never."""
    found = summary.against_default
    ends = (math.inf, math.inf) if found is None else found.break_even(summary.search_energy_j)
    return {
        "by_purpose_j": {key: part for key, part in summary.parts_j.items() if part},
        "by_fate_j": {key: part for key, part in summary.fates_j.items() if part},
        "break_even": {
            "trainings": summary.break_even,
            "interval": [None if math.isinf(end) else end for end in ends],
            "confidence": None if found is not None and found.assumed else CONFIDENCE,
            "basis": None if found is None else found.basis,
            "reason": summary.break_even_reason,
        },
    }


def _markdown(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    keys = _param_keys(points)
    target = "" if study.target is None else f" Target: {study.target:.6g}."
    sentence = (
        f"Front of study {code(study.name)}: {front_of(points, study)}. "
        f"Validation accuracy; energy in J, time in s.{target}"
    )
    columns = [*_COLUMNS, *keys, "overrides"]
    rows = [[markdown_cell(name) for name in columns], ["---"] * len(columns)]
    for point in points:
        *cells, overrides = _cells(point, keys)
        rows.append([*(markdown_cell(cell) for cell in cells), code(str(overrides))])
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    table = "\n".join(f"| {line} |" for line in lines)
    sentences = (sentence, *map(markdown_cell, book_lines(summarize(study))))
    return f"{' '.join(sentences)}\n\n{table}\n"


_COLUMNS: Mapping[str, Callable[[FrontPoint], Cell]] = {
    "energy_j": lambda point: point.energy_j,
    "accuracy": lambda point: point.accuracy,
    "time_s": lambda point: point.time_s,
    "samples": lambda point: point.samples,
    "epoch": lambda point: point.epoch,
    "provenance": lambda point: point.provenance.kind,
    "meter": lambda point: point.provenance.meter,
    "meter_version": lambda point: point.provenance.version,
    "scope": lambda point: point.provenance.scope,
    "device": lambda point: point.provenance.device,
    "flags": lambda point: " ".join(point.flags),
    "trial": lambda point: point.trial,
}


def _cells(point: FrontPoint, keys: Sequence[str]) -> list[Cell]:
    fixed = [read(point) for read in _COLUMNS.values()]
    params = [plain(point.params.get(key)) for key in keys]
    return [*fixed, *params, shlex.join(point.overrides)]


def _param_keys(points: Sequence[FrontPoint]) -> list[str]:
    return list(dict.fromkeys(key for point in points for key in point.params))


def plain(value: Any) -> Cell:
    """Turn a parameter into what all formats can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def csv_cell(cell: Cell) -> Cell:
    """Keep text from being taken for a formula by a spreadsheet."""
    if isinstance(cell, str) and cell.startswith(_FORMULA) and not _is_number(cell):
        return f"'{cell}"
    return cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown_cell(cell: Cell) -> str:
    """The cell, in which nothing is markup."""
    if cell is None:
        return ""
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Quote text as code, in a fence of more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.splitlines())}{pad}{fence}"
