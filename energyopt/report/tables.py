"""Tables and sentences for the terminal.

All text goes into `rich.text.Text`, which reads no markup: a study, a parameter or a reason
can hold any characters.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from energyopt.records import (
    CurvePoint,
    Metric,
    Provenance,
    StudyRecord,
    TrialRecord,
    TrialResult,
)
from energyopt.report.flags import explain_flag
from energyopt.report.front import FrontPoint, at_target
from energyopt.report.summary import Counts, Fate, Summary
from energyopt.units import duration, joules, percent, quantity

COMMAND = "python -m energyopt"
_COMMAND_WIDTH = 78
_UNLIMITED_WIDTH = 10_000
_HEADING = "bold"
_MARKED = "bold green"
_FATES: Mapping[Fate, str] = {
    "missed": "trained to the end",
    "stopped": "stopped early",
    "failed": "failed",
    "lost": "lost",
}


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study in a list of studies.

    Attributes:
        name: Its name.
        trials: Number of its trials that are over.
        reached: How many reached the target.
        best_j: The least energy-to-target, in J; None if no trial reached the target.
        search_energy_j: All energy that the study burnt, in J.
        provenance: Where the joules come from; None before the first.
    """

    name: str
    trials: int
    reached: int
    best_j: float | None
    search_energy_j: float
    provenance: Provenance | None


def study_row(study: StudyRecord) -> StudyRow:
    """Make the row of a study."""
    hits = [] if study.target is None else at_target(study, study.target)
    return StudyRow(
        name=study.name,
        trials=sum(trial.state not in ("running", "waiting") for trial in study.trials),
        reached=len(hits),
        best_j=hits[0][2].training_j if hits else None,
        search_energy_j=study.search_energy_j,
        provenance=study.provenance,
    )


def studies_table(rows: Iterable[StudyRow]) -> RenderableType:
    """List studies, one a row, each with the provenance of its joules."""
    table = _table(left=("study",), right=("trials", "reached", "cheapest", "search"))
    table.add_column(_text("joules are"), overflow="fold")
    for row in rows:
        joules_are = "-" if row.provenance is None else source(row.provenance)
        _row(
            table,
            row.name,
            row.trials,
            row.reached,
            joules(row.best_j),
            joules(row.search_energy_j),
            joules_are,
        )
    if not table.row_count:
        return _text("No studies yet.")
    note = "cheapest: training energy to the study's target; search: all that the study burnt"
    return Group(table, _text(note, style="dim"))


def front_table(
    points: Sequence[FrontPoint],
    of: str | None = None,
    *,
    study: str = "NAME",
    target: float | None = None,
    limit: int | None = 15,
) -> RenderableType:
    """Show a front, by rising energy, with the provenance of its joules.

    Args:
        points: The front.
        of: What it is a front of (`front_of`); in general words if None.
        study: Name of the study, for the command that shows all points.
        target: Accuracy whose cheapest point is marked.
        limit: The most rows; longer fronts are thinned evenly. None shows all.
    """
    if not points:
        return _text("Front: none, because no trial left a metered evaluation; see `show`.")
    marked = next(
        (at for at, point in enumerate(points) if target is not None and point.accuracy >= target),
        None,
    )
    ends = {0, len(points) - 1}
    shown = _thin(len(points), limit, ends if marked is None else ends | {marked})
    rows = [(points[at], at == marked) for at in shown]
    sources = "; ".join(dict.fromkeys(source(point.provenance) for point in points))
    heading = f"Front: {of or _general(points[0])} (validation accuracy; {sources})"
    parts: list[RenderableType] = [
        _text(heading, style=_HEADING),
        _FirstThatFits(_front_rows(rows, spread=True), _front_rows(rows, spread=False)),
    ]
    if marked is not None and target is not None:
        parts.append(_text(f"* cheapest point at or above {accuracy(target)}", style="dim"))
    if hidden := len(points) - len(shown):
        command = f"{COMMAND} pareto {shlex.quote(study)}"
        parts.append(_text(f"{_count(hidden, 'point')} not shown; all {len(points)}: {command}"))
    return Group(*parts)


def curve_table(
    result: TrialResult, *, heading: str = "Curve", limit: int | None = 20
) -> RenderableType:
    """Show one trial's curve: what its training cost so far, and what it reached.

    Args:
        result: The trial's record.
        heading: What to call it, such as "Curve of trial 7".
        limit: The most rows; longer curves are thinned, never the target, the best or the last.
    """
    provenance = source(result.start.provenance)
    title = f"{heading}: target {accuracy(result.target)} (validation accuracy; {provenance})"
    end = f"Ended: {result.end}" + (f", {result.reason}" if result.reason else "")
    curve = result.curve
    if not curve:
        return Group(_text(title, style=_HEADING), _text(f"No evaluation was made. {end}"))
    marks = _curve_marks(result, curve)
    table = _table(right=("epoch", "samples", "training energy", "time", "accuracy"))
    table.add_column("")
    shown = _thin(len(curve), limit, {*marks, len(curve) - 1})
    for at in shown:
        point = curve[at]
        _row(
            table,
            f"{point.epoch:.4g}",
            point.samples,
            joules(point.training_j),
            duration(point.training_s),
            f"{point.accuracy:.4f}",
            " ".join(marks.get(at, ())),
            marked="target" in marks.get(at, ()),
        )
    hidden = len(curve) - len(shown)
    note = f"{hidden} of {len(curve)} evaluations are not shown. " if hidden else ""
    return Group(_text(title, style=_HEADING), table, _text(note + end))


