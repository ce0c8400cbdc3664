"""Meter recorded trainings that are played back on a virtual clock."""

from __future__ import annotations

from typing import Literal, Protocol

from energyopt.core.energy import Energy
from energyopt.core.traces import Clock
from energyopt.core.trial_result import Provenance
from energyopt.errors import ConfigError
from energyopt.hardware.host import hostname


class TracePlayer(Protocol):
    """Plays recorded trainings."""

    clock: Clock
    name: str


class RecordedMeter:
    """Reads the energy that elapses on the clock of recorded trainings.

    Args:
        task: The task that plays them.
        part: The recorded energy: of the GPU boards, or of the processor.

    Raises:
        ConfigError: If the task plays no recorded trainings.
    """

    def __init__(self, task: TracePlayer, part: Literal["gpu_j", "cpu_j"] = "gpu_j") -> None:
        clock = getattr(task, "clock", None)
        if not isinstance(clock, Clock):
            raise ConfigError(
                f"hardware=recorded meters recorded trainings, and {type(task).__name__} is none; "
                "choose task=replay, or another hardware=..."
            )
        self._clock = clock
        self._part = part
        self._began: tuple[float, float] | None = None
        self.provenance = Provenance(
            kind="replayed",
            meter=f"recorded trainings of {task.name}",
            version="1",
            scope="GPU board" if part == "gpu_j" else "processor",
            device=task.name,
            host=hostname(),
            uncertainty="as recorded: one measurement of an epoch at each power limit",
        )

    def start(self) -> None:
        """Open a window."""
        self._began = (self._clock.time_s, self._clock.energy_j)

    def stop(self) -> Energy:
        """Close the window."""
        if self._began is None:
            raise RuntimeError("stop() without start()")
        began_s, began_j = self._began
        self._began = None
        time_s, energy_j = self._clock.time_s - began_s, self._clock.energy_j - began_j
        if self._part == "gpu_j":
            return Energy(time_s, gpu_j=energy_j)
        return Energy(time_s, cpu_j=energy_j)
