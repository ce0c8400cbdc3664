"""Choose the best meter that this machine has for the device that trains."""

from __future__ import annotations

from energyopt.errors import HardwareError
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.zeus import NvmlMeter, RaplMeter, rapl_readable
from energyopt.protocols import EnergyMeter


def choose_meter(device: str, watts_per_core: float = 4.0) -> EnergyMeter:
    """NVML for a GPU that trains; for the CPU RAPL, else the labelled estimate.

    Args:
        device: The resolved device that trains.
        watts_per_core: Constant of the estimate, in W.

    Raises:
        HardwareError: If a GPU trains whose energy cannot be read: an estimate from CPU
            time would miss most of it.
    """
    if device.startswith("cuda"):
        return NvmlMeter(device)
    if device == "mps":
        raise HardwareError(
            "device=mps: the energy of Apple GPUs is not read yet, and an estimate from CPU time "
            "would miss it; choose device=cpu, or accept that with hardware=estimate"
        )
    return RaplMeter(device) if rapl_readable() else CpuTimeMeter(watts_per_core, device)


def condition_flags(meter: EnergyMeter, device: str) -> tuple[str, ...]:
    """Warnings about a meter that does not cover the device that trains."""
    provenance = meter.provenance
    if provenance.kind == "measured" and provenance.scope.startswith("GPU") and device == "cpu":
        return ("gpu_meter_cpu_training",)
    if provenance.kind == "estimated" and device != "cpu":
        return ("estimate_misses_gpu",)
    return ()
