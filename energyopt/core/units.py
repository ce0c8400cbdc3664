"""SI quantities for people: `12.3 kJ`, `4.56 s`. Code and files keep plain SI numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """Write a quantity with an SI prefix and few significant digits.

    Args:
        value: The quantity in the SI unit, or None for "not known".
        unit: The unit's symbol, such as "J" or "W".
        digits: Number of significant digits.

    Returns:
        Text such as "12.3 kJ"; "-" for None.
    """
    if value is None:
        return "-"
    if value == 0:
        return f"0 {unit}"
    # Rounding first decides the prefix, so that 999.9 becomes 1 k and not 1000.
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(rounded):
        return f"{value:.{digits}g} {unit}"
    exponent = 3 * math.floor(math.log10(abs(rounded)) / 3)
    if exponent not in _PREFIXES:
        return f"{rounded:.{digits}g} {unit}"
    scaled = rounded / 10**exponent
    places = max(digits - 1 - math.floor(math.log10(abs(scaled))), 0)
    text = f"{scaled:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {_PREFIXES[exponent]}{unit}"


def energy_span(low_j: float, high_j: float) -> str:
    """Write an interval of energy, in J, in the unit of its upper end: "243 to 310 mJ"."""
    high, _, unit = joules(high_j).rpartition(" ")
    factor = next((10.0**e for e, prefix in _PREFIXES.items() if f"{prefix}J" == unit), 1.0)
    return f"{low_j / factor:.3g} to {high} {unit}"


def joules(value: float | None) -> str:
    """Write an energy, in J, for people."""
    return quantity(value, "J")


def duration(value: float | None) -> str:
    """Write a duration, in s, for people: "850 ms", "12.3 s", "4 min 05 s", "2 h 10 min"."""
    if value is None:
        return "-"
    if value < _MINUTE_S or not math.isfinite(value):
        return quantity(value, "s")
    if round(value) < _HOUR_S:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours} h {minutes:02d} min"


def roughly(value: float) -> str:
    """Write an estimated duration, in s: "40 s", "12 min", "3 h 20 min", "2 days"."""
    if round(value) < _MINUTE_S:
        return f"{max(round(value), 1)} s"
    minutes = round(value / _MINUTE_S)
    if minutes < _HOUR_S / _MINUTE_S:
        return f"{minutes} min"
    if value < _DAY_S:
        hours, tens = divmod(round(minutes, -1), 60)
        return f"{hours} h {tens:02d} min"
    days = round(value / _DAY_S)
    return f"{days} day{'' if days == 1 else 's'}"


def time_left(spent_s: float, n_finished: float, n_remaining: float) -> str:
    """Return the expected remaining time, such as ", about 12 min left"; empty if unknown.

    Args:
        spent_s: Time so far, in s.
        n_finished: Amount of work done in that time.
        n_remaining: Amount of work that remains, in the same unit.
    """
    if n_finished <= 0 or n_remaining <= 0:
        return ""
    return f", about {roughly(spent_s / n_finished * n_remaining)} left"


def percent(value: float | None) -> str:
    """Write a share in [0, 1] as a percentage with one decimal."""
    return "-" if value is None else f"{100 * value:.1f} %"


def accuracy(value: float) -> str:
    """Write an accuracy or a target in a sentence."""
    return f"{value:.6g}"


def setting(value: object) -> str:
    """Write the value of a parameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setup(params: Mapping[str, Any]) -> str:
    """Write the searched values of a trial: "lr=0.0123 batch_size=64"."""
    return " ".join(f"{key}={setting(value)}" for key, value in params.items())


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 trial", "2 trials"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
