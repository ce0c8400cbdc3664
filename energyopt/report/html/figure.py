"""What the figures of a report have in common: one definition each, for the page and for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from energyopt.core.study_record import TrialRecord
from energyopt.report.html.theme import KINDS, PRINTED, Look

WIDTH = 760
"""Of a figure as a file, in pixels."""

# Writes labels as the rest of energyopt does: 100 mJ.
_LABEL = "replace(format(datum.value, '~s'), regexp('^([-0-9.]+)'), '$1 ')"
_JOULES = f"{_LABEL} + 'J'"

SECONDS = f"{_LABEL} + 's'"
"""Writes the labels of an axis of times in s."""

Row = dict[str, Any]
AnyChart = alt.LayerChart | alt.FacetChart | alt.ConcatChart


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: Of its file.
        title: What it is called.
        words: What it shows, for those who do not see it.
        chart: Of Vega-Lite, without a width.
        log: Whether its energies can be shown on a linear scale, too.
        least_px: Width below which it is scrolled.
    """

    name: str
    title: str
    words: str
    chart: alt.LayerChart | alt.FacetChart
    log: bool = False
    least_px: int = 280


def to_svg(chart: AnyChart) -> str:
    """Return a chart as the text of an SVG file."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.properties(config=PRINTED).to_dict()))


def joules_axis(ticks: int = 6, values: Sequence[float] = ()) -> alt.Axis:
    """An axis of energies in J, with their prefixes; `values` are its ticks where given."""
    axis = alt.Axis(labelExpr=_JOULES, tickCount=ticks, labelOverlap=True, labelSeparation=8)
    if values:
        axis.values = list(values)
    return axis


def log_scale(padding: float = 8) -> alt.Scale:
    """A logarithmic scale that ends a little beyond what it shows."""
    return alt.Scale(type="log", nice=False, padding=padding)


def kind_color(kinds: Sequence[str]) -> alt.Color:
    """Colours by kind, for a field of that name."""
    return look_color([KINDS[kind] for kind in kinds])


def kind_shape(kinds: Sequence[str]) -> alt.Shape:
    """Shapes by kind, so that nothing is told by colour alone."""
    return look_shape([KINDS[kind] for kind in kinds])


def look_color(looks: Sequence[Look], columns: int = 2) -> alt.Color:
    """Return colours for the names of looks in a field `kind`, with a legend of some columns."""
    scale = alt.Scale(domain=[look.name for look in looks], range=[look.color for look in looks])
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(columns=columns))


def look_shape(looks: Sequence[Look], columns: int = 2) -> alt.Shape:
    """Return the shapes that go with `look_color`, for the same legend."""
    scale = alt.Scale(domain=[look.name for look in looks], range=[look.shape for look in looks])
    return alt.Shape("kind:N", scale=scale, legend=alt.Legend(columns=columns))


def tooltip(*names: str, **titles: str) -> list[alt.Tooltip]:
    """What is said of a mark that is pointed at.

    Args:
        *names: Fields that are called as they are named.
        **titles: Fields, and what to call them.
    """
    all_of_them = dict.fromkeys(names) | titles
    return [alt.Tooltip(f"{name}:N", title=title or name) for name, title in all_of_them.items()]


def data(rows: list[Row]) -> alt.InlineData:
    """Rows as the data of a chart."""
    return alt.InlineData(values=rows)


def trial_words(trial: TrialRecord) -> str:
    """What to call a trial."""
    return f"{trial.number} (default)" if trial.default else str(trial.number)


def short(value: float) -> float:
    """Six digits: more than a figure shows, and a third of the file."""
    return float(f"{value:.6g}")
