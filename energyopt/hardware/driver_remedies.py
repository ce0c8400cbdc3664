"""Remedies for NVIDIA drivers that do not answer, and for GPUs whose energy cannot be metered.

None advises an estimate for a training on a GPU: CPU time says nothing about its joules.
"""

from __future__ import annotations

import re
from pathlib import Path

CPU_REMEDY = "train on the CPU with device=cpu hardware=auto"
"""For a GPU without a meter: the CPU's own meters, or the labelled estimate, then cover it all."""

OTHER_GPU_REMEDY = f"choose another GPU with hardware.gpus=[...], or {CPU_REMEDY}"
NVML_REMEDY = f"check `nvidia-smi`, {OTHER_GPU_REMEDY}"
SOC_REMEDY = "choose hardware=soc, which reads the power rails of a Jetson module"

_NO_DRIVER_REMEDY = (
    "check `nvidia-smi` and NVIDIA's driver, or train on the CPU (device=cpu) with hardware=rapl "
    "or hardware=estimate"
)
# The driver was updated while its old kernel module stayed loaded.
_MISMATCH_REMEDY = (
    "the driver's library and its kernel module are of two versions, as after an update: reboot, "
    "or end all that uses the GPUs and reload the module (sudo rmmod nvidia_uvm nvidia_drm "
    "nvidia_modeset nvidia && sudo modprobe nvidia), on the host where this is a container"
)
# Codes of nvmlReturn_t in nvml.h.
_DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND, _LIB_RM_VERSION_MISMATCH = 9, 12, 18

JETSON_FILES = (Path("/etc/nv_tegra_release"), Path("/usr/lib/aarch64-linux-gnu/tegra"))
"""Of which a Jetson module has one, by which Zeus knows it as well."""

_JETSON_GPU = re.compile(r"nvgpu|tegra|\b(orin|xavier|thor)\b", re.IGNORECASE)


def is_jetson(gpu_name: str = "") -> bool:
    """Return True on a Jetson module, whose NVML counts no energy.

    Args:
        gpu_name: What NVML calls the GPU, such as "Orin (nvgpu)".
    """
    return bool(_JETSON_GPU.search(gpu_name)) or any(map(Path.exists, JETSON_FILES))


def nvml_remedy(code: int) -> str:
    """Return what to do about an error of NVML.

    Args:
        code: Its `nvmlReturn_t`.
    """
    if code == _LIB_RM_VERSION_MISMATCH:
        return _MISMATCH_REMEDY
    if is_jetson():
        return SOC_REMEDY
    return _NO_DRIVER_REMEDY if code in (_DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND) else NVML_REMEDY
