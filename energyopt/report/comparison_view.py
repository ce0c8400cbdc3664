"""Studies side by side, as a table and as JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.comparison import (
    ComparedStudy,
    have_one_goal,
    meters_of,
)
from energyopt.core.estimate import rounded
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import accuracy, joules
from energyopt.errors import ConfigError
from energyopt.report.json_data import answer_data, head_data
from energyopt.report.sentences import params_text, source, source_text
from energyopt.report.tables import side_by_side

FORMATS = (".svg", ".png", ".html")
"""Formats of the figure."""


def check_format(path: Path) -> None:
    """Raise ConfigError for a suffix that is no format of a figure."""
    if path.suffix.lower() not in FORMATS:
        suffix = path.suffix or "no suffix"
        raise ConfigError(f"{path} ends in {suffix!r}; use one of {', '.join(FORMATS)}")


def check_meters(studies: Sequence[StudyRecord]) -> None:
    """Raise ConfigError if the joules of the studies come from different meters."""
    meters = meters_of(studies)
    if len(meters) > 1:
        raise ConfigError(
            f"these joules do not compare: they are {_listed(meters)}; give studies of one meter, "
            "or --mixed to see them side by side all the same"
        )


def comparison_notes(rows: Sequence[ComparedStudy]) -> list[str]:
    """Return what limits a comparison, as sentences; none if nothing does."""
    notes = []
    meters = meters_of([row.study for row in rows])
    if len(meters) > 1:
        notes.append(
            f"Mixed joules: {_listed(meters)}. How much they differ says little of the trainings."
        )
    if not have_one_goal(rows):
        notes.append("The metrics or targets differ, so that no ratio is given; see --target.")
    return notes


def comparison_view(rows: Sequence[ComparedStudy]) -> RenderableType:
    """Return a table with a column for each study, and what limits the comparison."""
    lines: dict[str, list[str]] = {
        "target": [_target(row) for row in rows],
        "recommended": [_recommended(row) for row in rows],
        "energy to target": [_energy(row) for row in rows],
    }
    if have_one_goal(rows):
        lines[f"against {rows[0].label}"] = [_ratio(row, rows[0]) for row in rows]
    lines |= {
        "default": [_default(row) for row in rows],
        "value there": [_metric(row) for row in rows],
        "reached": [f"{row.reached} of {len(row.study.trials)} trials" for row in rows],
        "search energy": [joules(row.study.search_energy_j) for row in rows],
        "hardware": [_hardware(row.study) for row in rows],
        "joules are": [
            "-" if row.study.provenance is None else source(row.study.provenance) for row in rows
        ],
    }
    table = side_by_side(
        ["", *(row.label for row in rows)], ((name, *cells) for name, cells in lines.items())
    )
    return Group(table, *(Text(note) for note in comparison_notes(rows)))


def comparison_data(rows: Sequence[ComparedStudy]) -> dict[str, Any]:
    """Return the same as JSON data."""
    studies = []
    for row in rows:
        ratio = row.ratio_to(rows[0]) if have_one_goal(rows) else None
        studies.append(
            {
                "label": row.label,
                **head_data(row.study, row.target),
                "answer": answer_data(row.answer),
                "ratio_to_first": ratio and ratio.value,
                "ratio_to_first_interval": ratio and (ratio.low, ratio.high),
                "default_energy_j": row.default_j,
                "trials": len(row.study.trials),
                "reached": row.reached,
                "search_energy_j": row.study.search_energy_j,
                "hardware": _hardware(row.study),
            }
        )
    mixed = len(meters_of([row.study for row in rows])) > 1
    return {"mixed": mixed, "notes": comparison_notes(rows), "studies": studies}


def _listed(meters: Sequence[Any]) -> str:
    return "; and ".join(map(source_text, meters))


def _target(row: ComparedStudy) -> str:
    return "-" if row.target is None else f"{row.study.monitor.name} {accuracy(row.target)}"


def _recommended(row: ComparedStudy) -> str:
    if row.answer is None:
        return "none reached it"
    point = row.answer.point
    return params_text(point.params) + (f" ({point.default_mark})" if point.default else "")


def _energy(row: ComparedStudy) -> str:
    if row.answer is None:
        return "-"
    return f"{row.answer.energy.joules} ({row.answer.energy.joules_interval})"


def _default(row: ComparedStudy) -> str:
    energy = row.summary.default_energy
    return "-" if energy is None else energy.joules


def _ratio(row: ComparedStudy, first: ComparedStudy) -> str:
    ratio = row.ratio_to(first)
    if ratio is None or row is first:
        return "-" if ratio is None else "1x"
    return (
        f"{rounded(ratio.value, ratio.digits)}x "
        f"({rounded(ratio.low, 2)} to {rounded(ratio.high, 2)})"
    )


def _metric(row: ComparedStudy) -> str:
    if row.answer is None:
        return "-"
    return f"{row.study.monitor.name} {row.study.monitor.text(row.answer.point.accuracy)}"


def _hardware(study: StudyRecord) -> str:
    """Return the device of a study, and how many GPUs a trial held if there were several."""
    if study.provenance is None:
        return "-"
    machine = next((t.result.start.machine for t in study.trials if t.result), None)
    n_gpus = 0 if machine is None else len(machine.gpus)
    return f"{n_gpus} x {study.provenance.device}" if n_gpus > 1 else study.provenance.device
