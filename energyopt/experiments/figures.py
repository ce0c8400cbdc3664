"""Figures of experiments: heat map, panels of ratios over n, intervals, accuracy curves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any, NamedTuple

import altair as alt

from energyopt.core.units import joules
from energyopt.report.html.figure import (
    AnyChart,
    Row,
    data,
    joules_axis,
    log_scale,
    look_channels,
    short,
    ticks,
    to_svg,
)
from energyopt.report.html.parameter_figures import band_scale, cell_layers
from energyopt.report.html.theme import CHEAPER, MORE_EXPENSIVE, UNCLEAR, series

Domain = tuple[float, float]

_WIDTH = 660
_TITLE_CHARS = 80
_PANEL_WIDTH = 192
_PANEL_TITLE_CHARS = 30
_COLUMNS = 3
_RATIOS = (0.05, 30.0)  # limits of the axis, so that one wide interval does not flatten all others


def draw_heat_map(
    title: str,
    caption: str,
    down: tuple[str, Sequence[str]],
    across: tuple[str, Sequence[str]],
    cells: Sequence[tuple[str, str, float | str, str]],
) -> str:
    """Draw energies over two parameters; darker is more expensive.

    Args:
        title: The title.
        caption: Provenance of the energies.
        down: Name and values of the rows, from the top.
        across: Name and values of the columns.
        cells: For each cell its row, its column, its energy in J or why it has none, and a mark.
    """
    rows: list[Row] = [
        {"down": row, "across": column, "note": mark}
        | ({"e": None, "words": value} if isinstance(value, str) else
           {"e": short(value), "words": joules(value)})
        for row, column, value, mark in cells
    ]  # fmt: skip
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "across:O",
            title=across[0],
            scale=band_scale(across[1]),
            axis=alt.Axis(labelAngle=0),
        ),
        y=alt.Y("down:O", title=down[0], scale=band_scale(down[1])),
    )
    chart = alt.layer(*cell_layers(base, rows)).properties(height=58 * len(down[1]))
    return _to_svg(chart, title, caption)


class Panel(NamedTuple):
    """One of several plots with a curve: rows of n, value, low and high."""

    title: str
    note: str
    curve: Sequence[Mapping[str, Any]]


def draw_panels(title: str, caption: str, x_title: str, panels: Sequence[Panel]) -> str:
    """Draw ratios with their bands over n, three plots in a row with the same axes."""
    rows = [row for panel in panels for row in panel.curve]
    domain = _ratio_domain([row[end] for row in rows for end in ("low", "high")])
    max_n = max((row["n"] for row in rows), default=100)
    plots = [
        _panel_plot(
            panel,
            _log_x("n:Q", (1, max_n), x_title if i + _COLUMNS >= len(panels) else None),
            _ratio_y(domain, labelled=i % _COLUMNS == 0),
            domain,
        )
        for i, panel in enumerate(panels)
    ]
    return _to_svg(alt.concat(*plots, columns=_COLUMNS, spacing=24), title, caption, width=None)


def _panel_plot(panel: Panel, x: alt.X, y: alt.Y, domain: Domain) -> AnyChart:
    rows = [
        {"n": row["n"]} | {end: _clamped(row[end], domain) for end in ("value", "low", "high")}
        for row in panel.curve
    ]
    base = alt.Chart(data(rows)).encode(x=x)
    layers = [
        base.mark_area(opacity=0.2, color=CHEAPER).encode(y=y, y2="high:Q"),
        _line(y=alt.Y("low:Q")).transform_calculate(low="1"),
        base.mark_line(color=CHEAPER, strokeWidth=2).encode(y=alt.Y("value:Q")),
    ]
    heading = alt.TitleParams(
        textwrap.wrap(panel.title, _PANEL_TITLE_CHARS),
        subtitle=panel.note,
        fontSize=12,
        offset=8,
        frame="group",
    )
    return alt.layer(*layers).properties(width=_PANEL_WIDTH, height=120, title=heading)


def _ratio_y(domain: Domain, *, labelled: bool) -> alt.Y:
    axis = alt.Axis(values=ticks(*domain), format="~g", labels=labelled)
    title = "energy / scratch" if labelled else None
    return alt.Y("low:Q", title=title, scale=_log(domain), axis=axis)


class Bar(NamedTuple):
    """A ratio with its interval; without a value, the note says why."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    note: str


