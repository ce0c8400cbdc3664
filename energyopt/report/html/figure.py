"""Chart parts shared by all figures: each serves the page and the SVG file alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from energyopt.core.study_record import StudyRecord
from energyopt.report.html.theme import KINDS, PRINTED, Look

WIDTH = 760
"""Width of a figure as a file, in pixels."""

# Writes labels as the rest of energyopt does: 100 mJ.
_LABEL = "replace(format(datum.value, '~s'), regexp('^([-0-9.]+)'), '$1 ')"
_JOULES = f"{_LABEL} + 'J'"

ROUGH_JOULES = _JOULES.replace("~s", ".2~s")
"""Vega expression for the labels of energies in J, of two digits."""

SECONDS = f"{_LABEL} + 's'"
"""Vega expression for the labels of an axis of times in s."""

Row = dict[str, Any]
AnyChart = alt.LayerChart | alt.FacetChart | alt.ConcatChart


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: Name of its file, without suffix.
        title: Heading.
        description: Alternative text, for screen readers.
        chart: Vega-Lite chart without a width.
        log: Whether the reader can switch its energy axis between logarithmic and linear.
        min_width_px: Width below which it is scrolled.
    """

    name: str
    title: str
    description: str
    chart: alt.LayerChart | alt.FacetChart
    log: bool = False
    min_width_px: int = 280


def to_svg(chart: AnyChart, config: Mapping[str, Any] = PRINTED) -> str:
    """Return a chart as the text of an SVG file, with a theme as its config."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.properties(config=config).to_dict()))


def joules_axis(ticks: int = 6, values: Sequence[float] = ()) -> alt.Axis:
    """Return an axis of energies in J with SI prefixes; `values`, if given, are its ticks."""
    axis = alt.Axis(labelExpr=_JOULES, tickCount=ticks, labelOverlap="greedy", labelSeparation=8)
    if len(values) > 1:  # else Vega finds more
        axis.values = list(values)
    return axis


def log_joules(energies_j: Iterable[float]) -> alt.Axis:
    """Return the logarithmic axis of some energies in J, with ticks at 1, 2, 5 and decades."""
    positive = [energy_j for energy_j in energies_j if energy_j > 0]
    return joules_axis(values=ticks(min(positive), max(positive)) if positive else ())


def ticks(low: float, high: float, most: int = 16) -> list[float]:
    """Return the round numbers of a logarithmic axis: 1, 2, 5 and decades; decades if too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{step}e{decade}") for decade in decades for step in (1, 2, 5)]
    marks = [mark for mark in marks if low <= mark <= high]
    return marks if len(marks) <= most else [m for m in marks if f"{m:e}".startswith("1.0")]


def energy_title(words: str, study: StudyRecord) -> str:
    """Return the title of an axis of energies, which says where they come from."""
    sources = {result.start.provenance.kind for _, result in study.results}
    return f"{words} ({' and '.join(sorted(sources))})" if sources else words


def log_scale(padding: float = 8) -> alt.Scale:
    """Return a logarithmic scale that ends a little beyond the data."""
    return alt.Scale(type="log", nice=False, padding=padding)


def kind_channels(kinds: Sequence[str]) -> dict[str, Any]:
    """Return colours and shapes for the field `kind`, by keys of `KINDS`."""
    return look_channels([KINDS[kind] for kind in kinds])


def look_channels(looks: Sequence[Look], columns: int = 2) -> dict[str, Any]:
    """Return colours and shapes for the names of looks in a field `kind`, with one legend.

    A colour-blind reader tells kinds apart by their shapes.
    """
    names, legend = [look.name for look in looks], alt.Legend(columns=columns)
    colors = alt.Scale(domain=names, range=[look.color for look in looks])
    shapes = alt.Scale(domain=names, range=[look.shape for look in looks])
    return {
        "color": alt.Color("kind:N", scale=colors, legend=legend),
        "shape": alt.Shape("kind:N", scale=shapes, legend=legend),
    }


def tooltip(*names: str, **titles: str) -> list[alt.Tooltip]:
    """Return the fields shown when a reader points at a mark.

    Args:
        *names: Fields titled by their own names.
        **titles: Title of each further field.
    """
    fields = {name: name for name in names} | titles
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in fields.items()]


def data(rows: list[Row]) -> alt.InlineData:
    """Return rows as the data of a chart."""
    return alt.InlineData(values=rows)


def trial_label(number: int, mark: str) -> str:
    """Return a trial's number, with its mark if it stands for the default configuration."""
    return f"{number} ({mark})" if mark else str(number)


def short(value: float) -> float:
    """Round to six digits: more than a figure shows, and a third of the file's size."""
    return float(f"{value:.6g}")
