"""Check that a meter reads plausible energies before anything depends on it."""

from __future__ import annotations

import math
import time

from energyopt.core.energy import Energy
from energyopt.core.protocols import EnergyMeter
from energyopt.errors import HardwareError

_WINDOW_S = 0.5
_WINDOW_PERIODS = 5  # at least four updates fall inside, so a live counter has moved
_SPIN_S = 0.05  # CPU time for the estimate, which reads nothing while the process sleeps


def silent_part(energy: Energy) -> str | None:
    """Name a metered part that read no energy; None if all of them read some.

    DRAM may read none: it draws little. GPUs and processors always draw power.
    """
    parts: dict[str, float | None] = {"the GPUs": energy.gpu_j, "the CPU": energy.cpu_j}
    parts |= {f"GPU {i} of the trial": part for i, part in enumerate(energy.gpus_j)}
    silent = [name for name, part in parts.items() if part is not None and part <= 0]
    return silent[0] if silent else (None if energy.total_j > 0 else "all that it meters")


def check_meter(meter: EnergyMeter) -> Energy | None:
    """Meter a short window; do nothing where energies are replayed or simulated.

    Returns:
        The energy of the window; None if none was metered.

    Raises:
        HardwareError: If the energy is impossible: a counter stands still, or was reset.
    """
    provenance = meter.provenance
    if provenance.kind not in ("measured", "estimated"):
        return None
    length_s = max(_WINDOW_S, _WINDOW_PERIODS * provenance.resolution_s)
    if provenance.kind == "estimated":
        length_s = _SPIN_S  # it counts CPU time
    meter.start()
    began_s = time.perf_counter()
    while time.perf_counter() < began_s + min(_SPIN_S, length_s):
        pass
    time.sleep(max(0.0, began_s + length_s - time.perf_counter()))
    energy = meter.stop()
    is_finite = energy.total_j >= 0 and math.isfinite(energy.total_j)
    bad_part = silent_part(energy) if is_finite else "all that it meters"
    if bad_part is not None:
        raise HardwareError(
            f"{provenance.meter} read {energy.total_j:g} J in {energy.time_s:.3g} s, and no energy "
            f"of {bad_part}, which cannot be: a counter stands still, or was reset; check the "
            "sensor, or choose another hardware=..."
        )
    return energy