def summary_panel(summary: Summary) -> RenderableType:
    """Show a study: its front, then what it recommends, what it cost and how it was measured."""
    parts: list[RenderableType] = []
    if summary.front:
        table = front_table(
            summary.front, summary.front_of, study=summary.study, target=summary.target
        )
        parts += [table, Text()]
    elif summary.target is None and summary.told:
        parts += [told_table(summary.told, summary.metrics), Text()]
    parts += [_text(line) for line in summary_lines(summary)]
    if summary.recommended is not None:
        parts += [_text("Train the cheapest setup again:"), _Command(summary.recommended.overrides)]
    return Group(*parts)


def told_table(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> RenderableType:
    """Show what trials of any app told their study: the values no other trial beats."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    names = [f"{metric.name} ({metric.direction})" for metric in metrics]
    table = _table(right=("trial", *names, *keys))
    for trial in trials:
        values = (f"{value:.6g}" for value in trial.values)
        _row(table, trial.number, *values, *(setting(trial.params.get(key, "-")) for key in keys))
    return Group(_text("Best told values", style=_HEADING), table)


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """Write a summary as sentences."""
    lines = [_trials_line(summary)]
    if summary.target is not None:
        lines += [_cheapest_line(summary, summary.target), _worst_line(summary, summary.target)]
    if summary.provenance is not None:
        lines += [_search_line(summary), _break_even_line(summary)]
    if summary.target is not None or summary.provenance is not None:
        lines.append(_measuring_line(summary.provenance))
    lines.append(_flags_line(summary.flags))
    return tuple(line for line in lines if line)


def source(provenance: Provenance) -> str:
    """Say in short where joules come from: "estimated by cpu-time 4 W/core"."""
    return f"{provenance.kind} by {provenance.meter}"


def source_lines(provenance: Provenance, flags: Sequence[str] = ()) -> str:
    """Say at the start of a run where its joules come from, and what is doubtful about them."""
    lines = [
        f"energy    {provenance.kind.upper()} by {provenance.meter}, {provenance.scope}",
        f"          {provenance.uncertainty}",
        f"on        {provenance.device}",
    ]
    lines += [f"mind      {explain_flag(flag)}" for flag in flags]
    return "\n".join(lines)


def accuracy(value: float) -> str:
    """Write an accuracy or a target in a sentence."""
    return f"{value:.6g}"


def setting(value: object) -> str:
    """Write the value of a parameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setup(params: Mapping[str, Any]) -> str:
    """Write the searched values of a trial: "lr=0.0123 batch_size=64"."""
    return " ".join(f"{key}={setting(value)}" for key, value in params.items())


def _trials_line(summary: Summary) -> str:
    counts = summary.counts
    if not counts.trials:
        return f"Study {summary.study} has no trials yet."
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.states.items()))
    line = f"Study {summary.study}: {_count(counts.trials, 'trial')} ({states})."
    if summary.target is None:
        line += " It has no target accuracy, so nothing is said of energy-to-target."
    return line


def _cheapest_line(summary: Summary, target: float) -> str:
    point = summary.recommended
    if point is not None:
        return (
            f"Cheapest setup reaching {accuracy(target)}: {_setup_of(point)} - "
            f"{joules(point.energy_j)} to target (trial {point.trial}, epoch {point.epoch:.4g})."
        )
    if not summary.front:
        return ""
    best = summary.front[-1]
    return (
        f"No trial reached {accuracy(target)}. The best accuracy was {accuracy(best.accuracy)} "
        f"({_setup_of(best)}; {joules(best.energy_j)}, trial {best.trial}, "
        f"epoch {best.epoch:.4g})."
    )


def _worst_line(summary: Summary, target: float) -> str:
    counts, worst = summary.counts, summary.worst
    if worst is None:
        return _rest(counts)
    if counts.reached == 1:
        line = f"Trial {worst.trial} is the only one that reached {accuracy(target)}"
    else:
        times = "" if summary.spread is None else f" {summary.spread:.1f}x the best"
        line = (
            f"The worst setup that reached {accuracy(target)} cost{times} "
            f"({joules(worst.energy_j)}, trial {worst.trial})"
        )
    rest = _rest(counts)
    return f"{line}; {rest}" if rest else f"{line}."


def _rest(counts: Counts) -> str:
    """What became of the trials that did not reach the target."""
    others = {fate: counts.fates[fate] for fate in _FATES if counts.fates.get(fate)}
    if not others:
        return ""
    words = ", ".join(f"{number} {_FATES[fate]}" for fate, number in others.items())
    finished = _count(counts.finished, "trial")
    return f"{sum(others.values())} of {finished} missed the target ({words})."


