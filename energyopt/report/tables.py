"""Tables for the terminal.

All text goes into `rich.text.Text`, which does not interpret markup: the name of a study, a
parameter or a reason can hold any characters.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from energyopt.analysis.configurations import reached_configurations
from energyopt.analysis.pareto import FrontPoint, Hit, at_target
from energyopt.analysis.summary import OPEN, Summary
from energyopt.core.curve import CurvePoint
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.seeds import configuration_key, without_seeds
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import accuracy, count, duration, joules, setting, setup
from energyopt.report.answer_view import name_of
from energyopt.report.console import COMMAND, printable
from energyopt.report.sentences import source, summary_lines

_UNLIMITED_WIDTH = 10_000
_HEADING = "bold"
_MARKED = "bold green"


def studies_table(studies: Iterable[StudyRecord]) -> RenderableType:
    """Return a table of studies, each with the source of its energies."""
    table = _table(text=("study",), numbers=("trials", "reached", "cheapest", "search"))
    table.add_column(_text("joules are"), overflow="fold")
    for study in studies:
        hits = [] if study.target is None else at_target(study, study.target)
        _row(
            table,
            study.name,
            sum(trial.state not in OPEN for trial in study.trials),
            len(hits),
            joules(_cheapest_j(study, hits)),
            joules(study.search_energy_j),
            "-" if study.provenance is None else source(study.provenance),
        )
    if not table.row_count:
        return _text("No studies yet.")
    note = (
        "cheapest: training energy of the cheapest setup to the study's target, its mean over "
        "seeds; search: all energy the study used"
    )
    return Group(table, _text(note, style="dim"))


def _cheapest_j(study: StudyRecord, hits: Sequence[Hit]) -> float | None:
    """Return the mean energy of the cheapest configuration, in J; None if none reached it."""
    if study.target is None or not hits:
        return None
    return reached_configurations(study, study.target, hits)[0].mean_j


def front_table(
    points: Sequence[FrontPoint],
    front_of: str | None = None,
    *,
    study: str = "NAME",
    answer: FrontPoint | None = None,
    monitor: Monitor = ACCURACY,
    limit: int | None = 15,
) -> RenderableType:
    """Return a table of a front by rising energy, with the source of its energies.

    Args:
        points: The front.
        front_of: Description of what it is a front of; a general one if None.
        study: Name of the study, for the command that shows all points.
        answer: Where the answer of the study reached the target, to be marked.
        monitor: The metric.
        limit: Maximum number of rows; longer fronts are thinned evenly. None shows all.
    """
    if not points:
        return _text(
            "Front: none. The study has no energy curves, or none as asked for; use "
            f"`{COMMAND} show {shlex.quote(study)}`."
        )
    marked = next((i for i, point in enumerate(points) if _is_at(point, answer, monitor)), None)
    ends = {0, len(points) - 1}
    indices = _thin_indices(len(points), limit, ends if marked is None else ends | {marked})
    rows = [(points[i], i == marked) for i in indices]
    sources = "; ".join(dict.fromkeys(source(point.provenance) for point in points))
    meaning = monitor.label if monitor == ACCURACY else monitor.better
    description = front_of or _general_description(points[0], monitor)
    heading = f"Front: {description} ({meaning}; {sources})"
    parts: list[RenderableType] = [
        _text(heading, style=_HEADING),
        _FirstThatFits(*(_front_rows(rows, monitor, spread=spread) for spread in (True, False))),
    ]
    if marked is not None:
        parts.append(_text("* recommended", style="dim"))
    elif answer is not None:
        note = f"{name_of(answer)} is recommended: no point of it at the target is on this front"
        parts.append(_text(note, style="dim"))
    if hidden := len(points) - len(indices):
        command = f"{COMMAND} pareto {shlex.quote(study)}"
        parts.append(_text(f"{count(hidden, 'point')} not shown; all {len(points)}: {command}"))
    return Group(*parts)


def _is_at(point: FrontPoint, answer: FrontPoint | None, monitor: Monitor) -> bool:
    """Return True for a point of the answer's configuration that is at the target as well."""
    if answer is None or configuration_key(point.params) != configuration_key(answer.params):
        return False
    return point.energy_j >= answer.energy_j and monitor.reaches(point.accuracy, answer.accuracy)


