"""The figures of experiments: a heat map, curves in panels, intervals, stairs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from energyopt.core.units import joules
from energyopt.experiments.svg import (
    ACCENT,
    GRID,
    INK,
    MARK,
    PALETTE,
    QUIET,
    Point,
    Scale,
    Svg,
    shade,
)

_WIDTH = 720.0
_LEFT, _TOP = 24.0, 62.0
_LINE = 76
_COLUMNS = 3


@dataclass(frozen=True)
class Heat:
    """A heat map.

    Attributes:
        title: What it shows.
        caption: Where the joules come from.
        down: Name and values of the rows.
        across: Name and values of the columns.
        values: Of each cell the energy in J, or why there is none.
        marks: Of each cell a word, or nothing.
    """

    title: str
    caption: str
    down: tuple[str, tuple[str, ...]]
    across: tuple[str, tuple[str, ...]]
    values: tuple[tuple[float | str, ...], ...]
    marks: tuple[tuple[str, ...], ...]


def heat_map(heat: Heat) -> str:
    """Draw it: darker is dearer; cells without an energy are grey and say why."""
    (down, rows), (across, columns) = heat.down, heat.across
    left, high = 110.0, 58.0
    wide = (_WIDTH - left - _LEFT) / len(columns)
    height = _TOP + len(rows) * high + 74
    svg = _begun(heat.title, heat.caption, height)
    known = [v for row in heat.values for v in row if isinstance(v, float)]
    scale = Scale(min(known, default=1.0), max(known, default=1.0), 0, 1, log=True)
    for i, (row, marks) in enumerate(zip(heat.values, heat.marks, strict=True)):
        y = _TOP + i * high
        svg.text((left - 12, y + high / 2 + 4), rows[i], anchor="end")
        for j, (value, mark) in enumerate(zip(row, marks, strict=True)):
            _cell(svg, (left + j * wide, y), (wide, high), value, mark, scale=scale)
    bottom = _TOP + len(rows) * high
    for j, column in enumerate(columns):
        svg.text((left + (j + 0.5) * wide, bottom + 20), column, anchor="middle")
    svg.text((left + len(columns) * wide / 2, bottom + 40), across, anchor="middle", fill=QUIET)
    svg.text((_LEFT, _TOP + len(rows) * high / 2 + 4), down, fill=QUIET)
    return svg.render()


def _cell(svg: Svg, at: Point, size: Point, value: float | str, mark: str, *, scale: Scale) -> None:
    x, y = at
    middle = x + size[0] / 2
    fill, ink = ("#f1f3f5", QUIET) if isinstance(value, str) else shade(scale(value))
    svg.rect((x + 1, y + 1), (size[0] - 2, size[1] - 2), fill)
    if isinstance(value, str):
        svg.text((middle, y + size[1] / 2 + 4), value, size=11, anchor="middle", fill=QUIET)
        words_y = y + size[1] / 2 + 19
    else:
        shift = -4 if mark else 5
        text = joules(value)
        svg.text(
            (middle, y + size[1] / 2 + shift), text, size=14, anchor="middle", fill=ink, bold=True
        )
        words_y = y + size[1] / 2 + 15
    if mark:
        svg.text((middle, words_y), mark, size=11, anchor="middle", fill=ink)


@dataclass(frozen=True)
class Curve:
    """A curve with a band: (x, value, low, high) each."""

    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One of several plots.

    Attributes:
        title: What it shows.
        note: A remark below that.
        curves: What is drawn.
    """

    title: str
    note: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Panels:
    """Plots side by side with the same axes, both logarithmic.

    Attributes:
        title: What they show.
        caption: Where the joules come from.
        x: Name of the horizontal axis.
        panels: The plots.
        line: A number at which a line is drawn across.
    """

    title: str
    caption: str
    x: str
    panels: tuple[Panel, ...]
    line: float


