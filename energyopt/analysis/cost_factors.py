"""Joules as watt-hours, greenhouse gas and money: constants of the user's, applied in a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from energyopt.core.report_settings import ReportSettings
from energyopt.core.units import quantity
from energyopt.errors import ConfigError

_KWH_J = 3.6e6


@dataclass(frozen=True, slots=True)
class Factors:
    """What a joule at the device is worth elsewhere. Nothing here is measured.

    Attributes:
        pue: Energy of the data centre over that of its computers; it goes into the two others.
        carbon_g_per_kwh: Greenhouse gas of a kWh, in g of CO2 equivalent; None for not asked.
        price_per_kwh: Price of a kWh; None for not asked.
        currency: What that is in.

    Raises:
        ConfigError: If a number is out of its range.
    """

    pue: float = 1.0
    carbon_g_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str = "EUR"

    def __post_init__(self) -> None:
        least = {"pue": 1.0, "carbon_g_per_kwh": 0.0, "price_per_kwh": 0.0}
        for key, low in least.items():
            value = getattr(self, key)
            if value is not None and not low <= value < math.inf:
                raise ConfigError(f"{key}={value:g}: a finite number of at least {low:g} is needed")

    @classmethod
    def of(cls, plans: ReportSettings, typed: Mapping[str, Any]) -> Factors:
        """What is typed, and for the rest what the study was told.

        Args:
            plans: The study's.
            typed: Options of a command by name, others among them; None where nothing is typed.

        Raises:
            ConfigError: If a number is out of its range, or a currency has no price.
        """
        said = {**asdict(plans), **{key: v for key, v in typed.items() if v is not None}}
        if typed.get("currency") is not None and said["price_per_kwh"] is None:
            raise ConfigError(
                f"currency={typed['currency']}: there is no price that it could be of; give "
                "--price-per-kwh, too"
            )
        names = [each.name for each in fields(cls) if said[each.name] is not None]
        return cls(**{name: said[name] for name in names})

    @property
    def asked(self) -> bool:
        """Whether any was given."""
        return self.pue != 1 or self.carbon_g_per_kwh is not None or self.price_per_kwh is not None

    def carbon_g(self, energy_j: float) -> float | None:
        """Greenhouse gas of an energy, in g of CO2 equivalent."""
        per = self.carbon_g_per_kwh
        return None if per is None else energy_j / _KWH_J * self.pue * per

    def price(self, energy_j: float) -> float | None:
        """Price of an energy, in the currency."""
        per = self.price_per_kwh
        return None if per is None else energy_j / _KWH_J * self.pue * per

    def line(self) -> str:
        """What they are, in words; empty if none was given."""
        if not self.asked:
            return ""
        parts = [f"a PUE of {self.pue:g}"]
        if self.carbon_g_per_kwh is not None:
            parts.append(f"{self.carbon_g_per_kwh:g} gCO2e per kWh")
        if self.price_per_kwh is not None:
            parts.append(f"{self.price_per_kwh:g} {self.currency} per kWh")
        words = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"Derived from the joules by {words}, as given; not measured."


def watt_hours(energy_j: float | None) -> str:
    """Write an energy, in J, as watt-hours for people."""
    return quantity(None if energy_j is None else energy_j / 3600, "Wh")


def carbon(grams: float | None) -> str:
    """Write an amount of greenhouse gas, in g, for people."""
    return quantity(grams, "gCO2e")


def money(amount: float | None, currency: str) -> str:
    """Write a price for people: three significant digits, never rounded to nothing."""
    if amount is None:
        return "-"
    return f"{amount:.2f} {currency}" if amount >= 1 or amount == 0 else f"{amount:.3g} {currency}"