def curve_table(
    result: TrialResult, *, heading: str = "Curve", limit: int | None = 20
) -> RenderableType:
    """Return a table of a trial's curve: training energy so far and value of the metric.

    Args:
        result: The trial's record.
        heading: Its heading, such as "Curve of trial 7".
        limit: Maximum number of rows; longer curves are thinned, but keep the target, the best and
            the last row.
    """
    provenance = source(result.start.provenance)
    monitor = result.monitor
    meaning = monitor.label if monitor == ACCURACY else f"{monitor.name}, {monitor.better}"
    title = f"{heading}: target {accuracy(result.target)} ({meaning}; {provenance})"
    reason = "" if result.reason in ("", result.end) else f", {result.reason}"
    end = f"Ended: {result.end}{reason}"
    curve = tuple(result.curve)
    if not curve:
        return Group(_text(title, style=_HEADING), _text(f"No evaluation was made. {end}"))
    marks = _curve_marks(result, curve)
    counted = any(point.samples is not None for point in curve)
    samples = ("samples",) if counted else ()
    table = _table(numbers=("epoch", *samples, "training energy", "time", monitor.name))
    table.add_column("")
    indices = _thin_indices(len(curve), limit, {*marks, len(curve) - 1})
    for i in indices:
        point = curve[i]
        _row(
            table,
            f"{point.epoch:.4g}",
            *(("" if point.samples is None else point.samples,) if counted else ()),
            joules(point.training_j),
            duration(point.training_s),
            monitor.text(point.accuracy),
            " ".join(marks.get(i, ())),
            marked="target" in marks.get(i, ()),
        )
    hidden = len(curve) - len(indices)
    verb = "is" if hidden == 1 else "are"
    note = f"{hidden} of {len(curve)} evaluations {verb} not shown. " if hidden else ""
    return Group(_text(title, style=_HEADING), table, _text(note + end))


def summary_panel(summary: Summary) -> RenderableType:
    """Return a study's front, recommendation, search energy and source of energies."""
    parts: list[RenderableType] = []
    if summary.front:
        table = front_table(
            summary.front,
            summary.front_of,
            study=summary.study,
            answer=summary.recommended,
            monitor=summary.monitor,
        )
        parts += [table, Text()]
    elif summary.told:
        parts += [best_values_table(summary.told, summary.metrics), Text()]
    parts += [_text(line) for line in summary_lines(summary)]
    return Group(*parts)


def trials_table(rows: Sequence[Mapping[str, Any]], monitor: Monitor) -> RenderableType:
    """Return a table of trials, given as rows of `json_data.trial_data`."""
    table = _table(numbers=("number",), text=("state", "configuration"))
    table.columns = [table.columns[-1], *table.columns[:-1]]
    for name in (monitor.name, "to target", "epochs", "seed"):
        table.add_column(_text(name), justify="right", no_wrap=True)
    for row in rows:
        energy_j, values = row["energy_to_target_j"], row["values"]
        metric = ", ".join(f"{value:.6g}" for value in values) if row["epochs"] is None else ""
        _row(
            table,
            row["trial"],
            row["state"],
            (setup(row["params"]) or "-") + (" (default)" if row["default"] else ""),
            metric or ("-" if row["metric"] is None else monitor.text(row["metric"])),
            joules(energy_j) if energy_j is not None else row["outcome"] or "-",
            "-" if row["epochs"] is None else f"{row['epochs']:.4g}",
            "-" if row["seed"] is None else row["seed"],
        )
    return table


