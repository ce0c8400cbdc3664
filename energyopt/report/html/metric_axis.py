"""The axis of the metric: errors and losses on a log axis, so that the target has room."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from energyopt.analysis.curves import Drawn
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.report.html.figure import short, ticks

_BELOW = 0.7  # of the least error: where an error of 0 is drawn


@dataclass(frozen=True, slots=True)
class MetricAxis:
    """How figures show a metric.

    Attributes:
        monitor: The metric.
        is_error: Whether its distance from 1 is drawn: of shares of which more is better.
        log: Whether the axis is logarithmic: of errors, and of positive losses.
        domain: Its ends, in what is drawn; values beyond lie at an end.
    """

    monitor: Monitor
    is_error: bool
    log: bool
    domain: tuple[float, float]

    @classmethod
    def of(cls, drawn: Drawn, extra: Sequence[float]) -> MetricAxis:
        """Return the axis for curves, of which the median first value is still in the picture.

        Args:
            drawn: The curves.
            extra: Values that have to be in the picture: those of the front, and the target.
        """
        monitor, curves = drawn.monitor, drawn.curves.values()
        values = [*extra, *(point.accuracy for curve in curves for point in curve)]
        first = statistics.median(curve[0].accuracy for curve in curves)
        is_error = monitor.mode == "max" and all(0 <= value <= 1 for value in values)
        log = is_error or (monitor.mode == "min" and all(value > 0 for value in values))
        inside = [*extra, *(value for value in values if not monitor.is_better(first, value))]
        places = [1 - value for value in inside] if is_error else inside
        low, high = min(places), max(places)
        if log:
            low = _BELOW * min((place for place in places if place > 0), default=0.01)
            high = max(high, low / _BELOW)
        return cls(monitor, is_error, log, (short(low), short(high)))

    @property
    def title(self) -> str:
        """Its title, which says what is better."""
        if self.monitor == ACCURACY:
            return "validation error (1 - accuracy)"
        if self.is_error:
            return f"1 - {self.monitor.name} (lower is better)"
        return f"{self.monitor.name} ({self.monitor.better})"

    @property
    def better_is_up(self) -> bool:
        """True if better values are drawn above worse ones."""
        return self.monitor.mode == "max" and not self.is_error

    def place(self, value: float) -> float:
        """Return what is drawn of a value."""
        return short(max(1 - value, self.domain[0]) if self.is_error else value)

    def expr(self, signal: str) -> str:
        """Return the Vega expression of what is drawn of a value in a signal."""
        return f"max(1 - {signal}, {self.domain[0]!r})" if self.is_error else signal

    def channel(self) -> alt.Y:
        """Return the channel of the field `a`."""
        scale = alt.Scale(
            type="log" if self.log else "linear", domain=list(self.domain), clamp=True, nice=False
        )
        axis = alt.Axis(format="~g")
        if self.log and len(marks := ticks(*self.domain)) > 1:
            axis.values = marks
        return alt.Y("a:Q", title=self.title, scale=scale, axis=axis)
