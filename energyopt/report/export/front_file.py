"""Write fronts to files: CSV for spreadsheets, JSON for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from energyopt.analysis.paired_ratio import CONFIDENCE
from energyopt.analysis.pareto import FrontPoint, front_of
from energyopt.analysis.summary import Summary, summarize
from energyopt.core.default_setup import name
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.number_checks import is_number_text
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord
from energyopt.core.window_quality import energy_unit
from energyopt.errors import ConfigError, StorageError
from energyopt.report.account_view import book_lines
from energyopt.report.answer_view import answer_text
from energyopt.utils.files import written_whole

Format = Literal["csv", "json", "md"]
"""File formats of a front; the suffix of a file chooses one."""

Cell = str | int | float | bool | None

_UNITS = {"energy": "J", "time": "s"}
# Characters that start a formula in a spreadsheet, or that it skips before one.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_front(
    points: Sequence[FrontPoint], study: StudyRecord, path: Path, *, force: bool = False
) -> None:
    """Write a front to a file atomically.

    Args:
        points: The front.
        study: The study it belongs to.
        path: A file ending in `.csv`, `.json` or `.md`.
        force: Whether to replace an existing file.

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
    """Return the format of a file by its suffix.

    Raises:
        ConfigError: The suffix is unknown.
    """
    formats: tuple[Format, ...] = get_args(Format)
    for fmt in formats:
        if path.suffix.lower() == f".{fmt}":
            return fmt
    allowed = ", ".join(f".{fmt}" for fmt in formats)
    raise ConfigError(f"{path} ends in {path.suffix or 'no suffix'!r}; use one of {allowed}.")


def render_front(points: Sequence[FrontPoint], study: StudyRecord, fmt: Format) -> str:
    """Return a front as text, with a description of what it is a front of."""
    if fmt == "csv":
        return _csv(points, study)
    if fmt == "json":
        return _json(points, study)
    return _markdown(points, study)


def _csv(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    keys = _param_keys(points)
    description = front_of(points, study)
    fixed = _columns(study.monitor)
    columns = [*fixed, *(f"params_{key}" for key in keys), "overrides", "front_of"]
    rows = ([*_cells(point, fixed, keys), description] for point in points)
    return csv_text(columns, rows)


def _json(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    columns, summary = _columns(study.monitor), summarize(study)
    data = {
        "front_of": front_of(points, study),
        "study": study.name,
        "target": study.target,
        **_metric_data(study.monitor),
        "search_energy_j": study.search_energy_j,
        "books": _books(summary),
        "answer": _answer(summary),
        "points": [
            {
                **{name: read(point) for name, read in columns.items()},
                "flags": list(point.flags),
                "params": {k: plain(v) for k, v in without_seeds(point.params).items()},
                "overrides": shlex.join(point.overrides),
            }
            for point in points
        ],
    }
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _answer(summary: Summary) -> dict[str, Any] | None:
    """Return the configuration to train with; None if no trial reached the target."""
    answer = summary.answer
    if answer is None:
        return None
    return {
        "text": answer_text(summary).headline,
        "trial": answer.trial,
        "energy_j": answer.energy.value,
        "interval_j": [answer.energy.low, answer.energy.high],
        "basis": answer.basis,
        "overrides": shlex.join(answer.point.overrides),
    }


def _books(summary: Summary) -> dict[str, Any]:
    """Return the search energy by purpose and outcome, and the break-even; None for never."""
    savings = summary.against_default
    interval = (
        (math.inf, math.inf) if savings is None else savings.break_even(summary.search_energy_j)
    )
    return {
        "by_purpose_j": {
            key: energy_j for key, energy_j in summary.energy_by_purpose_j.items() if energy_j
        },
        "by_fate_j": {
            key: energy_j for key, energy_j in summary.energy_by_outcome_j.items() if energy_j
        },
        "break_even": {
            "trainings": summary.break_even,
            "against": name(nearest=summary.default_setup.is_nearest),
            "interval": [None if math.isinf(end) else end for end in interval],
            "confidence": CONFIDENCE,
            "basis": None if savings is None else savings.basis,
            "reason": summary.break_even_reason,
        },
    }


def _markdown(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    keys = _param_keys(points)
    monitor = study.monitor
    fixed = dict(_columns(monitor))
    if points and all(point.samples is None for point in points):
        del fixed["samples"]  # another app's loop need not count them
    is_accuracy = monitor == ACCURACY
    meaning = "Validation accuracy" if is_accuracy else f"{monitor.name}: {monitor.better}"
    target = "" if study.target is None else f" Target: {study.target:.6g}."
    made_of = None if study.provenance is None else energy_unit(study.provenance)
    unit = "" if made_of is None else f" ({made_of})"
    sentence = (
        f"Front of study {code(study.name)}: {front_of(points, study)}. "
        f"{meaning}; energy in J{unit}, time in s.{target}"
    )
    columns = [*fixed, *keys, "overrides"]
    rows = [[markdown_cell(name) for name in columns], ["---"] * len(columns)]
    for point in points:
        *cells, overrides = _cells(point, fixed, keys)
        rows.append([*(markdown_cell(cell) for cell in cells), code(str(overrides))])
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    table = "\n".join(f"| {line} |" for line in lines)
    summary = summarize(study)
    statements = (*answer_text(summary).lines, *book_lines(summary))
    sentences = (sentence, *map(markdown_cell, statements))
    return f"{' '.join(sentences)}\n\n{table}\n"


Columns = Mapping[str, Callable[[FrontPoint], Cell]]

_COLUMNS: Columns = {
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


def metric_column(monitor: Monitor, others: Collection[str] = ()) -> str:
    """Return the column of a table that holds the metric: its name, unless that is taken."""
    return f"metric_{monitor.name}" if monitor.name in others else monitor.name


def _columns(monitor: Monitor) -> Columns:
    """Return the columns that do not depend on the study's parameters."""
    others = _COLUMNS.keys() - {ACCURACY.name}
    name = metric_column(monitor, others)
    return {name if key == ACCURACY.name else key: read for key, read in _COLUMNS.items()}


def _metric_data(monitor: Monitor) -> dict[str, Any]:
    """Return the units of a front, and what its metric is."""
    if monitor == ACCURACY:
        return {"unit": {**_UNITS, "accuracy": "1"}, "accuracy": "validation"}
    return {"unit": _UNITS, "monitor": asdict(monitor)}


def _cells(point: FrontPoint, columns: Columns, keys: Sequence[str]) -> list[Cell]:
    fixed = [read(point) for read in columns.values()]
    params = [plain(point.params.get(key)) for key in keys]
    return [*fixed, *params, shlex.join(point.overrides)]


def _param_keys(points: Sequence[FrontPoint]) -> list[str]:
    return list(dict.fromkeys(key for point in points for key in without_seeds(point.params)))


def plain(value: Any) -> Cell:
    """Convert a parameter to a value that all formats can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> str:
    """Return a table as CSV that is safe to open in a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_csv_cell, columns))
    writer.writerows(map(_csv_cell, row) for row in rows)
    return file.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    """Quote text that a spreadsheet would run as a formula (CSV injection)."""
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) and not is_number_text(cell):
        return f"'{cell}"
    return cell


def markdown_cell(cell: Cell) -> str:
    """Return a cell as Markdown text, with its markup escaped."""
    if cell is None:
        return ""
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Quote text as Markdown code, in a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.splitlines())}{pad}{fence}"
