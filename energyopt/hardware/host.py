"""What this machine is: for provenance, and to decide where to train."""

from __future__ import annotations

import importlib.util
import platform
import socket
from functools import cache
from pathlib import Path

from energyopt.errors import ConfigError


@cache
def hostname() -> str:
    """Name of this machine."""
    return socket.gethostname()


@cache
def cpu_model() -> str:
    """Model of the processor, such as "AMD EPYC 7763"."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def resolve_device(device: str) -> str:
    """Turn `auto` into a device, and check that a named one is there.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Returns:
        "cpu", "cuda:N" or "mps". `auto` prefers cuda, then mps where its energy can be
        read (package zeus-apple-silicon), then cpu.

    Raises:
        ConfigError: If the device is not of these, or not there.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return f"cuda:{torch.cuda.current_device()}"
        soc = torch.backends.mps.is_available() and importlib.util.find_spec("zeus_apple_silicon")
        return "mps" if soc else "cpu"
    name, _, index = device.partition(":")
    if name == "cpu" and not index:
        return device
    if name == "mps" and not index:
        if torch.backends.mps.is_available():
            return device
        raise ConfigError("device=mps: this machine has no Apple GPU; choose cpu or auto")
    if name == "cuda" and (not index or index.isdecimal()):
        count = torch.cuda.device_count()
        if int(index or 0) < count:
            return f"cuda:{index or torch.cuda.current_device()}"
        seen = f"torch {torch.__version__} sees {count} CUDA devices"
        raise ConfigError(f"device={device}: {seen}; choose cpu, auto or a lower index")
    raise ConfigError(f"device={device} is not known; choose auto, cpu, cuda, cuda:N or mps")


def device_model(device: str) -> str:
    """Model of a resolved device, such as "NVIDIA H200" or "CPU AMD EPYC 7763"."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if device == "mps":
        return f"Apple GPU of {cpu_model()}"
    return f"CPU {cpu_model()}"