def best_values_table(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> RenderableType:
    """Return the objective values that no other trial beats, for a study of any app."""
    tables = (_value_rows(trials, metrics, spread=spread) for spread in (True, False))
    return Group(_text("Best objective values", style=_HEADING), _FirstThatFits(*tables))


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Return a table of text: the first column is left-aligned and wraps, others right-aligned."""
    table = _table(text=columns[:1], numbers=columns[1:])
    for row in rows:
        _row(table, *row)
    return table


def side_by_side(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Return a table of text whose columns all wrap."""
    table = _table(text=columns)
    for row in rows:
        _row(table, *row)
    return table


def _general_description(point: FrontPoint, monitor: Monitor) -> str:
    if point.kind_of_point == "final":
        return "objective values of feasible trials"
    return f"{monitor.name} against training energy, over all checkpoints"


def _front_rows(
    rows: Sequence[tuple[FrontPoint, bool]], monitor: Monitor, *, spread: bool
) -> Table:
    """Return a table of points, with one column per parameter or all in one column."""
    keys = list(dict.fromkeys(key for point, _ in rows for key in without_seeds(point.params)))
    table = _table(numbers=("energy", monitor.name))
    _add_setup(table, keys, spread=spread)
    for name in ("trial", "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for point, marked in rows:
        _row(
            table,
            f"* {joules(point.energy_j)}" if marked else joules(point.energy_j),
            monitor.text(point.accuracy),
            *_setup_cells(point.params, keys, spread=spread),
            f"{point.trial} ({point.default_mark})" if point.default else point.trial,
            f"{point.epoch:.4g}",
            marked=marked,
        )
    return table


def _value_rows(trials: Sequence[TrialRecord], metrics: Sequence[Metric], *, spread: bool) -> Table:
    """Return a table of trials, with one column per parameter or all in one column."""
    keys = list(dict.fromkeys(key for trial in trials for key in without_seeds(trial.params)))
    table = _table(numbers=("trial",))
    for metric in metrics:
        heading = _text(f"{metric.name} ({metric.direction})")
        table.add_column(heading, justify="right", overflow="fold")
    _add_setup(table, keys, spread=spread)
    for trial in trials:
        values = (f"{value:.6g}" for value in trial.values)
        _row(table, trial.number, *values, *_setup_cells(trial.params, keys, spread=spread))
    return table


def _add_setup(table: Table, keys: Sequence[str], *, spread: bool) -> None:
    if not spread:
        table.add_column("setup", overflow="fold", ratio=1)
        return
    for key in keys:
        table.add_column(_text(key), justify="right", no_wrap=True)


def _setup_cells(params: Mapping[str, Any], keys: Sequence[str], *, spread: bool) -> list[str]:
    if not spread:
        return [setup(without_seeds(params)) or "-"]
    return [setting(params[key]) if key in params else "-" for key in keys]


def _curve_marks(result: TrialResult, curve: Sequence[CurvePoint]) -> dict[int, tuple[str, ...]]:
    score = result.monitor.score
    best = max(range(len(curve)), key=lambda i: _order(score(curve[i].accuracy)))
    marks: dict[int, tuple[str, ...]] = {best: ("best",)}
    if result.hit is not None:
        hit = curve.index(result.hit)
        marks[hit] = ("target", *marks.get(hit, ()))
    return marks


def _order(score: float) -> float:
    """Return a score, with NaN as the worst: nothing compares with it."""
    return -math.inf if math.isnan(score) else score


def _thin_indices(n_rows: int, limit: int | None, required: Collection[int]) -> list[int]:
    """Choose at most `limit` of `n_rows` rows evenly, in addition to the required ones."""
    if limit is None or n_rows <= limit:
        return list(range(n_rows))
    optional = [i for i in range(n_rows) if i not in required]
    n_free = max(limit - len(required), 0)
    # The middles of n_free equal parts of the other rows.
    chosen = (optional[(2 * k + 1) * len(optional) // (2 * n_free)] for k in range(n_free))
    return sorted({*required, *chosen})


class _FirstThatFits:
    """Renderable: the first table that fits the console, or the last one if none does."""

    def __init__(self, *tables: Table) -> None:
        self._tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update_width(_UNLIMITED_WIDTH)
        for table in self._tables:
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                yield table
                return
        yield self._tables[-1]


def _table(*, text: Sequence[str] = (), numbers: Sequence[str] = ()) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
        header_style=_HEADING,
    )
    for name in text:
        table.add_column(_text(name), overflow="fold")
    for name in numbers:
        table.add_column(_text(name), justify="right", no_wrap=True)
    return table


def _row(table: Table, *cells: object, marked: bool = False) -> None:
    table.add_row(*(_text(cell) for cell in cells), style=_MARKED if marked else None)


def _text(value: object, *, style: str = "") -> Text:
    return Text(printable(str(value)), style=style)
