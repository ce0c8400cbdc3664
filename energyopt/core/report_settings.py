"""What a study's user says of the time after it: trainings planned, and what their joules mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What the last run of a study was told, for those who read it. None is what nobody said.

    Attributes:
        reuse: How many trainings will use what is found.
        pue: Energy of the data centre over that of its computers.
        carbon_g_per_kwh: Greenhouse gas of a kWh, in g of CO2 equivalent.
        price_per_kwh: Price of a kWh.
        currency: What that is in.
    """

    reuse: float | None = None
    pue: float | None = None
    carbon_g_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ReportSettings:
        """Read plain data; what is none of it is taken for unsaid: anyone may write attributes."""
        said = data if isinstance(data, Mapping) else {}
        currency = said.get("currency")
        return cls(
            reuse=_number(said, "reuse") or None,
            pue=_number(said, "pue", 1.0),
            carbon_g_per_kwh=_number(said, "carbon_g_per_kwh"),
            price_per_kwh=_number(said, "price_per_kwh"),
            currency=currency if isinstance(currency, str) else None,
        )


def _number(said: Mapping[str, Any], key: str, least: float = 0.0) -> float | None:
    value = said.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if least <= value < math.inf else None


NONE = ReportSettings()
"""What nobody said."""
