"""The account of this command: its energy so far, and what of it its trainings have booked."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from energyopt.core.energy import Energy, total
from energyopt.core.study_record import Confirmation, TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.errors import HardwareError
from energyopt.hardware.command_meter import CommandMeter, CommandMeters
from energyopt.hardware.host import hostname
from energyopt.storage.commands import Commands

INTERVAL_S = 5.0
"""Time between two records: what a killed command loses at most."""

_NOT_METERED = "not metered: there is no counter of a whole command with {} joules"


class CommandAccount:
    """Records the energy of this command while it works on a study.

    Args:
        meters: Counts it.
        commands: Where it is stored.
        are_jobs_here: Whether the trainings are processes of this command: then it counts what
            they book, too.
    """

    def __init__(
        self, meters: CommandMeters, commands: Commands, *, are_jobs_here: bool = True
    ) -> None:
        self._meters = meters
        self._commands = commands
        self._are_jobs_here = are_jobs_here
        self._meter: CommandMeter | None = None
        self._basis = ""
        self._ended = Energy()
        self._bases: dict[int, Energy] = {}  # what open trainings had booked when they began
        self._gpus: set[str] = set()
        self._energy: Energy | None = None
        self._recorded_s = time.monotonic()

    @property
    def due_s(self) -> float:
        """Time until the next record, in s."""
        return self._recorded_s + INTERVAL_S - time.monotonic()

    def choose(self, provenance: Provenance | None) -> None:
        """Count by the means that meters the trainings, once it is known."""
        if provenance is None or self._basis:
            return
        self._meter = self._meters.choose(provenance)
        kind = provenance.kind
        self._basis = _NOT_METERED.format(kind) if self._meter is None else self._meter.basis

    def began(self, number: int, result: TrialResult | None) -> None:
        """Note a training that begins, or resumes with an earlier record."""
        self._bases[number] = booked(result)

    def ended(self, number: int, result: TrialResult | None) -> None:
        """Book what a training used here."""
        base = self._bases.pop(number, Energy())
        if result is not None:
            self._learn(result)
            self._ended += booked(result) - base if self._is_here(result) else Energy()

    def record(self, progress: Mapping[int, TrialResult]) -> None:
        """Store the energy so far.

        Args:
            progress: Records so far of the trainings that run, by number.
        """
        self._recorded_s = time.monotonic()
        for result in progress.values():
            self._learn(result)
        open_trainings = {n: booked(r) for n, r in progress.items() if self._is_here(r)}
        if not self._basis:
            return  # nothing is known of its trainings yet
        if self._meter is not None:
            with contextlib.suppress(HardwareError):  # a lost GPU: its last reading holds
                energy = self._meter.total(self._gpus)
                self._energy = replace(energy, time_s=self._meters.time_s)
        running = [used - self._bases.get(n, Energy()) for n, used in open_trainings.items()]
        # The next record repeats it: no training fails for its sake.
        with contextlib.suppress(SQLAlchemyError):
            self._commands.keep(
                self._energy, self._ended + total(running), open_trainings, self._basis
            )

    def _is_here(self, result: TrialResult) -> bool:
        """Return True if the energy of this command includes that of a training."""
        return self._are_jobs_here and result.start.provenance.host == hostname()

    def _learn(self, result: TrialResult) -> None:
        self.choose(result.start.provenance)
        machine = result.start.machine
        self._gpus |= {gpu.uuid for gpu in machine.gpus} if machine else set()


class NoAccount:
    """Records nothing: see `CommandAccount`."""

    due_s = math.inf

    def began(self, number: int, result: TrialResult | None) -> None:
        """Do nothing."""

    def ended(self, number: int, result: TrialResult | None) -> None:
        """Do nothing."""

    def record(self, progress: Mapping[int, TrialResult]) -> None:
        """Do nothing."""


NO_ACCOUNT = NoAccount()


def booked(result: TrialResult | None) -> Energy:
    """Return all energy that a training booked."""
    return Energy() if result is None else result.spent


def booked_by_number(trainings: Iterable[TrialRecord | Confirmation]) -> dict[int, Energy]:
    """Return what trials, or confirmations, booked, by number."""
    return {t.number: booked(t.result) for t in trainings if t.result is not None}
