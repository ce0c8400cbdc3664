"""Figures of parameters: importance, and energy to the target over one or two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from energyopt.analysis.heat_map import HeatMap, Mark
from energyopt.analysis.importance import Importances
from energyopt.core.units import joules, setting
from energyopt.report.html.figure import (
    Figure,
    Row,
    data,
    joules_axis,
    kind_channels,
    log_scale,
    tooltip,
)
from energyopt.report.html.theme import IMPORTANCE_COLORS, KINDS, ON_SHADES, SHADES


def importance_figure(importances: Importances, metric: str) -> Figure:
    """Draw the importance of each parameter for energy and for a metric."""
    shares_by_objective = {
        "for energy to the target": importances.energy,
        f"for {metric}": importances.accuracy,
    }
    rows = [
        {"key": key, "of": objective, "share": share, "words": f"{100 * share:.0f} %"}
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
            title="importance (shares of 1)",
            scale=alt.Scale(domain=[0, 1.08]),
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


def strip_figure(key: str, marks: Sequence[Mark], target: float) -> Figure:
    """Draw energy to the target against one parameter; runs that missed it, at the energy used."""
    numeric = all(isinstance(m.value, int | float) and not isinstance(m.value, bool) for m in marks)
    rows = [
        {
            "value": mark.value if numeric else setting(mark.value),
            "e": mark.spent_j if mark.energy_j is None else mark.energy_j,
            "kind": KINDS["missed" if mark.energy_j is None else "reached"].name,
            "words": _energy_text(mark.energy_j, mark.spent_j),
            "trial": mark.trial,
        }
        for mark in marks
    ]
    values = [float(mark.value) for mark in marks] if numeric else []
    log = bool(values) and min(values) > 0 and max(values) / min(values) > 10  # noqa: PLR2004
    scale = alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=12)
    x = (
        alt.X("value:Q", title=key, scale=scale, axis=alt.Axis(format="~g", tickCount=6))
        if numeric
        else alt.X("value:O", title=key, axis=alt.Axis(labelAngle=0))
    )
    y = alt.Y(
        "e:Q",
        title=f"energy to {target:.6g}",
        scale=log_scale(12),
        axis=joules_axis(5),
    )
    tooltips = tooltip("trial", value=key, words="energy")
    chart = alt.layer(
        alt.Chart(data(rows))
        .mark_point(filled=True, size=80, opacity=0.85)
        .encode(x=x, y=y, tooltip=tooltips, **kind_channels(["reached", "missed"]))
    ).properties(height=300)
    return Figure(
        "strip",
        f"Energy to {target:.6g} against {key}",
        f"A point for each training: energy to the target against {key}.",
        chart,
    )


def _energy_text(energy_j: float | None, spent_j: float) -> str:
    """Return the energy to the target; if missed, the energy used as its lower bound."""
    return f"> {joules(spent_j)}" if energy_j is None else joules(energy_j)


def band_scale(labels: Sequence[str]) -> alt.Scale:
    """Return a scale with a band for each value, also for those without a training run."""
    return alt.Scale(domain=list(labels), paddingInner=0.04, paddingOuter=0)
