"""This machine and its software: for provenance, and to choose the training device."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from energyopt.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")
_CHILDREN = Path("/proc/thread-self/children")  # not all kernels list them
_PARENT_FIELD = 1  # of /proc/PID/stat after the command's ")"
_START_FIELD = 19  # time since boot at which it began, in clock ticks
_PACKAGES = ("energyopt", "torch", "zeus", "nvidia-ml-py", "numpy", "optuna", "hydra-core")
_GIT_TIMEOUT_S = 5.0


@cache
def hostname() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def user_name() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return str(os.getuid())


@cache
def cpu_model() -> str:
    """Return the model of the processor, such as "AMD EPYC 7763"."""
    try:
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":  # whose platform.processor() is "arm"
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.check_output(command, text=True).strip()  # noqa: S603
    return platform.processor() or platform.machine()


def resolve_device(device: str) -> str:
    """Turn `auto` into a kind of device, and check that a named one exists.

    Does not initialise CUDA, so the GPUs that CUDA sees can still be chosen.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Returns:
        "cpu", "cuda" (any one), "cuda:N" or "mps". `auto` prefers cuda, then mps where its
        energy can be read (package zeus-apple-silicon), then cpu.

    Raises:
        ConfigError: If the device is none of these, or does not exist.
    """
    import torch

    cuda_devices = torch.cuda.device_count()  # asks NVML; is_available() would initialise CUDA
    if device == "auto":
        if cuda_devices:
            return "cuda"
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
        if int(index or 0) < cuda_devices:
            return device
        if not cuda_devices:
            raise ConfigError(
                f"device={device}: torch {torch.__version__} sees no CUDA device; install a CUDA "
                "build of torch (and a driver that fits it), or choose cpu or auto"
            )
        visible = f"torch {torch.__version__} sees {cuda_devices} CUDA devices"
        raise ConfigError(f"device={device}: {visible}; choose cpu, auto or a lower index")
    raise ConfigError(f"device={device} is not known; choose auto, cpu, cuda, cuda:N or mps")


def cuda_has_begun() -> bool:
    """Return True if this process has initialised CUDA: what it sees is then fixed."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def process_age_s() -> float:
    """Return the time since this process began, in s; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(_stat_fields(os.getpid())[_START_FIELD])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return max(age_s, 0.0)
    return 0.0


def descendants(pid: int) -> dict[int, Sequence[str]]:
    """Return the fields of /proc/PID/stat, from the third, of a process's running descendants.

    Empty where there is no /proc.
    """
    children = _listed_children if _CHILDREN.exists() else _children_by_parent().get
    fields: dict[int, Sequence[str]] = {}
    queue = list(children(pid, ()))
    for child in queue:  # grows during the loop
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields[child] = _stat_fields(child)
            queue += children(child, ())
    return fields


def _listed_children(pid: int, _default: Sequence[int]) -> Sequence[int]:
    """Return the children of a process; the kernel lists them by the thread that made them."""
    children = []
    with contextlib.suppress(OSError):  # the process ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread did
                children += [int(child) for child in (task / "children").read_text().split()]
    return children


def _children_by_parent() -> dict[int, list[int]]:
    """Return the children of all processes, by parent: for kernels that list no children."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            child = int(folder.name)
            children.setdefault(int(_stat_fields(child)[_PARENT_FIELD]), []).append(child)
    return children


def _stat_fields(pid: int) -> Sequence[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def device_model(device: str) -> str:
    """Return the model of a resolved device, such as "NVIDIA H200" or "CPU AMD EPYC 7763"."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if device == "mps":
        return f"Apple GPU of {cpu_model()}"
    return f"CPU {cpu_model()}"


@cache
def package_versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that affect a trial's numbers."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def commit(folder: Path) -> str | None:
    """Return the Git commit of a folder's code, with "-dirty" if tracked files differ.

    None outside a repository, or without git.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude=*"]  # no tags: the name must be a commit
    try:
        process = subprocess.run(  # noqa: S603  # no shell; git as the user's PATH has it
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None
