"""What the figures of a report have in common: one definition each, for the page and for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from energyopt.core.trial_result import TrialRecord
from energyopt.report.html.theme import KINDS

WIDTH = 760
"""Of a figure as a file, in pixels."""

# Writes labels as the rest of energyopt does: 100 mJ.
_LABEL = "replace(format(datum.value, '~s'), regexp('^([-0-9.]+)'), '$1 ')"
_JOULES = f"{_LABEL} + 'J'"

SECONDS = f"{_LABEL} + 's'"
"""Writes the labels of an axis of times in s."""

Row = dict[str, Any]


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


def joules_axis(ticks: int = 6) -> alt.Axis:
    """An axis of energies in J, with their prefixes."""
    return alt.Axis(labelExpr=_JOULES, tickCount=ticks, labelOverlap=True, labelSeparation=8)


def log_scale(padding: float = 8) -> alt.Scale:
    """A logarithmic scale that ends a little beyond what it shows."""
    return alt.Scale(type="log", nice=False, padding=padding)


def kind_color(kinds: Sequence[str]) -> alt.Color:
    """Colours by kind, for a field of that name."""
    names, colors = ([getattr(KINDS[kind], what) for kind in kinds] for what in ("name", "color"))
    return alt.Color("kind:N", scale=alt.Scale(domain=names, range=colors), legend=alt.Legend())


def kind_shape(kinds: Sequence[str]) -> alt.Shape:
    """Shapes by kind, so that nothing is told by colour alone."""
    names, shapes = ([getattr(KINDS[kind], what) for kind in kinds] for what in ("name", "shape"))
    return alt.Shape("kind:N", scale=alt.Scale(domain=names, range=shapes), legend=alt.Legend())


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
