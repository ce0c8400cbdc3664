"""The energy of a command that worked on a study, of which its trainings book a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from energyopt.core.energy import PARTS, Energy

Command = Literal["search", "confirm"]
"""A kind of command that belongs to a study."""


@dataclass(frozen=True, slots=True)
class CommandEnergy:
    """The energy of one command, from the start of its process.

    Attributes:
        number: Its number among the commands of the study, from 0.
        command: What it did: "search" (a run of trials) or "confirm".
        energy: All its energy until it was last recorded, and the time until then; None if it was
            not metered.
        trainings: The part that its trainings booked.
        basis: How it was counted, or why it was not, in words.
    """

    number: int
    command: Command
    energy: Energy | None
    trainings: Energy = Energy()  # noqa: RUF009  # frozen
    basis: str = ""

    @property
    def other(self) -> Energy | None:
        """Return what no training booked, such as imports and the sampler; None if unknown.

        Of the devices that the command metered alone. Never negative: a training that ended after
        the last record of a killed command may have booked more.
        """
        if self.energy is None:
            return None

        def rest_j(part: str) -> float | None:
            used_j = getattr(self.energy, part)
            return None if used_j is None else max(used_j - (getattr(self.trainings, part) or 0), 0)

        time_s = max(self.energy.time_s - self.trainings.time_s, 0.0)
        gpu_j, cpu_j, dram_j = map(rest_j, PARTS)
        return Energy(time_s, gpu_j, cpu_j, dram_j)

    def with_trainings(self, extra: Energy) -> CommandEnergy:
        """Return it with more energy booked by its trainings."""
        return replace(self, trainings=self.trainings + extra)
