"""Energy used before a trial's first step: pretraining, teacher, preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from energyopt.core.energy import Energy

Origin = Literal["trained", "loaded", "prepared"]
"""Origin: trained by energyopt, loaded from a file, or prepared for this trial only."""

Regime = Literal["own", "shared", "downloaded"]
"""Who pays: this training only, several trainings that share it, or another user."""


@dataclass(frozen=True, slots=True)
class UpfrontCost:
    """Energy that counts in a trial's energy to the target, in addition to its training.

    Attributes:
        name: "source", "teacher" or "preparation".
        origin: Its origin.
        energy: Its energy; of a training without the evaluations.
        given_j: User-specified energy instead, in J.
        reuse: Number of trainings that use it; each counts its share.
        fresh: Whether this trial used the energy itself, so that `books` include it.
        digest: Hash of its specification, or of the file.
        samples: Training samples seen.
        steps: Optimizer steps made.
        accuracy: Best value of the metric on its own task; None if unknown.
        target: Target; None if unknown.
        missed_target: Whether it missed that; None in costs from older versions, whose metric is
            the accuracy.
        provenance: Description of where its joules come from.
        flags: Warnings about their measurement, as short words.
    """

    name: str
    origin: Origin
    energy: Energy
    given_j: float = 0.0
    reuse: float = 1.0
    fresh: bool = True
    digest: str = ""
    samples: int = 0
    steps: int = 0
    accuracy: float | None = None
    target: float | None = None
    provenance: str = ""
    flags: tuple[str, ...] = ()
    missed_target: bool | None = None

    @property
    def total_j(self) -> float:
        """Its total energy, in J."""
        return self.energy.total_j + self.given_j

    @property
    def share_j(self) -> float:
        """Energy share of each training that uses it, in J."""
        return self.total_j / self.reuse

    @property
    def share_s(self) -> float:
        """Time share of each training that uses it, in s."""
        return self.energy.time_s / self.reuse

    @property
    def missed(self) -> bool:
        """True if it had a target and missed it."""
        if self.missed_target is not None:
            return self.missed_target
        return None not in (self.accuracy, self.target) and self.accuracy < self.target  # type: ignore[operator]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about it, as flags of the trial."""
        missed = ("missed_target",) if self.missed else ()
        return tuple(f"{self.name}_{flag}" for flag in (*self.flags, *missed))

    @property
    def regime(self) -> Regime:
        """Who pays for it: see `Regime`."""
        if self.origin == "loaded" and not self.given_j:
            return "downloaded"
        return "own" if self.reuse == 1 else "shared"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UpfrontCost:
        """Read what `to_dict` wrote."""
        energy, flags = Energy.from_dict(data["energy"]), tuple(data.get("flags", ()))
        return cls(**{**data, "energy": energy, "flags": flags})
