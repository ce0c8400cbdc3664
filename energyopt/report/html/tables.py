"""Tables of a report: each serves the page and a CSV file alike."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from energyopt.analysis.curves import finite
from energyopt.analysis.energy_breakdown import DEVICES, USES, Use, trial_uses
from energyopt.analysis.heat_map import HeatMap
from energyopt.analysis.importance import Importances
from energyopt.analysis.pareto import trained_as
from energyopt.analysis.provenance import Fact
from energyopt.analysis.seed_noise import Repeated
from energyopt.analysis.summary import Summary, trial_outcome
from energyopt.core.curve import CurvePoint
from energyopt.core.energy import Energy, total
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import duration, joules, percent, quantity, setup
from energyopt.report.export.front_file import csv_text, plain
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
        read: Returns its value from the item of a row; the item's `key` if None.
        text: Formats a value for the page.
        number: Whether it is right-aligned.
    """

    key: str
    title: str
    read: Callable[[Any], Any] | None = None
    text: Callable[[Any], str] = str
    number: bool = False

    def value(self, item: Any) -> Any:
        """Return its value of an item; None if unknown."""
        if self.read is not None:
            return self.read(item)
        return item.get(self.key) if isinstance(item, Mapping) else getattr(item, self.key)


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
        rows = ([plain(value) for value in row] for row in self.rows)
        return csv_text([column.key for column in self.columns], rows)


def make_grid(
    name: str, caption: str, columns: Iterable[Column], items: Iterable[Any], **limits: int
) -> Grid:
    """Return a table with a row for each item; `limits` are `shown` and `on_page` of the `Grid`."""
    columns = tuple(columns)
    rows = tuple(tuple(column.value(item) for column in columns) for item in items)
    return Grid(name, caption, columns, rows, **limits)


def number_column(
    key: str,
    title: str,
    read: Callable[[Any], Any] | None = None,
    text: Callable[[Any], str] = str,
) -> Column:
    """Return a right-aligned column."""
    return Column(key, title, read, text, number=True)


def energy_column(key: str, title: str, read: Callable[[Any], Any] | None = None) -> Column:
    """Return a column of energies in J."""
    return number_column(key, title, read, joules)


def metric_column(
    monitor: Monitor, key: str, title: str, read: Callable[[Any], Any] | None = None
) -> Column:
    """Return a column of values of the metric."""
    return number_column(key, title, read, monitor.text)


def front_grid(summary: Summary) -> Grid:
    """Return the points of a study's front."""
    monitor = summary.monitor
    columns = (
        energy_column("energy_j", "energy"),
        metric_column(monitor, monitor.name, monitor.name, lambda point: point.accuracy),
        Column("setup", "setup", lambda point: params_text(point.params)),
        number_column("trial", "trial"),
        number_column("epoch", "epoch", text="{:.4g}".format),
        number_column("time_s", "time", text=duration),
        Column("provenance", "joules are", lambda point: point.provenance.kind),
        number_column("samples", "samples"),
        Column("flags", "flags", lambda point: " ".join(point.flags)),
        Column("overrides", "overrides", lambda point: shlex.join(point.overrides)),
    )
    return make_grid("front", f"The front: {summary.front_of}.", columns, summary.front, on_page=7)


