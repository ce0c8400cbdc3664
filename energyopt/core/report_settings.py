"""Settings of a study's reports: planned trainings, PUE, carbon intensity and price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from energyopt.core.key_rule import at_least


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """The report settings of the last run of a study. None is not specified.

    Attributes:
        reuse: Number of trainings planned with the best configuration.
        pue: Power usage effectiveness: energy of the data centre over that of its computers.
        carbon_g_per_kwh: Greenhouse gas emissions per kWh, in g of CO2 equivalent.
        price_per_kwh: Price of a kWh.
        currency: Currency of the price.
    """

    reuse: float | None = None
    pue: float | None = None
    carbon_g_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ReportSettings:
        """Read plain data; invalid values become None, since anyone may write attributes."""
        settings = data if isinstance(data, Mapping) else {}
        currency = settings.get("currency")
        return cls(
            reuse=_number(settings, "reuse") or None,
            pue=_number(settings, "pue", 1.0),
            carbon_g_per_kwh=_number(settings, "carbon_g_per_kwh"),
            price_per_kwh=_number(settings, "price_per_kwh"),
            currency=currency if isinstance(currency, str) else None,
        )


def _number(settings: Mapping[str, Any], key: str, least: float = 0.0) -> float | None:
    value: Any = settings.get(key)
    return value if at_least(least).permits(value) else None


NONE = ReportSettings()
"""Defaults: nothing specified."""
