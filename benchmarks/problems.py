"""Search problems from recorded trainings: find the configuration with the least energy to target.

A setup is a batch size and a power limit. Its energy is the mean over its recorded runs; with a run
that misses the target, or takes too many epochs, it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from energyopt.errors import ConfigError
from energyopt.tasks.replay import PROBLEMS, Recorded, read_recorded

_GOOD = 1.05


class Setup(NamedTuple):
    """A search problem."""

    batch_size: int
    limit_w: float


@dataclass(frozen=True)
class Problem:
    """One workload on one GPU, with the answer.

    Attributes:
        recorded: The recorded trainings.
        energy_j: Mean energy to the target of each setup that always reaches it, in J.
    """

    recorded: Recorded
    energy_j: Mapping[Setup, float]

    @classmethod
    def of(cls, recorded: Recorded) -> Problem:
        """Work the answer out.

        Raises:
            ConfigError: If no setup always reaches the target.
        """
        energy_j = {}
        for size, runs in recorded.runs.items():
            hits = [run.first_at(recorded.target) for run in runs]
            epochs = [hit for hit in hits if hit is not None and hit <= recorded.max_epochs]
            if len(epochs) < len(runs):
                continue
            costs = recorded.costs[size]
            for limit_w in costs.limits_w:
                epoch_j = costs.pace(limit_w).until(1.0)[1]
                energy_j[Setup(size, limit_w)] = epoch_j * sum(epochs) / len(epochs)
        if not energy_j:
            raise ConfigError(
                f"{recorded.workload} on {recorded.gpu}: no recorded setup always reaches "
                f"the target {recorded.target:g} within {recorded.max_epochs} epochs"
            )
        return cls(recorded, energy_j)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.recorded.workload} on {self.recorded.gpu}"

    @property
    def best_j(self) -> float:
        """E*: the least mean energy to the target, in J."""
        return min(self.energy_j.values())

    @property
    def default(self) -> Setup:
        """Where the user starts: the default batch size at the highest limit."""
        size = self.recorded.default_batch_size
        return Setup(size, self.recorded.costs[size].limits_w[-1])

    @property
    def default_cost(self) -> float:
        """Cost of training the default once, in E*: all of its runs over those that reach it."""
        recorded, setup = self.recorded, self.default
        epoch_j = recorded.costs[setup.batch_size].pace(setup.limit_w).until(1.0)[1]
        runs = recorded.runs[setup.batch_size]
        hits = [run.first_at(recorded.target) or recorded.max_epochs for run in runs]
        epochs = [min(hit, recorded.max_epochs) for hit in hits]
        return epoch_j * sum(epochs) / len(epochs) / self.best_j

    def good(self, setup: Setup | None) -> bool:
        """Return True if a configuration's mean energy is within 5 % of the least."""
        energy_j = None if setup is None else self.energy_j.get(setup)
        return energy_j is not None and energy_j <= _GOOD * self.best_j


def find_problems(
    data: Path, workloads: Sequence[str] | None = None, gpus: Sequence[str] | None = None
) -> list[Problem]:
    """All problems whose tables lie in a folder, or in folders in it.

    Args:
        data: The folder.
        workloads: The ones to take; None takes all.
        gpus: Likewise.

    Raises:
        ConfigError: If there is none, or one that is named is not there.
    """
    folders = sorted(path.parent for path in data.rglob(PROBLEMS))
    if not folders:
        raise ConfigError(f"--data {data} holds no {PROBLEMS}; give the folder of the tables")
    recorded = [each for folder in folders for each in read_recorded(folder)]
    for wanted, there, option in (
        (workloads, {each.workload for each in recorded}, "--workloads"),
        (gpus, {each.gpu for each in recorded}, "--gpus"),
    ):
        missing = sorted(set(wanted or ()) - there)
        if missing:
            known = ", ".join(sorted(there))
            raise ConfigError(f"{option} {missing[0]} is not in {data}; there are {known}")
    chosen = [
        each
        for each in recorded
        if (workloads is None or each.workload in workloads) and (gpus is None or each.gpu in gpus)
    ]
    return [Problem.of(each) for each in sorted(chosen, key=lambda r: (r.workload, r.gpu))]