def draw_bars(title: str, caption: str, x_title: str, bars: Sequence[Bar]) -> str:
    """Draw ratios with intervals, one below the other, and a line at 1."""
    domain = _ratio_domain([end for bar in bars for end in (bar.low, bar.high)])
    width = _WIDTH - 180
    notes = [{"name": bar.name, "note": bar.note} for bar in bars]
    rows = [
        {
            "name": bar.name,
            "value": _clamped(bar.value, domain),
            "low": _clamped(bar.low, domain),
            "high": _clamped(bar.high, domain),
            "words": f"{bar.value:.2f}",
            "color": MORE_EXPENSIVE if bar.low > 1 else CHEAPER if bar.high < 1 else UNCLEAR,
        }
        for bar in bars
        if bar.value is not None and bar.low is not None and bar.high is not None
    ]
    y = alt.Y(
        "name:N",
        title=None,
        scale=alt.Scale(domain=[bar.name for bar in bars]),
        axis=alt.Axis(labelLimit=240),
    )
    base = alt.Chart(data(rows)).encode(y=y)
    x, color = alt.X("value:Q"), alt.Color("color:N", scale=None)
    chart = alt.layer(
        _line(x=_log_x("low:Q", domain, x_title)).transform_calculate(low="1"),
        base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q"), x2="high:Q", color=color),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, color=color),
        base.mark_text(dy=-13, style="words").encode(x=x, text="words:N"),
        alt.Chart(data(notes))
        .mark_text(align="left", style="quiet-words")
        .encode(y=y, x=alt.value(width + 12), text="note:N"),
    )
    return _to_svg(chart.properties(height=44 * len(bars)), title, caption, width=width)


Curve = Sequence[tuple[float, float]]
"""Points of energy in J and accuracy."""


def draw_curves(
    title: str, caption: str, kinds: Mapping[str, Sequence[Curve]], target: float
) -> str:
    """Draw accuracy over energy: a colour and a shape per kind, a line per curve.

    Args:
        title: The title.
        caption: Provenance of the energies.
        kinds: The curves by kind.
        target: Accuracy at which a line is drawn; NaN draws none.
    """
    floor = 0.5 if math.isnan(target) else max(0.0, target - 0.15)
    rows = _curve_rows(kinds, floor)
    energies = [row["e"] for row in rows] or [1.0, 10.0]
    ends = list({row["curve"]: row for row in rows}.values())
    x = alt.X(
        "e:Q",
        title="training energy so far, pretraining included",
        scale=log_scale() if rows else _log((1.0, 10.0)),
        axis=joules_axis(values=ticks(min(energies), max(energies))),
    )
    y = alt.Y("a:Q", title="validation accuracy", scale=alt.Scale(domain=[floor, 1]))
    looks = series(kinds)
    channels = look_channels(looks, columns=6)
    lines = alt.Chart(data(rows)).mark_line(interpolate="step-after", strokeWidth=1.6, opacity=0.75)
    last = alt.Chart(data(ends)).mark_point(filled=True, size=50, opacity=1)
    layers = [
        lines.encode(x=x, y=y, detail="curve:N", color=channels["color"]),
        last.encode(x=x, y=y, **channels),
    ]
    if not math.isnan(target):
        level = _line(y=y).transform_calculate(a=repr(target))
        label = level.mark_text(align="left", baseline="bottom", dx=6, dy=-4, style="words")
        layers += [level, label.encode(x=alt.value(0), text=alt.value(f"target {target:g}"))]
    return _to_svg(alt.layer(*layers).properties(height=320), title, caption)


def _curve_rows(kinds: Mapping[str, Sequence[Curve]], floor: float) -> list[Row]:
    """Return the points from where each curve first reaches the floor of the plot."""
    curves = [
        (kind, [*dropwhile(lambda point: point[1] < floor, curve)])
        for kind, kind_curves in kinds.items()
        for curve in kind_curves
    ]
    # The axis is logarithmic: draw an energy of 0 at the least positive one.
    least_j = min((e for _, points in curves for e, _ in points if e > 0), default=1.0)
    return [
        {"kind": kind, "curve": number, "e": short(max(e, least_j)), "a": max(accuracy, floor)}
        for number, (kind, points) in enumerate(curves)
        for e, accuracy in points
    ]


def _to_svg(chart: AnyChart, title: str, caption: str, *, width: int | None = _WIDTH) -> str:
    """Return the SVG of a chart with its title and caption."""
    heading = alt.TitleParams(textwrap.wrap(title.rstrip("."), _TITLE_CHARS), subtitle=caption)
    chart = chart.properties(title=heading)
    return to_svg(chart if width is None else chart.properties(width=width))


def _line(**encoding: Any) -> alt.Chart:
    """Return a dashed line across a plot, at the value of its one channel."""
    rule = alt.Chart(data([{}])).mark_rule(strokeDash=[4, 3], style="ink")
    encoded: alt.Chart = rule.encode(**encoding)
    return encoded


def _log(domain: Domain) -> alt.Scale:
    return alt.Scale(type="log", domain=list(domain), nice=False)


def _log_x(field: str, domain: Domain, title: str | None) -> alt.X:
    axis = alt.Axis(values=ticks(*domain), format="~g", labelFlush=False)
    return alt.X(field, title=title, scale=_log(domain), axis=axis)


def _ratio_domain(ends: Sequence[float | None]) -> Domain:
    """Return a domain that shows all ends and 0.5 to 2 at least, within the shown ratios."""
    positive = [end for end in ends if end is not None and end > 0]
    low, high = min([*positive, 0.5]), max([*positive, 2.0])
    return max(0.95 * low, _RATIOS[0]), min(1.05 * high, _RATIOS[1])


def _clamped(value: float, domain: Domain) -> float:
    return short(min(max(value, domain[0]), domain[1]))
