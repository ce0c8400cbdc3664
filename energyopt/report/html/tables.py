"""Tables of a report: each serves the page and a CSV file alike."""

from __future__ import annotations

import csv
import io
import shlex
import statistics
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
from energyopt.report.sentences import params_text

SHOWN = 50
"""Rows of a long table on the page; its file has all."""

_MAX_PRINTED_COLUMNS = 9  # more do not fit a sheet of paper


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name in a file, with the unit as suffix.
        title: Its heading on the page.
        text: Formats a value for the page.
        number: Whether it is right-aligned.
    """

    key: str
    title: str
    text: Callable[[Any], str] = str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain values.

    Attributes:
        name: Name of its file, without suffix.
        caption: Its caption.
        columns: Its columns.
        rows: Its rows, one value per column; None if unknown.
        shown: Number of rows on the page; None for all.
        on_page: Number of columns on the page; None for all.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    shown: int | None = None
    on_page: int | None = None

    @property
    def page_columns(self) -> tuple[Column, ...]:
        """Columns on the page."""
        return self.columns[: self.on_page]

    @property
    def long(self) -> bool:
        """True if it is too large for paper."""
        return len(self.page_columns) > _MAX_PRINTED_COLUMNS or len(self.rows) > SHOWN

    @property
    def page_rows(self) -> list[list[str]]:
        """Rows on the page, as text."""
        return [
            [
                "-" if value is None else column.text(value)
                for column, value in zip(self.page_columns, row, strict=False)
            ]
            for row in self.rows[: self.shown]
        ]

    def to_csv(self) -> str:
        """Return the content of its CSV file."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_cell(column.key) for column in self.columns)
        for row in self.rows:
            writer.writerow(csv_cell(plain(value)) for value in row)
        return file.getvalue()


def energy_column(key: str, title: str) -> Column:
    """Return a column of energies in J."""
    return Column(key, title, joules, number=True)


def _count(key: str, title: str) -> Column:
    return Column(key, title, str, number=True)


def accuracy_column(key: str, title: str) -> Column:
    """Return a column of accuracies."""
    return Column(key, title, lambda value: f"{value:.4f}", number=True)


