"""Figures of parameters: slices, all together, importance, and a map of two of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import altair as alt

from energyopt.analysis.heat_map import HeatMap
from energyopt.analysis.importance import Importances
from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.search_range import SearchRange
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules, setting
from energyopt.report.html.figure import (
    ROUGH_JOULES,
    Figure,
    Row,
    data,
    energy_title,
    kind_channels,
    log_joules,
    log_scale,
    short,
    ticks,
    tooltip,
    trial_label,
)
from energyopt.report.html.theme import (
    IMPORTANCE_COLORS,
    KINDS,
    LINE_SHADES,
    ON_SHADES,
    SHADES,
    trial_kind,
)
from energyopt.report.sentences import params_text

_APART = 1.8  # of the highest energy: where trainings that diverged are drawn


def importance_figure(importances: Importances, metric: str) -> Figure:
    """Draw the importance of each parameter for energy and for a metric."""
    shares_by_objective = {
        "for energy to the target": importances.energy.shares,
        f"for {metric}": importances.metric.shares,
    }
    rows = [
        {"key": key, "of": objective, "share": short(share), "words": f"{100 * share:.0f} %"}
        for objective, shares in shares_by_objective.items()
        for key, share in shares.items()
    ]
    colors = {
        objective: color
        for (objective, shares), color in zip(
            shares_by_objective.items(), IMPORTANCE_COLORS, strict=True
        )
        if shares
    }
    base = alt.Chart(data(rows)).encode(
        y=alt.Y(
            "key:N", title=None, sort=list(importances.parameters), axis=alt.Axis(labelLimit=200)
        ),
        yOffset=alt.YOffset("of:N", sort=list(colors), scale=alt.Scale(paddingInner=0.15)),
        x=alt.X(
            "share:Q",
            title="share of the variation that is due to it, alone or with others",
            scale=alt.Scale(domain=[0, 1.08], clamp=True),
            axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1]),
        ),
    )
    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    color = alt.Color("of:N", scale=scale, legend=alt.Legend())
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=color, tooltip=tooltip(key="parameter", of="matters", words="importance")
    )
    labels = base.mark_text(align="left", dx=5, style="quiet-words").encode(text="words:N")
    height = 46 * max(len(importances.parameters), 1)
    return Figure(
        "importance",
        "Importance of each parameter",
        f"Bars of the importance of each searched parameter for energy and for {metric}; the table "
        "says the same.",
        alt.layer(bars, labels).properties(height=height),
    )


def heat_map_figure(heat_map: HeatMap, target: float) -> Figure:
    """Draw energy to the target over two parameters; cells that missed it say so."""
    rows = [
        {
            "across": heat_map.across.labels[cell.across],
            "down": heat_map.down.labels[cell.down],
            "e": cell.energy_j,
            "words": _energy_text(cell.energy_j, cell.spent_j),
            "note": "missed" if not cell.reached else "",
            "reached": f"{cell.reached} of {cell.trainings}",
            "trial": cell.trial,
        }
        for cell in heat_map.cells
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "across:O",
            title=heat_map.across.key,
            sort=None,
            scale=band_scale(heat_map.across.labels),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, orient="bottom"),
        ),
        y=alt.Y(
            "down:O",
            title=heat_map.down.key,
            sort=None,
            scale=band_scale(heat_map.down.labels[::-1]),
        ),
        tooltip=tooltip(
            across=heat_map.across.key,
            down=heat_map.down.key,
            words=f"to {target:.6g}",
            reached="reached",
            trial="trial",
        ),
    )
    height = max(58 * len(heat_map.down.labels), 120)
    chart = alt.layer(*cell_layers(base, rows)).properties(height=height)
    return Figure(
        "heat_map",
        f"Energy to {target:.6g} over {heat_map.across.key} and {heat_map.down.key}",
        f"A cell for each {heat_map.across.key} and {heat_map.down.key} that was tried, with the "
        "least energy of its trainings, or what was spent where all missed; the table says the "
        "same.",
        chart,
        min_width_px=90 + 86 * len(heat_map.across.labels),
    )


def cell_layers(base: alt.Chart, rows: Sequence[Row]) -> list[alt.Chart]:
    """Return the layers of a heat map: darker is more expensive, dashed has no energy.

    Args:
        base: Chart with the positions of its cells.
        rows: Its data: `e`, an energy in J or None, `words`, its text, and a `note` below.
    """
    energies = [row["e"] for row in rows if row["e"] is not None]
    layers = []
    above, below = alt.expr("datum.note ? -7 : 0"), 10
    if energies:
        # The colour scale is logarithmic, so its middle is the geometric mean of its ends.
        middle_j = math.sqrt(min(energies) * max(energies))
        cells = base.transform_filter("isValid(datum.e)")
        shade = alt.Color("e:Q", legend=None, scale=alt.Scale(type="log", range=list(SHADES)))
        ink = alt.condition(f"datum.e > {middle_j!r}", *map(alt.value, reversed(ON_SHADES)))
        layers += [
            cells.mark_rect(cornerRadius=3).encode(color=shade),
            cells.mark_text(dy=above, fontSize=13, fontWeight=600).encode(
                text="words:N", color=ink
            ),
            cells.mark_text(dy=below, fontSize=12).encode(text="note:N", color=ink),
        ]
    if len(energies) < len(rows):
        empty = base.transform_filter("!isValid(datum.e)")
        layers += [
            empty.mark_rect(cornerRadius=3, strokeDash=[4, 3], fillOpacity=0.35, style="empty"),
            empty.mark_text(dy=above, style="quiet-words").encode(text="words:N"),
            empty.mark_text(dy=below, style="quiet-words").encode(text="note:N"),
        ]
    return layers


def slice_figure(
    study: StudyRecord, key: str, target: float, recommended: FrontPoint | None
) -> Figure:
    """Draw energy to the target over the searched range of a parameter.

    A training that did not reach the target is drawn at the energy it used, which is less than it
    would need; one that diverged lies apart, at the top.
    """
    searched_range = SearchRange.of(study, key)
    rows = _slice_rows(study, searched_range, target, recommended)
    names = {row["kind"] for row in rows}
    kinds = [kind for kind, look in KINDS.items() if look.name in names]
    y = alt.Y(
        "e:Q",
        title=energy_title(f"energy to {target:.6g}", study),
        scale=log_scale(14),
        axis=log_joules(row["e"] for row in rows),
    )
    base = alt.Chart(data(rows)).encode(
        x=_range_axis(searched_range),
        y=y,
        tooltip=tooltip("trial", text=key, words="energy", kind="it"),
    )
    marks = base.mark_point(filled=True, size=70, opacity=0.7).encode(**kind_channels(kinds))
    labels = base.transform_filter("datum.mark").mark_text(dy=-11, style="words")
    layers = [marks]
    if any(row["mark"] for row in rows):  # a scale of nothing is a warning
        layers.append(labels.encode(text="mark:N"))
    return Figure(
        f"slice_{key}",
        f"Energy to {target:.6g} against {key}",
        f"A point for each training: energy to the target over the searched range of {key}; the "
        "table of all trials says the same.",
        alt.layer(*layers).properties(height=240),
    )


def _slice_rows(
    study: StudyRecord,
    searched_range: SearchRange,
    target: float,
    recommended: FrontPoint | None,
) -> list[Row]:
    rows: list[Row] = []
    for trial, result in study.results:
        if searched_range.key not in trial.params or not len(result.curve):
            continue
        value = trial.params[searched_range.key]
        energy_j, spent_j = _energy_j(result, target), result.curve.training_j[-1]
        text = setting(value)
        rows.append(
            {
                "value": text if searched_range.labels else short(searched_range.place(value)),
                "e": short(spent_j if energy_j is None else energy_j),
                "kind": KINDS[trial_kind(trial, target)].name,
                "words": _energy_text(energy_j, spent_j),
                "text": text,
                "trial": trial_label(trial.number, trial.default_mark),
                "mark": _mark(trial, recommended),
            }
        )
    diverged = [row for row in rows if row["kind"] == KINDS["diverged"].name]
    top_j = _APART * max((row["e"] for row in rows if row not in diverged), default=1.0)
    for row in diverged:
        row["e"] = short(top_j)
    return rows


def _energy_j(result: TrialResult, target: float) -> float | None:
    hit = result.first_at(target)
    return None if hit is None else hit.training_j


def _mark(trial: TrialRecord, recommended: FrontPoint | None) -> str:
    """Return the label of a trial: recommended, default, or none."""
    if recommended is not None and trial.number == recommended.trial:
        return "recommended"
    return trial.default_mark


def _range_axis(searched_range: SearchRange) -> alt.X:
    """Return the axis of a parameter over its whole range, or of its categories in order."""
    key, low, high = searched_range.key, searched_range.low, searched_range.high
    if searched_range.labels:
        axis = alt.Axis(labelAngle=0, labelOverlap=True, grid=False)
        return alt.X("value:O", title=key, axis=axis, scale=alt.Scale(domain=searched_range.labels))
    axis = alt.Axis(format="~g", tickCount=6, labelOverlap="greedy")
    if searched_range.log and len(marks := ticks(low, high, most=7)) > 1:
        axis.values = marks
    scale = alt.Scale(
        type="log" if searched_range.log else "linear", domain=[low, high], nice=False, padding=14
    )
    return alt.X("value:Q", title=key, axis=axis, scale=scale)


def parallel_figure(
    study: StudyRecord, keys: Sequence[str], target: float, recommended: FrontPoint | None
) -> Figure:
    """Draw each training as a line across all parameters, coloured by its energy to the target."""
    ranges = [SearchRange.of(study, key) for key in keys]
    rows = [
        {**row, "key": r.key, "place": short(r.share(trial.params[r.key]))}
        for trial, row in _line_rows(study, keys, target, recommended)
        for r in ranges
    ]
    marks = [
        {"key": r.key, "place": place, "text": text} for r in ranges for place, text in r.marks()
    ]
    x = alt.X("key:N", sort=list(keys), title=None,
              axis=alt.Axis(labelAngle=0, grid=True, labelFontSize=13))  # fmt: skip
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(data(rows)).encode(
        x=x, y=y, detail="t:N", tooltip=tooltip(t="trial", setup="setup", words="energy")
    )
    energies: list[float] = [row["e"] for row in rows if row["e"]]
    shade = alt.Color(
        "e:Q",
        scale=alt.Scale(type="log", range=list(LINE_SHADES)),
        legend=alt.Legend(
            title=energy_title(f"energy to {target:.6g}", study),
            labelExpr=ROUGH_JOULES,
            values=[min(energies), math.sqrt(min(energies) * max(energies)), max(energies)]
            if energies
            else [],
        ),
    )
    missed = base.transform_filter("!isValid(datum.e)")
    reached = base.transform_filter("isValid(datum.e)")
    layers = [missed.mark_line(strokeDash=[3, 3], opacity=0.35, style="quiet", strokeWidth=1)]
    if energies:  # a scale of nothing is a warning
        layers.append(reached.mark_line(opacity=0.8, strokeWidth=1.5).encode(color=shade))
    layers += [
        base.transform_filter(f"datum.mark == '{mark}'").mark_line(strokeWidth=3, style=style)
        for mark, style in (("default", "default"), ("recommended", "answer"))
    ]
    labels = alt.Chart(data(marks)).mark_text(align="left", dx=6, style="words")
    return Figure(
        "parallel",
        "All parameters of each training",
        "A line for each training across its parameters, coloured by its energy to the target; "
        "dashed if it did not reach it. The table of all trials says the same.",
        alt.layer(*layers, labels.encode(x=x, y=y, text="text:N")).properties(height=280),
        min_width_px=110 * len(keys),
    )


def _line_rows(
    study: StudyRecord, keys: Sequence[str], target: float, recommended: FrontPoint | None
) -> Iterator[tuple[TrialRecord, Row]]:
    for trial, result in study.results:
        if set(keys) <= set(trial.params) and len(result.curve):
            energy_j = _energy_j(result, target)
            yield (
                trial,
                {
                    "t": trial.number,
                    "e": None if energy_j is None else short(energy_j),
                    "mark": _mark(trial, recommended),
                    "words": _energy_text(energy_j, result.curve.training_j[-1]),
                    "setup": params_text(trial.params),
                },
            )


def _energy_text(energy_j: float | None, spent_j: float) -> str:
    """Return the energy to the target; if missed, the energy used as its lower bound."""
    return f"> {joules(spent_j)}" if energy_j is None else joules(energy_j)


def band_scale(labels: Sequence[str]) -> alt.Scale:
    """Return a scale with a band for each value, also for those without a training run."""
    return alt.Scale(domain=list(labels), paddingInner=0.04, paddingOuter=0)
