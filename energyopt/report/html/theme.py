"""Colours and shapes of a report: one meaning each, distinguishable without colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from energyopt.analysis.energy_breakdown import USES
from energyopt.analysis.summary import trial_outcome
from energyopt.core.study_record import TrialRecord


@dataclass(frozen=True, slots=True)
class Look:
    """Legend entry of one kind of training runs.

    Attributes:
        name: Text in the legend.
        color: A contrast of at least 3:1 on white and on black (WCAG 2.1, graphical objects).
        shape: Vega's name of the point's shape, or its path.
    """

    name: str
    color: str
    shape: str


_CROSS = "M-1-.7-.7-1 0-.3.7-1 1-.7.3 0 1 .7.7 1 0 .3-.7 1-1 .7-.3 0Z"

KINDS: Mapping[str, Look] = {
    "reached": Look("reached the target", "#0d8f7f", "circle"),
    "missed": Look("missed it", "#c96a12", _CROSS),
    "stopped": Look("stopped early", "#8a6fd1", "square"),
    "diverged": Look("diverged", "#d1495b", "triangle-up"),
    "open": Look("not over", "#3f86cf", "triangle-right"),
    "confirming": Look("confirming", "#c44f8b", "diamond"),
    "curve": Look("a training", "#3f86cf", "circle"),
}
"""Kinds of training runs that have a curve; `curve` is for studies without a target."""

_USE_COLORS = {
    "useful": "#0d8f7f",
    "beyond": "#5fb3a6",
    "missed": "#c96a12",
    "stopped": "#8a6fd1",
    "failed": "#d1495b",
    "lost": "#a08a7a",
    "open": "#3f86cf",
    "evaluation": "#6b8fb5",
    "profiling": "#b58f1c",
    "knowledge": "#9c7a3c",
    "around": "#8b949e",
    "confirming": "#c44f8b",
    "other": "#8a8f98",
}
USE_COLORS: Mapping[str, str] = {USES[use]: _USE_COLORS[use] for use in USES}
"""Colour of each use of energy, by its name in `USES`."""

RECOMMENDED_COLOR, DEFAULT_COLOR = "#c44f8b", "#3f86cf"
"""Of the recommended and the default configuration."""

IMPORTANCE_COLORS = ("#c96a12", "#3f86cf")
"""Of importance for energy, and for the metric."""
CHOSEN = (("#7a8490", "circle"), ("#0d8f7f", "diamond"))
"""Colour and shape of a power limit that was tried, and of the chosen one."""
SHADES = ("#fdeed9", "#f3b27a", "#d9682b", "#8f2d0c")
"""Of heat map cells: darker is more expensive."""
LINE_SHADES = ("#0d8f7f", "#b58f1c", "#d1495b")
"""Of lines by their energy, from the least to the most."""
ON_SHADES = ("#3a1505", "#ffffff")
"""Text colour on pale and on dark cells."""

CHEAPER, MORE_EXPENSIVE, UNCLEAR = "#0d8f7f", "#c96a12", "#7a8490"
"""Of confidence intervals of a ratio: below 1, above 1, including 1."""
_SERIES = (
    ("#0d8f7f", "circle"),
    ("#c96a12", "square"),
    ("#8a6fd1", "diamond"),
    ("#c44f8b", "triangle-up"),
    ("#3f86cf", "triangle-down"),
    ("#b58f1c", "cross"),
)


def series(names: Iterable[str]) -> list[Look]:
    """Return a look for each name, in order: for kinds that only the data define."""
    return [Look(name, *look) for name, look in zip(names, cycle(_SERIES), strict=False)]


def trial_kind(trial: TrialRecord, target: float) -> str:
    """Return the kind of a trial that has a curve, as seen from a target; a key of `KINDS`."""
    outcome = trial_outcome(trial, target)
    if outcome == "stopped" and trial.result is not None and trial.result.end == "diverged":
        return "diverged"
    return str(outcome) if outcome in KINDS else "open"


FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def theme(ink: str, quiet: str, grid: str, paper: str, accent: str) -> dict[str, Any]:
    """Return Vega-Lite's config for figures on a background, `paper`; `accent` is of the front."""
    axis = {
        "domainColor": grid,
        "gridColor": grid,
        "tickColor": grid,
        "labelColor": quiet,
        "titleColor": quiet,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelPadding": 6,
        "tickSize": 4,
    }
    return {
        "aria": False,  # the page gives each figure a description, and a table with its data
        "background": paper,
        "font": FONT,
        "padding": 4,
        "view": {"stroke": None},
        "axis": axis,
        "axisBand": {"grid": False, "domain": False, "ticks": False},
        "legend": {
            "labelColor": quiet,
            "titleColor": quiet,
            "labelFontSize": 12,
            "title": None,
            "orient": "bottom",
            "columns": 2,
            "labelLimit": 220,
            "symbolSize": 70,
            "symbolOpacity": 1,
            "columnPadding": 18,
        },
        "title": {
            "anchor": "start",
            "color": ink,
            "fontSize": 15,
            "subtitleColor": quiet,
            "subtitleFontSize": 12,
            "subtitlePadding": 6,
            "offset": 14,
        },
        "style": {
            "ink": {"color": ink},
            "words": {"color": ink, "fontSize": 12},
            "quiet": {"color": quiet},
            "quiet-words": {"color": quiet, "fontSize": 12},
            "front": {"color": accent, "strokeWidth": 2.5},
            "answer": {"color": RECOMMENDED_COLOR},
            "answer-words": {"color": RECOMMENDED_COLOR, "fontSize": 13, "fontWeight": 600},
            "default": {"color": DEFAULT_COLOR},
            "default-words": {"color": DEFAULT_COLOR, "fontSize": 12},
            "front-point": {"color": accent, "stroke": paper, "strokeWidth": 1},
            "empty": {"color": grid, "stroke": quiet},
        },
    }


PRINTED = theme("#1c2430", "#5a6675", "#dfe4ea", "#ffffff", "#1c2430")
"""Theme of SVG files."""
SHOWN = theme("var(--ink)", "var(--quiet)", "var(--grid)", "transparent", "var(--ink)")
"""Theme of the page: CSS variables switch light, dark and print without drawing again."""