def front_grid(front: Sequence[FrontPoint], front_of: str) -> Grid:
    """Return the points of a Pareto front; `front_of` says what it is a front of."""
    columns = (
        energy_column("energy_j", "energy"),
        accuracy_column("accuracy", "accuracy"),
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
            params_text(point.params),
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
    return Grid("front", f"The front: {front_of}.", columns, tuple(rows), on_page=7)


def trials_grid(study: StudyRecord, target: float | None) -> Grid:
    """Return all trials with their outcomes, and their energy by use and by device."""
    energy_by_trial = [trial_uses(trial, target) for trial in study.trials]
    uses = [use for use in USES if any(use in energies for energies in energy_by_trial)]
    keys = list(dict.fromkeys(key for trial in study.trials for key in trial.params))
    columns = (
        _count("trial", "trial"),
        Column("setup", "setup"),
        Column("outcome", "outcome"),
        energy_column("energy_to_target_j", "to target"),
        accuracy_column("best_accuracy", "best accuracy"),
        energy_column("spent_j", "spent in all"),
        *(energy_column(f"{use}_j", USES[use]) for use in uses),
        *(energy_column(f"spent_{part}", f"on the {name}") for part, name in DEVICES.items()),
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
    """Return the values of a trial by column key."""
    row: dict[str, Any] = {
        "trial": trial.number,
        "setup": params_text(trial.params) + (" (default)" if trial.default else ""),
        "outcome": outcome_text(trial, target),
        "state": trial.state,
        "reason": trial.reason,
        "default": trial.default,
        "overrides": shlex.join(trained_as(study, trial)),
        **{f"params_{key}": value for key, value in trial.params.items()},
    }
    if trial.result is None:
        return row
    energies = trial_uses(trial, target)
    energy_of_trial = total(energies.values())
    row |= {
        "spent_j": trial.result.spent_j,
        "provenance": trial.result.start.provenance.kind,
        "flags": " ".join(trial.result.flags),
        **{f"{use}_j": energy.total_j for use, energy in energies.items()},
        **{f"spent_{part}": getattr(energy_of_trial, part) for part in DEVICES},
    }
    if trial.result.valid and len(trial.result.curve):
        hit = None if target is None else trial.result.first_at(target)
        row["best_accuracy"] = trial.result.best_accuracy
        row["energy_to_target_j"] = None if hit is None else hit.training_j
    return row


def outcome_text(trial: TrialRecord, target: float | None) -> str:
    """Return the outcome of a trial as seen from a target; its state if it has none yet."""
    outcome = fate(trial, target)
    return "stopped early" if outcome == "stopped" else str(outcome or trial.state)


def curves_grid(study: StudyRecord) -> Grid:
    """Return every evaluation of every trial whose energy can be compared."""
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


def importance_grid(importances: Importances) -> Grid:
    """Return the importance of each parameter for energy and for accuracy."""
    columns = (
        Column("parameter", "parameter"),
        Column("importance_for_energy", "for energy to the target", percent, number=True),
        Column("importance_for_accuracy", "for accuracy", percent, number=True),
    )
    rows = (
        (key, importances.energy.get(key), importances.accuracy.get(key))
        for key in importances.parameters
    )
    return Grid("importance", "Importance of each parameter.", columns, tuple(rows))


def heat_map_grid(heat_map: HeatMap) -> Grid:
    """Return the cells of a heat map."""
    columns = (
        Column(heat_map.across.key, heat_map.across.key, number=True),
        Column(heat_map.down.key, heat_map.down.key, number=True),
        energy_column("energy_to_target_j", "least energy to the target"),
        energy_column("spent_without_reaching_j", "most spent without reaching it"),
        _count("trainings", "trainings"),
        _count("reached", "reached"),
        _count("trial", "trial"),
    )
    rows = (
        (
            heat_map.across.labels[cell.across],
            heat_map.down.labels[cell.down],
            cell.energy_j,
            cell.spent_j or None,
            cell.trainings,
            cell.reached,
            cell.trial,
        )
        for cell in heat_map.cells
    )
    return Grid("heat_map", "Each cell in which there was a training.", columns, tuple(rows))


def uses_grid(uses: Mapping[Use, Any]) -> Grid:
    """Return the energy of the whole search by use and by device."""
    parts = [part for part in DEVICES if any(getattr(e, part) is not None for e in uses.values())]
    search_j = sum(energy.total_j for energy in uses.values())
    columns = (
        Column("use", "for"),
        energy_column("energy_j", "energy"),
        Column("share", "share", percent, number=True),
        *(
            energy_column(part.replace("_j", "_energy_j"), f"on the {DEVICES[part]}")
            for part in parts
        ),
    )
    rows = [
        (
            USES[use],
            e.total_j,
            e.total_j / search_j if search_j else None,
            *(getattr(e, part) for part in parts),
        )
        for use, e in uses.items()
    ]
    sums = (sum(getattr(e, part) or 0.0 for e in uses.values()) for part in parts)
    rows.append(("all of it", search_j, 1.0 if search_j else None, *sums))
    return Grid(
        "joules",
        "What the joules of the search were for, and where they were drawn.",
        columns,
        tuple(rows),
    )


def power_grid(summary: Summary) -> Grid:
    """Return energy and time of an optimizer step at every power limit that was tried."""
    columns = (
        _count("trial", "trial"),
        Column("batch_size", "batch size", number=True),
        Column("limit_w", "limit", lambda w: quantity(w, "W"), number=True),
        energy_column("step_j", "energy of a step"),
        Column("step_s", "time of a step", duration, number=True),
        Column("power_w", "mean power", lambda w: quantity(w, "W"), number=True),
        _count("steps", "steps measured"),
        Column("chosen", "chosen", lambda chosen: "chosen" if chosen else ""),
    )
    rows = (
        (
            trial,
            profile.shape.get("batch_size"),
            point.limit_w,
            point.step_j,
            point.step_s,
            point.power_w,
            point.steps,
            point.limit_w == profile.chosen_w,
        )
        for trial, profile in summary.profiles
        for point in profile.points
    )
    return Grid("power", "What a step cost at each power limit.", columns, tuple(rows))


def noise_grid(setups: Sequence[Repeated]) -> Grid:
    """Return the configurations that were trained more than once."""
    columns = (
        _count("trial", "trial"),
        Column("setup", "setup"),
        Column("trained", "trained"),
        energy_column("energy_j", "energy to the target"),
        energy_column("low_j", "from"),
        energy_column("high_j", "to"),
        Column("reached", "reached", number=True),
        accuracy_column("accuracy", "accuracy at the target"),
        accuracy_column("test_accuracy", "test accuracy"),
    )
    rows = []
    for repeated in setups:
        energy = repeated.energy
        rows.append(
            (
                repeated.trial.number,
                params_text(repeated.trial.params),
                "to confirm" if repeated.confirming else "in the search",
                energy and energy.mean,
                energy and energy.low,
                energy and energy.high,
                f"{len(repeated.energies_j)}/{repeated.trainings}",
                statistics.fmean(repeated.accuracies) if repeated.accuracies else None,
                statistics.fmean(repeated.tests) if repeated.tests else None,
            )
        )
    caption = "Setups that were trained more than once: geometric mean and 95 % interval."
    return Grid("noise", caption, columns, tuple(rows))


def conditions_grid(summary: Summary) -> Grid:
    """Return every warning flag with its meaning."""
    columns = (
        Column("flag", "flag"),
        _count("trials", "trials"),
        Column("meaning", "what it means and what to do"),
    )
    rows = (
        (flag, n, explain_flag(flag).removeprefix(f"{flag}: ")) for flag, n in summary.flags.items()
    )
    return Grid("conditions", "Warnings about the measuring conditions.", columns, tuple(rows))


def record_grid(facts: Sequence[Fact], trainings: int) -> Grid:
    """Return the hardware and software of `trainings` training runs."""
    columns = (
        Column("what", "what"),
        Column("value", "value"),
        Column(
            "trainings", "trainings", lambda n: "all" if n == trainings else str(n), number=True
        ),
    )
    rows = tuple((fact.what, fact.value, fact.trainings) for fact in facts)
    return Grid("record", "What the trainings ran on and with.", columns, rows)


def best_values_grid(summary: Summary) -> Grid:
    """Return the objective values that no other trial beats."""
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
