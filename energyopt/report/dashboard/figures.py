"""Figures of a study for Optuna's dashboard, as JSON data for plotly.js.

Pure functions of the record. Colours are readable on white and on black, the dashboard's two
themes; text from a database is escaped, because plotly.js interprets some HTML tags.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from energyopt.analysis.curves import drawn_curves
from energyopt.analysis.energy_breakdown import USES, study_uses, trial_uses
from energyopt.analysis.heat_map import HeatMap, heat_map, searched
from energyopt.analysis.hypervolume import growth
from energyopt.analysis.pareto import curve_front
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import joules, percent, setup
from energyopt.report.html.theme import FONT, KINDS, SHADES, USE_COLORS, trial_kind
from energyopt.report.sentences import axis_title, source_text

Figure = Mapping[str, Any]

_INK, _GRID = "#7a8490", "rgba(122,132,144,0.25)"
_SYMBOLS = {"reached": "circle", "missed": "x", "stopped": "square", "open": "triangle-right"}
_MAX_POINTS = 2000  # of all curves: the page loads them every few seconds
_MAX_BARS = 200


def figures(study: StudyRecord) -> dict[str, Figure]:
    """Return the figures of a study that have data, by their id on the page."""
    if not study.results:
        return {}
    drawn = {
        "energyopt-1-front": _front(study),
        "energyopt-2-ledger": _ledger(study),
        "energyopt-3-ledger-by-trial": _ledger_by_trial(study),
        "energyopt-4-heat-map": _heat_map(study),
        "energyopt-5-hypervolume": _hypervolume(study),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _front(study: StudyRecord) -> Figure:
    """Draw all curves and their ends, the Pareto front, and the target."""
    front = curve_front(study)
    drawn = drawn_curves(study, study.target, front, _MAX_POINTS)
    monitor = study.monitor
    groups: defaultdict[str, list[TrialRecord]] = defaultdict(list)
    for trial, _ in study.results:
        if trial.number in drawn.curves:
            kind = "curve" if study.target is None else trial_kind(trial, study.target)
            groups[kind].append(trial)
    traces: list[Mapping[str, Any]] = []
    for kind in (kind for kind in KINDS if kind in groups):
        look = KINDS[kind]
        # One trace per kind keeps the legend short: None interrupts the line between curves.
        points = [point for trial in groups[kind] for point in (*drawn.curves[trial.number], None)]
        common = {"type": "scatter", "name": look.name, "legendgroup": kind}
        traces.append(
            {
                **common,
                "mode": "lines",
                "showlegend": False,
                "hoverinfo": "skip",
                "opacity": 0.4,
                "line": {"color": look.color, "width": 1},
                "x": [None if point is None else point.training_j for point in points],
                "y": [None if point is None else point.accuracy for point in points],
            }
        )
        ends = [(trial, drawn.curves[trial.number][-1]) for trial in groups[kind]]
        traces.append(
            {
                **common,
                "mode": "markers",
                "hoverinfo": "text",
                "marker": {"color": look.color, "symbol": _SYMBOLS.get(kind, "circle"), "size": 9},
                "x": [end.training_j for _, end in ends],
                "y": [end.accuracy for _, end in ends],
                "text": [
                    _hover_text(trial, end.training_j, end.accuracy, monitor) for trial, end in ends
                ],
            }
        )
    by_number = {trial.number: trial for trial in study.trials}
    traces.append(
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "front",
            "hoverinfo": "text",
            "line": {"color": _INK, "width": 2.5, "shape": "hv"},
            "marker": {"color": _INK, "size": 6},
            "x": [point.energy_j for point in front],
            "y": [point.accuracy for point in front],
            "text": [
                _hover_text(by_number[point.trial], point.energy_j, point.accuracy, monitor)
                for point in front
            ],
        }
    )
    title = html.escape(f"{monitor.title} against energy: trainings and front")
    y = html.escape(axis_title(monitor))
    layout = _layout(study, title, x="training energy [J]", y=y)
    if monitor.mode == "min":
        layout["yaxis"]["autorange"] = "reversed"
    layout["xaxis"]["type"] = "log"
    if study.target is not None:
        line = {"color": KINDS["reached"].color, "dash": "dash", "width": 1.5}
        place = {"xref": "paper", "x0": 0, "x1": 1, "y0": study.target, "y1": study.target}
        text = f"target {study.target:g}"
        label = {"text": text, "textposition": "start", "font": {"color": _INK}}
        layout["shapes"] = [{"type": "line", **place, "line": line, "label": label}]
    return {"data": traces, "layout": layout}


def _ledger(study: StudyRecord) -> Figure:
    """Draw the energy of the search by use."""
    uses = {USES[use]: energy.total_j for use, energy in study_uses(study, study.target).items()}
    search_j = sum(uses.values())
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": list(uses),
        "x": list(uses.values()),
        "text": [f"{joules(use_j)}, {percent(use_j / search_j)}" for use_j in uses.values()],
        "textposition": "auto",
        "hoverinfo": "y+text",
        "marker": {"color": [USE_COLORS[use] for use in uses]},
    }
    title = f"Energy ledger: {joules(study.search_energy_j)} of search"
    layout = _layout(study, title, x="energy [J]")
    layout["yaxis"] |= {"autorange": "reversed", "automargin": True}
    return {"data": [bars], "layout": layout}


def _ledger_by_trial(study: StudyRecord) -> Figure:
    """Draw the energy of the last trials by use."""
    trials = [trial for trial in study.trials if trial.result is not None][-_MAX_BARS:]
    columns: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for trial in trials:
        for use, energy in trial_uses(trial, study.target).items():
            columns[USES[use]][trial.number] = energy.total_j
    bars = [
        {
            "type": "bar",
            "name": use,
            "marker": {"color": USE_COLORS[use]},
            "x": list(columns[use]),
            "y": list(columns[use].values()),
            "hoverinfo": "x+y+name",
        }
        for use in USES.values()
        if use in columns
    ]
    last = f" (the last {_MAX_BARS})" if len(trials) == _MAX_BARS else ""
    layout = _layout(study, f"Energy ledger by trial{last}", x="trial", y="energy [J]")
    layout["barmode"] = "stack"
    return {"data": bars, "layout": layout}


def _heat_map(study: StudyRecord) -> Figure | None:
    """Draw energy to the target over the first two parameters."""
    keys = searched(study)
    if study.target is None or len(keys) < 2:  # noqa: PLR2004  # axes
        return None
    cells = heat_map(study, study.target, *keys[:2])
    rows = list(_cell_rows(cells))
    trace = {
        "type": "heatmap",
        "x": [html.escape(label) for label in cells.across.labels],
        "y": [html.escape(label) for label in cells.down.labels],
        "z": [[energy_j for energy_j, _ in row] for row in rows],
        "text": [[text for _, text in row] for row in rows],
        "texttemplate": "%{text}",
        "hoverinfo": "x+y+text",
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "colorscale": [[i / (len(SHADES) - 1), shade] for i, shade in enumerate(SHADES)],
        "colorbar": {"title": {"text": "J"}},
    }
    title = f"Heat map: least energy to {study.target:g}"
    across, down = (html.escape(axis.key) for axis in (cells.across, cells.down))
    layout = _layout(study, title, x=across, y=down)
    layout["xaxis"]["type"] = layout["yaxis"]["type"] = "category"
    missed = [cell for cell in cells.cells if cell.energy_j is None]
    layout["annotations"] = [
        {
            "x": cell.across,
            "y": cell.down,
            "text": "missed",
            "showarrow": False,
            "font": {"color": KINDS["missed"].color},
        }
        for cell in missed
    ]
    return {"data": [trace], "layout": layout}


def _cell_rows(cells: HeatMap) -> Iterator[list[tuple[float | None, str]]]:
    """Yield each row as least energy and text of its cells; None where all runs missed."""
    by_position = {(cell.across, cell.down): cell for cell in cells.cells}
    for down in range(len(cells.down.labels)):
        row = [by_position.get((across, down)) for across in range(len(cells.across.labels))]
        yield [
            (None, "")
            if cell is None or cell.energy_j is None
            else (cell.energy_j, f"{joules(cell.energy_j)}, {cell.reached}/{cell.trainings}")
            for cell in row
        ]


def _hypervolume(study: StudyRecord) -> Figure:
    """Draw the share of the final hypervolume against the search energy."""
    steps = growth(study)
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) <= _MAX_BARS else "lines",
        "line": {"color": KINDS["curve"].color, "shape": "hv"},
        "x": [step.search_j for step in steps],
        "y": [100 * step.share for step in steps],
        "text": [f"trial {step.trial}" for step in steps],
        "hoverinfo": "x+y+text",
    }
    title = "Hypervolume over search energy"
    area = "under the front" if study.monitor == ACCURACY else "between front and worst value"
    y = f"area {area} [% of the last]"
    layout = _layout(study, title, x="energy of the search so far [J]", y=y)
    layout["yaxis"]["rangemode"] = "tozero"
    return {"data": [line], "layout": layout}


def _hover_text(trial: TrialRecord, energy_j: float, value: float, monitor: Monitor) -> str:
    shown = f"{html.escape(monitor.name)} {monitor.text(value)}"
    text = f"trial {trial.number}: {joules(energy_j)}, {shown}"
    return f"{text}<br>{html.escape(setup(trial.params))}<br>{html.escape(trial.reason)}"


def _layout(study: StudyRecord, title: str, *, x: str = "", y: str = "") -> dict[str, Any]:
    provenance = study.provenance
    source = "" if provenance is None else f"<br><sub>{html.escape(source_text(provenance))}</sub>"
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "color": _INK}
    return {
        "title": {"text": f"{title}{source}", "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "font": {"family": FONT, "color": _INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
        "legend": {"orientation": "h", "y": -0.25},
        "margin": {"t": 70, "r": 20},
        "height": 460,
    }
