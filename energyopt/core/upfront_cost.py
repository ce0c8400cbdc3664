"""What a trial's knowledge cost before its own first step: a source, a teacher, its passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from energyopt.core.energy import Energy

Origin = Literal["trained", "loaded", "prepared"]
"""How it came: trained by energyopt, loaded from a file, or made for this trial alone."""

Regime = Literal["own", "shared", "downloaded"]
"""Who pays: this training alone, several that use the same, or somebody else."""


@dataclass(frozen=True, slots=True)
class UpfrontCost:
    """Energy that counts in a trial's energy to the target, beside what it trains itself.

    Attributes:
        name: What it was for: "source", "teacher", "preparation".
        origin: How it came.
        energy: What it cost: for a training that training, without its evaluations.
        given_j: Its energy by the user's word instead, in J.
        reuse: How many trainings use it: each counts its share.
        fresh: Whether this trial burnt it, so that it is in its books.
        digest: What determines it, or the file's content, as a hash.
        samples: Training samples seen.
        steps: Optimizer steps made.
        accuracy: The best validation accuracy on its own task; None if unknown.
        target: Accuracy that it was to reach; None likewise.
        provenance: Where its joules come from, in words.
        flags: Warnings about how they were measured, as short words.
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

    @property
    def total_j(self) -> float:
        """All that it cost, in J."""
        return self.energy.total_j + self.given_j

    @property
    def share_j(self) -> float:
        """What one of the trainings that use it counts, in J."""
        return self.total_j / self.reuse

    @property
    def share_s(self) -> float:
        """The same of its time, in s."""
        return self.energy.time_s / self.reuse

    @property
    def missed(self) -> bool:
        """Whether it was to reach an accuracy, and did not."""
        return None not in (self.accuracy, self.target) and self.accuracy < self.target  # type: ignore[operator]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about it, as flags of the trial."""
        missed = ("missed_target",) if self.missed else ()
        return tuple(f"{self.name}_{flag}" for flag in (*self.flags, *missed))

    @property
    def regime(self) -> Regime:
        """Who pays for it."""
        if self.origin == "loaded" and not self.given_j:
            return "downloaded"
        return "own" if self.reuse == 1 else "shared"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UpfrontCost:
        """Read what `to_dict` wrote."""
        energy, flags = Energy.from_dict(data["energy"]), tuple(data.get("flags", ()))
        return cls(**{**data, "energy": energy, "flags": flags})
