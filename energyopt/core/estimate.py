"""An estimate with its interval, and numbers written with no more digits than that carries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from energyopt.core.units import quantity

_MAX_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, all in the same unit.

    Attributes:
        value: The median.
        low: Lower end of the interval.
        high: Upper end; infinite where nothing limits it.
    """

    value: float
    low: float
    high: float

    @property
    def digits(self) -> int:
        """Significant digits of the value that its interval carries."""
        return carried_digits(self.value, self.low, self.high)

    @property
    def joules(self) -> str:
        """The value in J, with the digits that its interval carries."""
        return quantity(self.value, "J", self.digits)

    @property
    def joules_interval(self) -> str:
        """The interval in J, with two digits an end: "3.1 J to 5.2 J"."""
        return f"{quantity(self.low, 'J', 2)} to {quantity(self.high, 'J', 2)}"

    @property
    def percent(self) -> str:
        """A share as a percentage, with the digits that its interval carries."""
        return f"{rounded(100 * self.value, self.digits)} %"

    @property
    def percent_interval(self) -> str:
        """The interval of a share: "12 to 45 %"."""
        return f"{100 * self.low:.0f} to {100 * self.high:.0f} %"

    def mapped(self, scale: float) -> Estimate:
        """Return it in another unit, by a factor above 0."""
        return Estimate(scale * self.value, scale * self.low, scale * self.high)


def carried_digits(value: float, low: float, high: float) -> int:
    """Return how many significant digits of a value its interval carries, from 1 to 3.

    The last digit shown counts at most half of the shorter side of the interval: rounding then
    moves the value by a quarter of its doubt at most. An infinite side does not count.
    """
    sides = [side for side in (value - low, high - value) if math.isfinite(side) and side > 0]
    if not sides or not value or not math.isfinite(value):
        return 1 if math.isinf(high) else _MAX_DIGITS
    unit = math.floor(math.log10(min(sides) / 2))
    return min(max(math.floor(math.log10(abs(value))) - unit + 1, 1), _MAX_DIGITS)


def rounded(value: float, digits: int) -> str:
    """Write a number with so many significant digits, without an exponent: "80", "0.35"."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):.{max(places, 0)}f}"


def trainings(value: float, low: float, high: float) -> str:
    """Write a number of trainings, rounded up, as its interval allows: "14", "about 400"."""
    exact = math.ceil(value)
    whole = max(math.ceil(float(rounded(exact, carried_digits(exact, low, high)))), 1)
    return f"{exact}" if whole == exact else f"about {whole}"


def trainings_of(end: float) -> str:
    """Write an end of an interval of trainings, rounded up, with two digits."""
    return f"{float(rounded(math.ceil(end), 2)):.0f}"


def times_less(ratio: Estimate) -> str:
    """Write by what factor one energy is less than another: "~8x less", "~1.3x more".

    Args:
        ratio: Their ratio.
    """
    if ratio.value <= 0:
        return "not comparable"
    less = ratio.value <= 1
    ends = (ratio.high, ratio.low) if less else (ratio.low, ratio.high)
    low, high = ((1 / e if e else math.inf) if less else e for e in ends)
    value = 1 / ratio.value if less else ratio.value
    text = rounded(value, carried_digits(value, low, high))
    return f"~{text}x {'less' if less else 'more'}"
