"""Summarize an experiment: print the summary and write its files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from energyopt.analysis.paired_ratio import CONFIDENCE
from energyopt.core.units import joules
from energyopt.errors import StorageError
from energyopt.experiments.multitask import summarize_shared
from energyopt.experiments.paradigms import summarize_paradigms
from energyopt.experiments.plan import ExperimentKind
from energyopt.experiments.power_of_training import summarize_training
from energyopt.experiments.results import EDGE, EVALUATED, HOLDS, ExperimentSummary, rounded
from energyopt.experiments.rows import GRID, RAW, Raw
from energyopt.experiments.transfer import summarize_recycled
from energyopt.report.console import say
from energyopt.report.tables import rows_of
from energyopt.utils.files import refuse_existing, written_whole

WIDTH = 80
"""Width of summary.txt, in characters."""

_SUMMARIZERS: Mapping[ExperimentKind, Callable[[Raw, str], ExperimentSummary]] = {
    "training": summarize_training,
    "recycled": summarize_recycled,
    "shared": summarize_shared,
    "paradigms": summarize_paradigms,
}


def summarize(raw: Raw) -> ExperimentSummary:
    """Summarize an experiment by the rules of its kind."""
    return _SUMMARIZERS[raw.experiment.kind](raw, caption(raw))


def caption(raw: Raw) -> str:
    """Return the provenance of the energies, for figures."""
    if not raw.source:
        return "nothing was trained"
    return f"energy {raw.source['kind']} by {raw.source['meter']}"


def screen(summary: ExperimentSummary) -> RenderableType:
    """Return the terminal output of a summary."""
    parts: list[RenderableType] = [Text(_heading(summary), style="bold"), Text()]
    for table in summary.tables:
        parts += [Text(table.title, style="bold"), rows_of(table.columns, table.rows), Text()]
    n_ratios, flips = _count_verdicts(summary.records), _flip_lines(summary.records)
    parts += map(Text, (*summary.lines, *flips, *_footing(summary.raw, n_ratios)))
    return Group(*parts)


def _heading(summary: ExperimentSummary) -> str:
    experiment = summary.raw.experiment
    return f"{experiment.name}: {experiment.about}"


def _footing(raw: Raw, n_ratios: int) -> list[str]:
    """Return lines about provenance, method and cost of the numbers."""
    if not raw.source:
        return ["Nothing was trained."]
    source = raw.source
    grid_j = sum(row.total_j for row in raw.rows if row.role == GRID)
    again_j = sum(row.total_j for row in raw.rows if row.role != GRID)
    return [
        f"Intervals are {100 * CONFIDENCE:g} %, Student's, of paired new seeds: not those that "
        f"chose the setups. {HOLDS} differs from 1 also if corrected for the {n_ratios} ratios "
        f"that have a verdict (Holm); verdicts are by that. {EDGE}: the least or the largest value "
        "searched; a better one may lie beyond.",
        _splits_line(raw),
        f"All {len(raw.rows)} trainings used {joules(grid_j + again_j)}: "
        f"{joules(grid_j)} to choose, {joules(again_j)} to compare.",
        "Joules to a target and ratios, unless they say otherwise, are of training alone: "
        "evaluations, loading and what a process uses before its first step are left out.",
        f"Joules are {source['kind'].upper()} by {source['meter']} ({source['scope']}) on "
        f"{source['device']}; {source['uncertainty']}.",
    ]


def _splits_line(raw: Raw) -> str:
    varying = [arm.varies_splits for arm in raw.experiment.arms]
    if all(varying):
        return "Each seed has a split of the data of its own, the same in all arms."
    fixed = "one split of the data serves all seeds: how much it matters is not in the intervals"
    return f"In {len(varying) - sum(varying)} of {len(varying)} arms {fixed}."


def _flip_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each ratio whose interval says something else with evaluations."""
    lines = []
    for record in records:
        ratio, evaluated = record.get("ratio_free", record.get("ratio")), record.get(EVALUATED)
        if ratio and evaluated and None not in (ratio["value"], evaluated["value"]):
            side, evaluated_side = map(_side_of_1, (ratio, evaluated))
            if side != evaluated_side:
                lines.append(
                    f"With evaluation {record['name']} {_SIDES[evaluated_side]}, without it it "
                    f"{_SIDES[side]} (each by its own interval)."
                )
    return lines


