"""Whether a meter reads what can be, before anything depends on it."""

from __future__ import annotations

import math
import time

from energyopt.core.energy import Energy
from energyopt.core.protocols import EnergyMeter
from energyopt.errors import HardwareError

_WINDOW_S = 0.5
_WINDOW_PERIODS = 5
_SPIN_S = 0.05


def silent_part(energy: Energy) -> str | None:
    """The metered part that saw nothing, in words; None if each saw something.

    DRAM may see nothing: it is small. GPUs and processors always draw.
    """
    parts: dict[str, float | None] = {"the GPUs": energy.gpu_j, "the CPU": energy.cpu_j}
    parts |= {f"GPU {i} of the trial": part for i, part in enumerate(energy.gpus_j)}
    silent = [name for name, part in parts.items() if part is not None and part <= 0]
    return silent[0] if silent else (None if energy.total_j > 0 else "all that it meters")


def check_meter(meter: EnergyMeter) -> Energy | None:
    """Meter a short window; nothing where joules are replayed or made up.

    Raises:
        HardwareError: If the joules cannot be: a counter stands still, or was reset.
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
    wrong = None if energy.total_j >= 0 and math.isfinite(energy.total_j) else "all that it meters"
    wrong = wrong or silent_part(energy)
    if wrong is not None:
        raise HardwareError(
            f"{provenance.meter} read {energy.total_j:g} J in {energy.time_s:.3g} s, and no energy "
            f"of {wrong}, which cannot be: a counter stands still, or was reset; check the "
            "sensor, or choose another hardware=..."
        )
    return energy
