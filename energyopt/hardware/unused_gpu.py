"""Notice an NVIDIA GPU that torch does not see, so that a training with `auto` leaves it idle."""

from __future__ import annotations

import ctypes
import os
import sys

from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import VARIABLE
from energyopt.hardware.gpu_options import GpuOptions

TORCH_WITHOUT_CUDA = "torch_without_cuda"
"""Flag of a trial on the CPU of a machine with a GPU, because torch is a build without CUDA."""

CUDA_UNUSABLE = "cuda_unusable"
"""Flag of such a trial where torch is built for CUDA and sees no GPU all the same."""

_NVML = "libnvidia-ml.so.1"


def unused_gpu_flags(options: GpuOptions, configured: str, device: str) -> tuple[str, ...]:
    """Return why a training that was left to choose does not use the GPU of this machine.

    Nothing is returned where a device or meter was named, or CUDA_VISIBLE_DEVICES hides all GPUs.

    Args:
        options: The options of the hardware.
        configured: The device of the config.
        device: The device that trains.
    """
    is_chosen = (options.gpus, configured, device) == ("auto", "auto", "cpu")
    torch = sys.modules.get("torch")
    if not is_chosen or torch is None or not _has_gpu():
        return ()
    has_cuda = torch.version.cuda is not None or torch.version.hip is not None
    return (CUDA_UNUSABLE,) if has_cuda else (TORCH_WITHOUT_CUDA,)


def _has_gpu() -> bool:
    """Return True if there is a GPU that is not hidden from CUDA, or a driver that fails."""
    if "pynvml" not in sys.modules and not _has_library():  # its import takes longer than the rest
        return False
    from energyopt.hardware.nvml import all_boards, has_driver, visible_boards

    if os.environ.get(VARIABLE) in ("", "-1") or not has_driver():
        return False
    try:
        boards = all_boards()
    except HardwareError:
        return True
    try:
        return bool(boards and visible_boards(boards))
    except HardwareError:  # all are hidden
        return False


def _has_library() -> bool:
    try:
        ctypes.CDLL(_NVML)
    except OSError:
        return False
    return True
