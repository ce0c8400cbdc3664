"""The tables of a report: one definition each, for the page and for a CSV file."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.analysis.curves import finite
from energyopt.analysis.energy_breakdown import DEVICES, USES, Use, trial_uses
from energyopt.analysis.heat_map import HeatMap
from energyopt.analysis.importance import Importances
from energyopt.analysis.pareto import FrontPoint, trained_as
from energyopt.analysis.provenance import Fact
from energyopt.analysis.seed_noise import Repeated
from energyopt.analysis.summary import Summary, fate
from energyopt.core.energy import total
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import duration, joules, percent, quantity, setup
from energyopt.report.export.front_file import csv_cell, plain
from energyopt.report.flags import explain_flag

SHOWN = 50
"""Rows on the page of a table that can be long; its file has all."""


_WIDE = 9  # columns that a sheet of paper holds


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name in a file, with the unit as suffix.
        title: The same on the page.
        text: Writes a value for people.
        number: Whether it is aligned as numbers are.
    """

    key: str
    title: str
    text: Callable[[Any], str] = str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain values.

    Attributes:
        name: Of its file.
        caption: What it shows.
        columns: Its columns.
        rows: Its rows, a value a column; None for what is not known.
        shown: Rows on the page; the file has all.
        on_page: Columns on the page; the file has all.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    shown: int | None = None
    on_page: int | None = None

    @property
    def page_columns(self) -> tuple[Column, ...]:
        """The columns on the page."""
        return self.columns[: self.on_page]

    @property
    def long(self) -> bool:
        """Whether it is too much for paper."""
        return len(self.page_columns) > _WIDE or len(self.rows) > SHOWN

    @property
    def page_rows(self) -> list[list[str]]:
        """The rows on the page, as text."""
        return [
            [
                "-" if value is None else column.text(value)
                for column, value in zip(self.page_columns, row, strict=False)
            ]
            for row in self.rows[: self.shown]
        ]

    def to_csv(self) -> str:
        """The file's content."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_cell(column.key) for column in self.columns)
        for row in self.rows:
            writer.writerow(csv_cell(plain(value)) for value in row)
        return file.getvalue()


def _energy(key: str, title: str) -> Column:
    return Column(key, title, joules, number=True)


def _count(key: str, title: str) -> Column:
    return Column(key, title, str, number=True)


def _accuracy(key: str, title: str) -> Column:
    return Column(key, title, lambda value: f"{value:.4f}", number=True)


def front_grid(front: Sequence[FrontPoint], of: str) -> Grid:
    """The front: each further point of accuracy, and what it costs."""
    columns = (
        _energy("energy_j", "energy"),
        _accuracy("accuracy", "accuracy"),
        Column("setup", "setup"),
        _count("trial", "trial"),
        Column("epoch", "epoch", lambda value: f"{value:.4g}", number=True),
        Column("time_s", "time", duration, number=True),
        Column("provenance", "joules are"),
        Column("samples", "samples", str, number=True),
        Column("flags", "flags"),
        Column("overrides", "overrides"),
    )
    rows = (
        (
            point.energy_j,
            point.accuracy,
            setup(point.params) or "the fixed setup",
            point.trial,
            point.epoch,
            point.time_s,
            point.provenance.kind,
            point.samples,
            " ".join(point.flags),
            shlex.join(point.overrides),
        )
        for point in front
    )
    return Grid("front", f"The front: {of}.", columns, tuple(rows), on_page=7)


def trials_grid(study: StudyRecord, target: float | None) -> Grid:
    """All trials: what became of each, and where its joules went, by use and by device."""
    used = [trial_uses(trial, target) for trial in study.trials]
    uses = [use for use in USES if any(use in of for of in used)]
    keys = list(dict.fromkeys(key for trial in study.trials for key in trial.params))
    columns = (
        _count("trial", "trial"),
        Column("setup", "setup"),
        Column("outcome", "outcome"),
        _energy("energy_to_target_j", "to target"),
        _accuracy("best_accuracy", "best accuracy"),
        _energy("spent_j", "spent in all"),
        *(_energy(f"{use}_j", USES[use]) for use in uses),
        *(_energy(f"spent_{part}", f"on the {name}") for part, name in DEVICES.items()),
        Column("provenance", "joules are"),
        Column("state", "state"),
        Column("reason", "reason"),
        Column("flags", "flags"),
        Column("default", "default"),
        *(Column(f"params_{key}", key) for key in keys),
        Column("overrides", "overrides"),
    )
    rows = (_trial_row(study, trial, target) for trial in study.trials)
    caption = "All trials: what became of each, and what its joules were for."
    cells = (tuple(row.get(column.key) for column in columns) for row in rows)
    return Grid("trials", caption, columns, tuple(cells), shown=SHOWN, on_page=6 + len(uses))


def _trial_row(study: StudyRecord, trial: TrialRecord, target: float | None) -> dict[str, Any]:
    """The values of a trial, by column."""
    row: dict[str, Any] = {
        "trial": trial.number,
        "setup": (setup(trial.params) or "the fixed setup")
        + (" (default)" if trial.default else ""),
        "outcome": became(trial, target),
        "state": trial.state,
        "reason": trial.reason,
        "default": trial.default,
        "overrides": shlex.join(trained_as(study, trial)),
        **{f"params_{key}": value for key, value in trial.params.items()},
    }
    if trial.result is None:
        return row
    used = trial_uses(trial, target)
    spent = total(used.values())
    row |= {
        "spent_j": trial.result.spent_j,
        "provenance": trial.result.start.provenance.kind,
        "flags": " ".join(trial.result.flags),
        **{f"{use}_j": energy.total_j for use, energy in used.items()},
        **{f"spent_{part}": getattr(spent, part) for part in DEVICES},
    }
    if trial.result.valid and len(trial.result.curve):
        hit = None if target is None else trial.result.first_at(target)
        row["best_accuracy"] = trial.result.best_accuracy
        row["energy_to_target_j"] = None if hit is None else hit.training_j
    return row


def became(trial: TrialRecord, target: float | None) -> str:
    """What became of a trial, in a word."""
    words = {"stopped": "stopped early"}
    found = fate(trial, target)
    return str(trial.state) if found is None else words.get(found, str(found))


def curves_grid(study: StudyRecord) -> Grid:
    """Every evaluation of every trial that may be compared."""
    columns = tuple(
        Column(key, key)
        for key in (
            "trial",
            "samples",
            "steps",
            "epoch",
            "training_j",
            "training_s",
            "accuracy",
            "provenance",
        )
    )
    rows = (
        (
            trial.number,
            p.samples,
            p.steps,
            p.epoch,
            p.training_j,
            p.training_s,
            p.accuracy,
            result.start.provenance.kind,
        )
        for trial, result in study.results
        for p in finite(result.curve)
    )
    return Grid("curves", "Every evaluation.", columns, tuple(rows))


def importance_grid(found: Importances) -> Grid:
    """Importances as numbers."""
    columns = (
        Column("parameter", "parameter"),
        Column("importance_for_energy", "for energy to the target", percent, number=True),
        Column("importance_for_accuracy", "for accuracy", percent, number=True),
    )
    rows = ((key, found.energy.get(key), found.accuracy.get(key)) for key in found.parameters)
    return Grid("importance", "Importance of each parameter.", columns, tuple(rows))


def heat_map_grid(found: HeatMap) -> Grid:
    """The cells of a heat map."""
    columns = (
        Column(f"{found.across.key}", found.across.key, number=True),
        Column(f"{found.down.key}", found.down.key, number=True),
        _energy("energy_to_target_j", "least energy to the target"),
        _energy("spent_without_reaching_j", "most spent without reaching it"),
        _count("trainings", "trainings"),
        _count("reached", "reached"),
        _count("trial", "trial"),
    )
    rows = (
        (
            found.across.labels[cell.across],
            found.down.labels[cell.down],
            cell.energy_j,
            cell.spent_j or None,
            cell.trainings,
            cell.reached,
            cell.trial,
        )
        for cell in found.cells
    )
    return Grid("heat_map", "Each cell in which there was a training.", columns, tuple(rows))


def uses_grid(uses: Mapping[Use, Any]) -> Grid:
    """What the joules of the whole search were used for, by device."""
    parts = [part for part in DEVICES if any(getattr(e, part) is not None for e in uses.values())]
    whole = sum(energy.total_j for energy in uses.values())
    columns = (
        Column("use", "for"),
        _energy("energy_j", "energy"),
        Column("share", "share", percent, number=True),
        *(_energy(part.replace("_j", "_energy_j"), f"on the {DEVICES[part]}") for part in parts),
    )
    rows = [
        (
            USES[use],
            e.total_j,
            e.total_j / whole if whole else None,
            *(getattr(e, part) for part in parts),
        )
        for use, e in uses.items()
    ]
    sums = (sum(getattr(e, part) or 0.0 for e in uses.values()) for part in parts)
    rows.append(("all of it", whole, 1.0 if whole else None, *sums))
    return Grid(
        "joules",
        "What the joules of the search were for, and where they were drawn.",
        columns,
        tuple(rows),
    )


def power_grid(summary: Summary) -> Grid:
    """Every power limit that was tried."""
    columns = (
        _count("trial", "trial"),
        Column("batch_size", "batch size", number=True),
        Column("limit_w", "limit", lambda w: quantity(w, "W"), number=True),
        _energy("step_j", "energy of a step"),
        Column("step_s", "time of a step", duration, number=True),
        Column("power_w", "mean power", lambda w: quantity(w, "W"), number=True),
        _count("steps", "steps measured"),
        Column("chosen", "chosen", lambda chosen: "chosen" if chosen else ""),
    )
    rows = (
        (
            trial,
            profile.shape.get("batch_size"),
            at.limit_w,
            at.step_j,
            at.step_s,
            at.power_w,
            at.steps,
            at.limit_w == profile.chosen_w,
        )
        for trial, profile in summary.profiles
        for at in profile.points
    )
    return Grid("power", "What a step cost at each power limit.", columns, tuple(rows))


def noise_grid(setups: Sequence[Repeated]) -> Grid:
    """Setups that were trained several times."""
    columns = (
        _count("trial", "trial"),
        Column("setup", "setup"),
        Column("trained", "trained"),
        _energy("energy_j", "energy to the target"),
        _energy("low_j", "from"),
        _energy("high_j", "to"),
        Column("reached", "reached", number=True),
        _accuracy("accuracy", "accuracy at the target"),
        _accuracy("test_accuracy", "test accuracy"),
    )
    rows = []
    for each in setups:
        found = each.energy
        rows.append(
            (
                each.trial.number,
                setup(each.trial.params) or "the fixed setup",
                "to confirm" if each.confirming else "in the search",
                found and found.mean,
                found and found.low,
                found and found.high,
                f"{len(each.energies_j)}/{each.trainings}",
                sum(each.accuracies) / len(each.accuracies) if each.accuracies else None,
                sum(each.tests) / len(each.tests) if each.tests else None,
            )
        )
    caption = "Setups that were trained more than once: geometric mean and 95 % interval."
    return Grid("noise", caption, columns, tuple(rows))


def conditions_grid(summary: Summary) -> Grid:
    """Every warning flag, with what it means."""
    columns = (
        Column("flag", "flag"),
        _count("trials", "trials"),
        Column("meaning", "what it means and what to do"),
    )
    rows = (
        (flag, n, explain_flag(flag).removeprefix(f"{flag}: ")) for flag, n in summary.flags.items()
    )
    return Grid("conditions", "Warnings about the measuring conditions.", columns, tuple(rows))


def record_grid(found: Sequence[Fact], trainings: int) -> Grid:
    """Hardware and software."""
    columns = (
        Column("what", "what"),
        Column("value", "value"),
        Column(
            "trainings", "trainings", lambda n: "all" if n == trainings else str(n), number=True
        ),
    )
    rows = tuple((fact.what, fact.value, fact.trainings) for fact in found)
    return Grid("record", "What the trainings ran on and with.", columns, rows)


def told_grid(summary: Summary) -> Grid:
    """The told values that no other trial beats, in the study's own objectives."""
    columns = (
        _count("trial", "trial"),
        *(
            Column(
                metric.name,
                f"{metric.name} ({metric.direction})",
                lambda v: f"{v:.6g}",
                number=True,
            )
            for metric in summary.metrics
        ),
        Column("setup", "setup"),
    )
    rows = ((trial.number, *trial.values, setup(trial.params)) for trial in summary.told)
    return Grid("told", "Best told values: what no other trial beats.", columns, tuple(rows))
