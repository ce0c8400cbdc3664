"""Choose the best meter that this machine has for the device that trains."""

from __future__ import annotations

from collections.abc import Sequence

from energyopt.core.protocols import EnergyMeter
from energyopt.errors import ConfigError
from energyopt.hardware import rapl
from energyopt.hardware.driver_remedies import is_jetson
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.nvml import Board
from energyopt.hardware.zeus import AmdMeter, NvmlMeter, RaplMeter, SocMeter


def choose_meter(
    device: str, gpus: Sequence[Board] = (), watts_per_core: float = 4.0, *, cpu: bool = False
) -> EnergyMeter:
    """Return the meter of the training GPU; on the CPU RAPL's, else an estimate that says why.

    Args:
        device: The resolved device that trains.
        gpus: The NVIDIA GPUs that the trial holds; empty on an AMD machine.
        watts_per_core: Constant of the estimate, in W per busy core.
        cpu: Meter the CPU packages and DRAM in addition to GPUs.

    Raises:
        ConfigError: If `cpu` is set for a device whose meter does not cover the CPU.
        HardwareError: If the energy of the training GPU cannot be read: an estimate from CPU
            time would miss most of it.
    """
    if gpus:
        return NvmlMeter(gpus, device, cpu=cpu)
    if cpu and device != "cpu":
        raise ConfigError(
            f"hardware.cpu=true: with device={device} the CPU is not metered; set it to false"
        )
    if device == "mps" or (device.startswith("cuda") and is_jetson()):
        return SocMeter(device)
    if device.startswith("cuda"):
        return AmdMeter(device)
    refusal = None if cpu else rapl.refusal()
    if refusal is None:
        return RaplMeter(device)
    problem = refusal.partition("; ")[0].removeprefix("RAPL: ")
    return CpuTimeMeter(watts_per_core, device, because=problem)


def condition_flags(meter: EnergyMeter, device: str) -> tuple[str, ...]:
    """Return warnings about a meter that does not cover the training device."""
    provenance = meter.provenance
    if provenance.kind == "measured" and "GPU board" in provenance.scope and device == "cpu":
        return ("gpu_meter_cpu_training",)
    if provenance.kind == "estimated" and device != "cpu":
        return ("estimate_misses_gpu",)
    return ()