_SIDES = {-1: "is cheaper", 0: "is not told apart", 1: "costs more"}


def _side_of_1(ratio: Mapping[str, Any]) -> int:
    return int(ratio["low"] > 1) - int(ratio["high"] < 1)


def _count_verdicts(records: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of ratios whose p-values were corrected together."""
    values = (value for record in records for value in record.values())
    return sum(isinstance(value, Mapping) and value.get("p_holm") is not None for value in values)


def text_of(summary: ExperimentSummary) -> str:
    """Return the terminal output as plain text, 80 columns wide."""
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, no_color=True, force_terminal=False, highlight=False)
    console.print(screen(summary))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def data_of(summary: ExperimentSummary) -> dict[str, Any]:
    """Return the summary as plain data."""
    raw = summary.raw
    return {
        "experiment": raw.experiment.name,
        "about": raw.experiment.about,
        "kind": raw.experiment.kind,
        "confidence": CONFIDENCE,
        "provenance": dict(raw.source),
        "packages": dict(raw.packages),
        "words": list(raw.words),
        "skipped": dict(raw.skipped),
        "trainings": len(raw.rows),
        "spent_j": rounded(sum(row.total_j for row in raw.rows)),
        "rows": list(map(dict, summary.records)),
        **summary.extra,
    }


def files_of(summary: ExperimentSummary) -> dict[str, str]:
    """Return the contents of all files by name."""
    data = data_of(summary)
    return {
        RAW: summary.raw.to_text(),
        "summary.txt": text_of(summary),
        "summary.csv": _csv(summary),
        "summary.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
        **({"figure.svg": summary.draw()} if summary.draw else {}),
    }


def _csv(summary: ExperimentSummary) -> str:
    """Return the records as CSV; nested keys are joined by dots."""
    provenance = summary.raw.source
    flat = [_flatten(record) for record in summary.records]
    source_columns = {
        "provenance": provenance.get("kind", ""),
        "meter": provenance.get("meter", ""),
    }
    columns = list(dict.fromkeys(key for record in flat for key in record))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *source_columns])
    for record in flat:
        writer.writerow([*(record.get(column, "") for column in columns), *source_columns.values()])
    return file.getvalue()


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and key != "setup":
            flat |= _flatten(value, f"{name}.")
        elif isinstance(value, Mapping):
            flat[name] = " ".join(f"{k}={v}" for k, v in value.items())
        elif isinstance(value, list):
            if not any(isinstance(item, Mapping) for item in value):
                flat[name] = " ".join(map(str, value))
        else:
            flat[name] = value
    return flat


def write(summary: ExperimentSummary, folder: Path, *, force: bool) -> list[Path]:
    """Write all files of a summary, and return their paths.

    Raises:
        ConfigError: If a file exists and `force` is not set.
        StorageError: If a file cannot be written.
    """
    files = files_of(summary)
    paths = [folder / name for name in files]
    try:
        for path in paths:
            refuse_existing(path, force=force)
        for path, text in zip(paths, files.values(), strict=True):
            with written_whole(path, force=force) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error
    return paths


def show_and_write(
    raw: Raw, folder: Path | None, console: Console, *, force: bool
) -> ExperimentSummary:
    """Summarize trainings, print the summary, and write its files unless `folder` is None.

    Raises:
        ConfigError: If a file exists and `force` is not set.
        StorageError: If a file cannot be written.
    """
    summary = summarize(raw)
    console.print(screen(summary))
    if folder is not None:
        names = ", ".join(path.name for path in write(summary, folder, force=force))
        say(console, f"{folder}: {names}")
    return summary
