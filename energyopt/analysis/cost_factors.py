"""Convert joules to watt-hours, greenhouse gas and money with factors that the user gives."""

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
    """Factors that convert the energy of a device. None of them is measured.

    Attributes:
        pue: Power usage effectiveness: energy of the data centre over that of its computers. The
            two others are multiplied by it.
        carbon_g_per_kwh: Greenhouse gas of a kWh, in g of CO2 equivalent; None if not given.
        price_per_kwh: Price of a kWh; None if not given.
        currency: The currency of the price.

    Raises:
        ConfigError: If a number is out of its range.
    """

    pue: float = 1.0
    carbon_g_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str = "EUR"

    def __post_init__(self) -> None:
        minima = {"pue": 1.0, "carbon_g_per_kwh": 0.0, "price_per_kwh": 0.0}
        for key, low in minima.items():
            value = getattr(self, key)
            if value is not None and not low <= value < math.inf:
                raise ConfigError(f"{key}={value:g}: a finite number of at least {low:g} is needed")

    @classmethod
    def of(cls, plans: ReportSettings, typed: Mapping[str, Any]) -> Factors:
        """Return the factors of a command line, completed by those of the study.

        Args:
            plans: The report settings of the study.
            typed: All options of the command by name; None for those not given.

        Raises:
            ConfigError: If a number is out of its range, or a currency has no price.
        """
        settings = {**asdict(plans), **{key: v for key, v in typed.items() if v is not None}}
        if typed.get("currency") is not None and settings["price_per_kwh"] is None:
            raise ConfigError(
                f"currency={typed['currency']}: there is no price that it could be of; give "
                "--price-per-kwh, too"
            )
        names = [field.name for field in fields(cls) if settings[field.name] is not None]
        return cls(**{name: settings[name] for name in names})

    @property
    def is_given(self) -> bool:
        """True if any factor was given."""
        return self.pue != 1 or self.carbon_g_per_kwh is not None or self.price_per_kwh is not None

    def carbon_g(self, energy_j: float) -> float | None:
        """Return the greenhouse gas of an energy, in g of CO2 equivalent."""
        return self._cost(energy_j, self.carbon_g_per_kwh)

    def price(self, energy_j: float) -> float | None:
        """Return the price of an energy, in the currency."""
        return self._cost(energy_j, self.price_per_kwh)

    def _cost(self, energy_j: float, per_kwh: float | None) -> float | None:
        return None if per_kwh is None else energy_j / _KWH_J * self.pue * per_kwh

    def line(self) -> str:
        """Return a sentence that lists the factors; empty if none was given."""
        if not self.is_given:
            return ""
        parts = [f"a PUE of {self.pue:g}"]
        if self.carbon_g_per_kwh is not None:
            parts.append(f"{self.carbon_g_per_kwh:g} gCO2e per kWh")
        if self.price_per_kwh is not None:
            parts.append(f"{self.price_per_kwh:g} {self.currency} per kWh")
        text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"Derived from the joules by {text}, as given; not measured."


def watt_hours(energy_j: float | None) -> str:
    """Format an energy, in J, as watt-hours."""
    return quantity(None if energy_j is None else energy_j / 3600, "Wh")


def carbon(grams: float | None) -> str:
    """Format an amount of greenhouse gas, in g."""
    return quantity(grams, "gCO2e")


def money(amount: float | None, currency: str) -> str:
    """Format a price; a small one has three significant digits, not cents."""
    if amount is None:
        return "-"
    return f"{amount:.2f} {currency}" if amount >= 1 or amount == 0 else f"{amount:.3g} {currency}"