def _search_line(summary: Summary) -> str:
    parts = ", ".join(f"{each} {joules(part)}" for each, part in summary.parts_j.items() if part)
    line = f"The search cost {joules(summary.search_energy_j)}"
    if parts:
        line += f" ({parts})"
    if summary.missed_share is not None:
        line += f", {percent(summary.missed_share)} of it in trials that missed the target"
    return line + "."


def _break_even_line(summary: Summary) -> str:
    if summary.break_even is None or summary.default is None:
        return f"Break-even: none, because {summary.break_even_reason}."
    default = summary.default
    trainings = _count(math.ceil(summary.break_even), "training")
    return (
        f"Break-even: the search pays back after {trainings} against the default setup "
        f"(trial {default.trial}: {joules(default.energy_j)} to target; the recommended one "
        f"saves {percent(summary.saving)} of it)."
    )


def _measuring_line(provenance: Provenance | None) -> str:
    if provenance is None:
        return "Measuring: no trial was metered."
    line = f"Measuring: {provenance}, {provenance.version}; uncertainty: {provenance.uncertainty}"
    if provenance.resolution_s:
        line += f"; sensor updates every {quantity(provenance.resolution_s, 's')}"
    return line + "."


def _flags_line(flags: Mapping[str, int]) -> str:
    if not flags:
        return ""
    words = "; ".join(f"{explain_flag(flag)} ({_count(n, 'trial')})" for flag, n in flags.items())
    return f"Conditions to mind: {words}."


def _setup_of(point: FrontPoint) -> str:
    words = setup(point.params)
    if not point.default:
        return words or "the fixed setup"
    return f"the default setup ({words})" if words else "the default setup"


def _general(point: FrontPoint) -> str:
    if point.kind_of_point == "final":
        return "told values of feasible trials"
    return "accuracy against training energy, over all checkpoints"


def _front_rows(rows: Sequence[tuple[FrontPoint, bool]], *, spread: bool) -> Table:
    """Make the rows of a front, with one column a parameter or all in one column."""
    keys = list(dict.fromkeys(key for point, _ in rows for key in point.params))
    table = _table(right=("energy", "accuracy"))
    if spread:
        for key in keys:
            table.add_column(_text(key), justify="right", no_wrap=True)
    else:
        table.add_column("setup", overflow="fold", ratio=1)
    for name in ("trial", "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for point, marked in rows:
        cells = [setting(point.params[key]) if key in point.params else "-" for key in keys]
        _row(
            table,
            f"* {joules(point.energy_j)}" if marked else joules(point.energy_j),
            f"{point.accuracy:.4f}",
            *(cells if spread else [setup(point.params) or "-"]),
            f"{point.trial} (default)" if point.default else point.trial,
            f"{point.epoch:.4g}",
            marked=marked,
        )
    return table


def _curve_marks(result: TrialResult, curve: Sequence[CurvePoint]) -> dict[int, tuple[str, ...]]:
    best = max(range(len(curve)), key=lambda at: curve[at].accuracy)
    marks: dict[int, tuple[str, ...]] = {best: ("best",)}
    if result.hit is not None:
        hit = curve.index(result.hit)
        marks[hit] = ("target", *marks.get(hit, ()))
    return marks


def _thin(count: int, limit: int | None, keep: Collection[int]) -> list[int]:
    """Choose at most `limit` of `count` rows, evenly; those to keep are always among them."""
    if limit is None or count <= limit:
        return list(range(count))
    others = [at for at in range(count) if at not in keep]
    free = max(limit - len(keep), 0)
    return sorted({*keep, *(others[(2 * k + 1) * len(others) // (2 * free)] for k in range(free))})


class _FirstThatFits:
    """Shows the first table that fits the console; the last one where none does."""

    def __init__(self, *tables: Table) -> None:
        self.tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update_width(_UNLIMITED_WIDTH)
        for table in self.tables:
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                yield table
                return
        yield self.tables[-1]


def _table(*, left: Sequence[str] = (), right: Sequence[str] = ()) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
        header_style=_HEADING,
    )
    for name in left:
        table.add_column(_text(name), overflow="fold")
    for name in right:
        table.add_column(_text(name), justify="right", no_wrap=True)
    return table


def _row(table: Table, *cells: object, marked: bool = False) -> None:
    table.add_row(*(_text(cell) for cell in cells), style=_MARKED if marked else None)


class _Command:
    """A command line in pieces that can be pasted: a shell joins them at the backslash."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.words = [_printable(shlex.quote(word)) for word in overrides]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _COMMAND_WIDTH)
        lines = [f"  {COMMAND}"]
        for word in self.words:
            if len(lines[-1]) + len(word) + len(" " + " \\") > width:
                lines[-1] += " \\"
                lines.append("   ")
            lines[-1] += f" {word}"
        # Segments and not text: rich would cut a word that is longer than a line.
        for line in lines:
            yield Segment(line)
            yield Segment.line()


def _text(value: object, *, style: str = "") -> Text:
    return Text(_printable(str(value)), style=style)


def _printable(text: str) -> str:
    """Keep control characters out of the terminal: a database can come from anywhere."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
