"""A few shapes of SVG, written by hand: the same bytes wherever they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

INK, QUIET, GRID, ACCENT, MARK = "#1f2933", "#7b8794", "#e4e7eb", "#0f766e", "#b45309"
PALETTE = (ACCENT, MARK, "#4f46e5", "#be185d", "#4d7c0f", "#0369a1")
_FONT = "Helvetica, Arial, sans-serif"

Point = tuple[float, float]


@dataclass
class Svg:
    """A picture of a width and a height in pixels, white behind."""

    width: float
    height: float
    title: str
    _parts: list[str] = field(default_factory=list)

    def rect(self, at: Point, size: Point, fill: str, stroke: str = "none") -> None:
        """A rectangle with its upper left corner at a place."""
        place = f'x="{n(at[0])}" y="{n(at[1])}" width="{n(size[0])}" height="{n(size[1])}"'
        self._parts.append(f'<rect {place} fill="{fill}" stroke="{stroke}"/>')

    def line(
        self, start: Point, end: Point, stroke: str = INK, width: float = 1, dash: str = ""
    ) -> None:
        """A straight line."""
        ends = f'x1="{n(start[0])}" y1="{n(start[1])}" x2="{n(end[0])}" y2="{n(end[1])}"'
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<line {ends} stroke="{stroke}" stroke-width="{n(width)}"{dashed}/>')

    def polyline(
        self, points: Sequence[Point], stroke: str, width: float = 2, opacity: float = 1
    ) -> None:
        """A line through points."""
        at = " ".join(f"{n(x)},{n(y)}" for x, y in points)
        style = f'stroke-width="{n(width)}" stroke-opacity="{n(opacity)}" stroke-linejoin="round"'
        self._parts.append(f'<polyline points="{at}" fill="none" stroke="{stroke}" {style}/>')

    def polygon(self, points: Sequence[Point], fill: str, opacity: float = 1) -> None:
        """A filled area."""
        at = " ".join(f"{n(x)},{n(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{at}" fill="{fill}" fill-opacity="{n(opacity)}"/>')

    def circle(self, at: Point, radius: float, fill: str) -> None:
        """A dot."""
        place = f'cx="{n(at[0])}" cy="{n(at[1])}" r="{n(radius)}"'
        self._parts.append(f'<circle {place} fill="{fill}"/>')

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = 12,
        anchor: str = "start",
        fill: str = INK,
        bold: bool = False,
    ) -> None:
        """Words, with their base line at a place."""
        weight = ' font-weight="bold"' if bold else ""
        place = f'x="{n(at[0])}" y="{n(at[1])}" font-size="{n(size)}" text-anchor="{anchor}"'
        self._parts.append(f'<text {place} fill="{fill}"{weight}>{escape(words)}</text>')

    def render(self) -> str:
        """The file's content."""
        size = f'width="{n(self.width)}" height="{n(self.height)}"'
        box = f'viewBox="0 0 {n(self.width)} {n(self.height)}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img"'
        label = f"aria-label={quoteattr(self.title)} font-family={quoteattr(_FONT)}>"
        back = f'<rect width="{n(self.width)}" height="{n(self.height)}" fill="white"/>'
        return "\n".join([f"{head} {label}", back, *self._parts, "</svg>"]) + "\n"


def n(value: float) -> str:
    """A coordinate with two digits at most."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels.

    Attributes:
        low: The number at the first end.
        high: That at the other.
        start: The first end, in pixels.
        end: The other.
        log: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number; one beyond an end is put there."""
        inside = min(max(value, self.low), self.high)
        low, high, at = self.low, self.high, inside
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers along it: 1, 2, 5 and their tenfolds where it is logarithmic."""
        if not self.log:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
            first = math.ceil(self.low / step - 1e-9)
            count = math.floor(self.high / step + 1e-9) - first + 1
            return [round((first + i) * step, 10) for i in range(count)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 300 else (1,)  # noqa: PLR2004
        marks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        return [mark for mark in marks if self.low * 0.999 <= mark <= self.high * 1.001]


def shade(share: float) -> tuple[str, str]:
    """A colour between pale and dark orange, and that of words on it.

    Args:
        share: From 0 to 1.
    """
    pale, dark = (255, 247, 237), (154, 52, 18)
    rgb = (round(a + share * (b - a)) for a, b in zip(pale, dark, strict=True))
    return "#" + "".join(f"{part:02x}" for part in rgb), "#ffffff" if share > 0.5 else INK  # noqa: PLR2004