def trials_grid(study: StudyRecord, target: float | None) -> Grid:
    """Return all trials with their outcomes, and their energy by use and by device."""
    monitor = study.monitor
    energy_by_trial = [trial_uses(trial, target) for trial in study.trials]
    uses = [use for use in USES if any(use in energies for energies in energy_by_trial)]
    keys = list(dict.fromkeys(key for trial in study.trials for key in trial.params))
    columns = (
        number_column("trial", "trial"),
        Column("setup", "setup"),
        Column("outcome", "outcome"),
        energy_column("energy_to_target_j", "to target"),
        metric_column(
            monitor, f"best_{monitor.name}", f"best {monitor.name}", lambda row: row.get("best")
        ),
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
    return make_grid("trials", caption, columns, rows, shown=SHOWN, on_page=6 + len(uses))


def _trial_row(study: StudyRecord, trial: TrialRecord, target: float | None) -> dict[str, Any]:
    """Return the values of a trial by column key; `best` is that of the metric."""
    row: dict[str, Any] = {
        "trial": trial.number,
        "setup": params_text(trial.params) + (f" ({trial.default_mark})" if trial.default else ""),
        "outcome": outcome_text(trial, target),
        "state": trial.state,
        "reason": trial.reason,
        "default": trial.default_mark or False,
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
        "flags": " ".join(trial.result.flags_at(_hit(trial.result, target))),
        **{f"{use}_j": energy.total_j for use, energy in energies.items()},
        **{f"spent_{part}": getattr(energy_of_trial, part) for part in DEVICES},
    }
    if trial.result.valid and len(trial.result.curve):
        hit = _hit(trial.result, target)
        value = trial.result.best_value
        row["best"] = trial.result.best_accuracy if study.monitor == ACCURACY else value
        row["energy_to_target_j"] = None if hit is None else hit.training_j
    return row


def _hit(result: TrialResult, target: float | None) -> CurvePoint | None:
    return None if target is None else result.first_at(target)


def outcome_text(trial: TrialRecord, target: float | None) -> str:
    """Return the outcome of a trial as seen from a target; its state if it has none yet."""
    outcome = trial_outcome(trial, target)
    return "stopped early" if outcome == "stopped" else str(outcome or trial.state)


def curves_grid(study: StudyRecord) -> Grid:
    """Return every evaluation of every trial whose energy can be compared."""
    of_point = ("samples", "steps", "epoch", "training_j", "training_s", "accuracy")
    keys = ("trial", *of_point, "provenance")
    rows = (
        (trial.number, *(getattr(point, key) for key in of_point), result.start.provenance.kind)
        for trial, result in study.results
        for point in finite(result.curve)
    )
    name = study.monitor.name
    columns = tuple(Column(k, k) for k in (name if k == "accuracy" else k for k in keys))
    return Grid("curves", "Every evaluation.", columns, tuple(rows))


def importance_grid(importances: Importances, metric: str) -> Grid:
    """Return the importance of each parameter for energy and for a metric."""
    energy, by_metric = importances.energy.shares, importances.metric.shares
    columns = (
        Column("parameter", "parameter", str),
        number_column("importance_for_energy", "for energy to the target", energy.get, percent),
        number_column(f"importance_for_{metric}", f"for {metric}", by_metric.get, percent),
    )
    caption = "Importance of each parameter."
    return make_grid("importance", caption, columns, importances.parameters)


def heat_map_grid(heat_map: HeatMap) -> Grid:
    """Return the cells of a heat map."""
    across, down = heat_map.across, heat_map.down
    columns = (
        number_column(across.key, across.key, lambda cell: across.labels[cell.across]),
        number_column(down.key, down.key, lambda cell: down.labels[cell.down]),
        energy_column(
            "energy_to_target_j", "least energy to the target", lambda cell: cell.energy_j
        ),
        energy_column(
            "spent_without_reaching_j",
            "most spent without reaching it",
            lambda cell: cell.spent_j or None,
        ),
        number_column("trainings", "trainings"),
        number_column("reached", "reached"),
        number_column("trial", "trial"),
    )
    caption = "Each cell in which there was a training."
    return make_grid("heat_map", caption, columns, heat_map.cells)


def uses_grid(uses: Mapping[Use, Energy]) -> Grid:
    """Return the energy of the whole search by use and by device."""
    parts = [part for part in DEVICES if any(getattr(e, part) is not None for e in uses.values())]
    search_j = sum(energy.total_j for energy in uses.values())
    columns = (
        Column("use", "for"),
        energy_column("energy_j", "energy"),
        number_column("share", "share", text=percent),
        *(
            energy_column(part.replace("_j", "_energy_j"), f"on the {DEVICES[part]}")
            for part in parts
        ),
    )
    rows = [
        (
            USES[use],
            energy.total_j,
            energy.total_j / search_j if search_j else None,
            *(getattr(energy, part) for part in parts),
        )
        for use, energy in uses.items()
    ]
    sums = (sum(getattr(e, part) or 0.0 for e in uses.values()) for part in parts)
    rows.append(("all of it", search_j, 1.0 if search_j else None, *sums))
    caption = "What the joules of the search were for, and where they were drawn."
    return Grid("joules", caption, columns, tuple(rows))


def power_grid(summary: Summary) -> Grid:
    """Return energy and time of an optimizer step at every power limit that was tried."""
    watts = partial(quantity, unit="W")
    columns = (
        number_column("trial", "trial"),
        number_column("batch_size", "batch size"),
        number_column("limit_w", "limit", text=watts),
        energy_column("step_j", "energy of a step"),
        number_column("step_s", "time of a step", text=duration),
        number_column("power_w", "mean power", text=watts),
        number_column("steps", "steps measured"),
        Column("chosen", "chosen", text=lambda chosen: "chosen" if chosen else ""),
    )
    rows = (
        {
            **{column.key: getattr(point, column.key, None) for column in columns},
            "trial": trial,
            "batch_size": profile.shape.get("batch_size"),
            "chosen": point.limit_w == profile.chosen_w,
        }
        for trial, profile in summary.profiles
        for point in profile.points
    )
    return make_grid("power", "What a step cost at each power limit.", columns, rows)


def noise_grid(setups: Sequence[Repeated], monitor: Monitor) -> Grid:
    """Return the configurations that were trained more than once."""
    name = monitor.name
    columns = (
        number_column("trial", "trial", lambda setup: setup.trial.number),
        Column("setup", "setup", lambda setup: params_text(setup.trial.params)),
        Column("trained", "trained", lambda s: "to confirm" if s.confirming else "in the search"),
        energy_column("energy_j", "energy to the target", lambda s: s.energy and s.energy.mean),
        energy_column("low_j", "from", lambda s: s.energy and s.energy.low),
        energy_column("high_j", "to", lambda s: s.energy and s.energy.high),
        number_column("reached", "reached", lambda s: f"{len(s.energies_j)}/{s.trainings}"),
        metric_column(monitor, name, f"{name} at the target", lambda s: _mean(s.accuracies)),
        metric_column(monitor, f"test_{name}", f"test {name}", lambda s: _mean(s.tests)),
    )
    caption = "Setups that were trained more than once: geometric mean and 95 % interval."
    return make_grid("noise", caption, columns, setups)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def conditions_grid(summary: Summary) -> Grid:
    """Return every warning flag with its meaning."""
    columns = (
        Column("flag", "flag"),
        number_column("trials", "trials"),
        Column("meaning", "what it means and what to do"),
    )
    rows = tuple(
        (flag, n, explain_flag(flag).removeprefix(f"{flag}: ")) for flag, n in summary.flags.items()
    )
    return Grid("conditions", "Warnings about the measuring conditions.", columns, rows)


def record_grid(facts: Sequence[Fact], trainings: int) -> Grid:
    """Return the hardware and software of `trainings` training runs."""
    columns = (
        Column("what", "what"),
        Column("value", "value"),
        number_column("trainings", "trainings", text=lambda n: "all" if n == trainings else str(n)),
    )
    return make_grid("record", "What the trainings ran on and with.", columns, facts)


def best_values_grid(summary: Summary) -> Grid:
    """Return the objective values that no other trial beats."""
    columns = (
        number_column("trial", "trial"),
        *(
            number_column(metric.name, f"{metric.name} ({metric.direction})", text="{:.6g}".format)
            for metric in summary.metrics
        ),
        Column("setup", "setup"),
    )
    rows = tuple((t.number, *t.values, setup(without_seeds(t.params))) for t in summary.told)
    return Grid("told", "Best objective values: those that no other trial beats.", columns, rows)
