"""The summary of an experiment: its screen, its files, and where both come from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from energyopt.analysis.paired_ratio import CONFIDENCE
from energyopt.core.units import joules
from energyopt.errors import StorageError
from energyopt.experiments.collect import gather, summary_dir
from energyopt.experiments.multitask import summarize_shared
from energyopt.experiments.paradigms import summarize_paradigms
from energyopt.experiments.plan import Kind
from energyopt.experiments.power_of_training import summarize_training
from energyopt.experiments.results import Summary, short
from energyopt.experiments.rows import RAW, Raw
from energyopt.experiments.transfer import summarize_recycled
from energyopt.report.console import say
from energyopt.report.tables import rows_of
from energyopt.utils.files import refuse_existing, written_whole

WIDTH = 80
"""Columns of the table in a file."""

_KINDS: Mapping[Kind, Callable[[Raw, str], Summary]] = {
    "training": summarize_training,
    "recycled": summarize_recycled,
    "shared": summarize_shared,
    "paradigms": summarize_paradigms,
}


def summarize(raw: Raw) -> Summary:
    """Summarize an experiment by what it asks."""
    return _KINDS[raw.experiment.kind](raw, caption(raw))


def caption(raw: Raw) -> str:
    """Where the joules come from, for figures."""
    if not raw.source:
        return "nothing was trained"
    return f"energy {raw.source['kind']} by {raw.source['meter']}"


def screen(summary: Summary) -> RenderableType:
    """What is shown of a summary."""
    parts: list[RenderableType] = [Text(_heading(summary), style="bold"), Text()]
    for table in summary.tables:
        parts += [Text(table.title, style="bold"), rows_of(table.columns, table.rows), Text()]
    parts += map(Text, (*summary.lines, *_footing(summary.raw)))
    return Group(*parts)


def _heading(summary: Summary) -> str:
    of = summary.raw.experiment
    return f"{of.name}: {of.about}"


def _footing(raw: Raw) -> list[str]:
    """Where the numbers come from, and what they cost."""
    if not raw.source:
        return ["Nothing was trained."]
    of = raw.source
    spent = {role: sum(row.spent_j for row in raw.rows if (row.role == "grid") is is_grid)
             for role, is_grid in (("grid", True), ("again", False))}  # fmt: skip
    return [
        f"Intervals are {100 * CONFIDENCE:g} %, Student's, of paired new seeds: not those that "
        "chose the setups.",
        f"All {len(raw.rows)} trainings burnt {joules(spent['grid'] + spent['again'])}: "
        f"{joules(spent['grid'])} to choose, {joules(spent['again'])} to compare.",
        "Ratios and joules to a target are of training alone: evaluations, loading and what a "
        "process burns before its first step are left out.",
        f"Joules are {of['kind'].upper()} by {of['meter']} ({of['scope']}) on {of['device']}; "
        f"{of['uncertainty']}.",
    ]


def text_of(summary: Summary) -> str:
    """The screen as plain text, 80 columns wide."""
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, no_color=True, force_terminal=False, highlight=False)
    console.print(screen(summary))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def data_of(summary: Summary) -> dict[str, Any]:
    """The summary as plain data."""
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
        "spent_j": short(sum(row.spent_j for row in raw.rows)),
        "rows": list(map(dict, summary.records)),
        **summary.more,
    }


def files_of(summary: Summary) -> dict[str, str]:
    """The content of all files by name."""
    data = data_of(summary)
    return {
        RAW: summary.raw.to_text(),
        "summary.txt": text_of(summary),
        "summary.csv": _csv(summary),
        "summary.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
        **({"figure.svg": summary.draw()} if summary.draw else {}),
    }


def _csv(summary: Summary) -> str:
    """Each record in a line; what is nested gets names with dots."""
    provenance = summary.raw.source
    flat = [_flat(record) for record in summary.records]
    of = {"provenance": provenance.get("kind", ""), "meter": provenance.get("meter", "")}
    columns = list(dict.fromkeys(key for record in flat for key in record))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *of])
    for record in flat:
        writer.writerow([*(record.get(column, "") for column in columns), *of.values()])
    return file.getvalue()


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and key != "setup":
            flat |= _flat(value, f"{name}.")
        elif isinstance(value, Mapping):
            flat[name] = " ".join(f"{k}={v}" for k, v in value.items())
        elif isinstance(value, list):
            if not any(isinstance(each, Mapping) for each in value):
                flat[name] = " ".join(map(str, value))
        else:
            flat[name] = value
    return flat


def write(summary: Summary, folder: Path, *, force: bool) -> list[Path]:
    """Write all files of a summary.

    Args:
        summary: The summary.
        folder: Where to; made if it is not there.
        force: Whether files that exist are replaced.

    Raises:
        ConfigError: If one exists.
        StorageError: If one cannot be written.
    """
    files = files_of(summary)
    paths = [folder / name for name in files]
    try:
        for path in paths:
            refuse_existing(path, force=force)
        for path, text in zip(paths, files.values(), strict=True):
            with written_whole(path, force=force) as fresh:
                fresh.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error
    return paths


def summarize_here(prefix: str, storage: str, console: Console) -> None:
    """Summarize the studies of an experiment, show it, and write its files to the usual place."""
    show_and_write(gather(prefix, storage), summary_dir(prefix), console, force=True)


def show_and_write(raw: Raw, folder: Path | None, console: Console, *, force: bool) -> Summary:
    """Summarize trainings, show it, and write its files.

    Args:
        raw: The trainings.
        folder: Where to; None writes nothing.
        console: Where to show it.
        force: Whether files that exist are replaced.

    Returns:
        What was shown.

    Raises:
        ConfigError: If a file exists.
        StorageError: If one cannot be written.
    """
    summary = summarize(raw)
    console.print(screen(summary))
    if folder is not None:
        paths = write(summary, folder, force=force)
        names = ", ".join(path.name for path in paths)
        say(console, f"{folder}: {names}")
    return summary