def panels(figure: Panels) -> str:
    """Draw them, three in a row."""
    points = [p for panel in figure.panels for curve in panel.curves for p in curve.points]
    low = min((p[2] for p in points), default=figure.line)
    high = max((p[3] for p in points), default=figure.line)
    low, high = max(min(low, figure.line / 2), 0.05), min(max(high, figure.line * 2), 30.0)
    most = max((p[0] for p in points), default=100.0)
    wide, tall, inner = (_WIDTH - 2 * _LEFT) / _COLUMNS, 196.0, 116.0
    rows = math.ceil(len(figure.panels) / _COLUMNS)
    svg = _begun(figure.title, figure.caption, _TOP + rows * tall + 44)
    for at, panel in enumerate(figure.panels):
        x, y = _LEFT + (at % _COLUMNS) * wide, _TOP + (at // _COLUMNS) * tall
        svg.text((x + 34, y + 12), panel.title, size=11.5, bold=True)
        svg.text((x + 34, y + 27), panel.note, size=11, fill=QUIET)
        across = Scale(1, most, x + 34, x + wide - 14, log=True)
        up = Scale(low, high, y + 38 + inner, y + 38, log=True)
        _axes(svg, across, up, at % _COLUMNS == 0)
        svg.line((across.start, up(figure.line)), (across.end, up(figure.line)), INK, 1, "4 3")
        for curve in panel.curves:
            _band(svg, curve, across, up)
    middle = _TOP + rows * tall + 2
    svg.text((_WIDTH / 2, middle), figure.x, anchor="middle", fill=QUIET)
    return svg.render()


def _band(svg: Svg, curve: Curve, across: Scale, up: Scale) -> None:
    if not curve.points:
        return
    lower = [(across(x), up(low)) for x, _, low, _ in curve.points]
    upper = [(across(x), up(high)) for x, _, _, high in curve.points]
    svg.polygon([*upper, *reversed(lower)], ACCENT, 0.18)
    svg.polyline([(across(x), up(value)) for x, value, _, _ in curve.points], ACCENT)


@dataclass(frozen=True)
class Bar:
    """A number with its interval, or why there is none."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class Bars:
    """Numbers with intervals, one below the other, beside a line at 1."""

    title: str
    caption: str
    bars: tuple[Bar, ...]


def bars(figure: Bars) -> str:
    """Draw them."""
    left, right, high = 196.0, 116.0, 44.0
    ends = [v for bar in figure.bars for v in (bar.low, bar.high) if v is not None and v > 0]
    low, most = min([*ends, 0.5]) * 0.9, min(max([*ends, 2.0]) * 1.1, 30.0)
    bottom = _TOP + len(figure.bars) * high
    svg = _begun(figure.title, figure.caption, bottom + 60)
    across = Scale(low, most, left, _WIDTH - right, log=True)
    for tick in across.ticks():
        svg.line((across(tick), _TOP), (across(tick), bottom), GRID)
        svg.text((across(tick), bottom + 18), f"{tick:g}", size=11, anchor="middle", fill=QUIET)
    svg.line((across(1), _TOP), (across(1), bottom), INK, 1, "4 3")
    for at, bar in enumerate(figure.bars):
        y = _TOP + (at + 0.5) * high
        svg.text((left - 12, y + 4), bar.name, anchor="end")
        svg.text((_WIDTH - right + 12, y + 4), bar.note, size=11, fill=QUIET)
        if bar.value is None or bar.low is None or bar.high is None:
            continue
        color = MARK if bar.low > 1 else ACCENT if bar.high < 1 else QUIET
        svg.line((across(bar.low), y), (across(bar.high), y), color, 3)
        svg.circle((across(bar.value), y), 5.5, color)
        svg.text((across(bar.value), y - 10), f"{bar.value:.2f}", size=11, anchor="middle")
    return svg.render()


@dataclass(frozen=True)
class Stair:
    """Curves of one kind: each (energy in J, accuracy)."""

    name: str
    curves: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Stairs:
    """How accuracy rises with energy.

    Attributes:
        title: What it shows.
        caption: Where the joules come from.
        stairs: The curves by kind.
        target: An accuracy at which a line is drawn.
    """

    title: str
    caption: str
    stairs: tuple[Stair, ...]
    target: float


def stairs(figure: Stairs) -> str:
    """Draw them: one colour a kind, one line a seed."""
    left, right, tall = 62.0, 20.0, 300.0
    floor = 0.5 if math.isnan(figure.target) else max(0.0, figure.target - 0.15)
    points = [p for stair in figure.stairs for curve in stair.curves for p in curve]
    energies = [energy for energy, accuracy in points if energy > 0 and accuracy >= floor]
    svg = _begun(figure.title, figure.caption, _TOP + tall + 100)
    across = Scale(min(energies, default=1), max(energies, default=10), left, _WIDTH - right, True)
    up = Scale(floor, 1.0, _TOP + tall, _TOP)
    _axes(svg, across, up, True)
    if not math.isnan(figure.target):
        svg.line((left, up(figure.target)), (_WIDTH - right, up(figure.target)), INK, 1, "4 3")
        svg.text((left + 6, up(figure.target) - 6), f"target {figure.target:g}", size=11)
    x = left
    for stair, color in zip(figure.stairs, _colors(), strict=False):
        for curve in stair.curves:
            seen = [(across(e), up(a)) for e, a in _steps(curve) if a >= floor]
            svg.polyline(seen, color, 1.6, 0.75)
        svg.line((x, _TOP + tall + 56), (x + 18, _TOP + tall + 56), color, 3)
        svg.text((x + 24, _TOP + tall + 60), stair.name)
        x += 40 + 7 * len(stair.name)
    middle = ((left + _WIDTH - right) / 2, _TOP + tall + 36)
    svg.text(
        middle, "training energy so far, what came before included, J", anchor="middle", fill=QUIET
    )
    return svg.render()


def _steps(curve: Sequence[Point]) -> Iterable[Point]:
    """The corners of a stair: an accuracy holds until there is a better one."""
    last: float | None = None
    for energy, accuracy in curve:
        if last is not None:
            yield energy, last
        yield energy, accuracy
        last = accuracy


def _colors() -> Iterable[str]:
    while True:
        yield from PALETTE


def _begun(title: str, caption: str, height: float) -> Svg:
    svg = Svg(_WIDTH, height, title)
    for at, line in enumerate(textwrap.wrap(title, _LINE)):
        svg.text((_LEFT, 24 + 19 * at), line, size=14, bold=True)
    svg.text((_LEFT, height - 12), caption, size=11, fill=QUIET)
    return svg


def _axes(svg: Svg, across: Scale, up: Scale, named: bool) -> None:
    for tick in up.ticks():
        svg.line((across.start, up(tick)), (across.end, up(tick)), GRID)
        if named:
            svg.text(
                (across.start - 6, up(tick) + 4), f"{tick:g}", size=10.5, anchor="end", fill=QUIET
            )
    for tick in across.ticks():
        svg.line((across(tick), up.start), (across(tick), up.start + 4), QUIET)
        svg.text((across(tick), up.start + 17), f"{tick:g}", size=10.5, anchor="middle", fill=QUIET)
    svg.line((across.start, up.start), (across.end, up.start), QUIET)
