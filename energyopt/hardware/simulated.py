"""A synthetic, exactly repeatable meter, for tests and rehearsals."""

from __future__ import annotations

from typing import Any

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.hardware.host import device_model, hostname


class SimulatedMeter:
    """Charges `window_j` for a window and `step_j + sample_j * batch_size` for each step in it.

    Exactly repeatable. Evaluation and loading take no optimizer steps. The constants are
    invented: they say nothing about real hardware.

    Args:
        batch_size: Samples per step.
        step_j: Energy of a step, in J.
        sample_j: Energy of a sample, in J.
        window_j: Energy of any window, in J.
        power_w: Power, in W; the time of a window is its energy divided by it.
        device: The resolved device that trains, for provenance.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        step_j: float = 0.05,
        sample_j: float = 0.001,
        window_j: float = 0.01,
        power_w: float = 50.0,
        device: str = "cpu",
    ) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self._step_j = step_j + sample_j * batch_size
        self._window_j = window_j
        self._power_w = power_w
        self._steps = 0
        self._began = 0
        register_optimizer_step_post_hook(self._count)
        self.provenance = Provenance(
            kind="simulated",
            meter="optimizer steps x made-up joules",
            version="model 1",
            scope="nothing real",
            device=device_model(device),
            host=hostname(),
            uncertainty="made up",
        )

    def start(self) -> None:
        """Open a window."""
        self._began = self._steps

    def stop(self) -> Energy:
        """Close the window."""
        energy_j = self._window_j + (self._steps - self._began) * self._step_j
        return Energy(energy_j / self._power_w, cpu_j=energy_j)

    def _count(self, *_: Any) -> None:
        self._steps += 1
