"""GPU boards and CPU packages through Zeus: the only file that imports zeus or pynvml.

Zeus reports mJ and mW and turns missing sensors into silent zeros; here they become J and W,
or an error.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from energyopt.errors import HardwareError
from energyopt.hardware.host import device_model, hostname
from energyopt.records import Energy, Provenance

RAPL_ROOTS = (
    Path("/sys/class/powercap/intel-rapl"),
    Path("/zeus_sys/class/powercap/intel-rapl"),  # where Zeus looks inside a container
)
_RAPL_REMEDY = (
    "run as root, let an administrator allow it (chmod o+r .../energy_uj), or choose "
    "hardware=estimate"
)
_NVML_REMEDY = "check `nvidia-smi`, or choose hardware=estimate or hardware=rapl"
_NVML_PERIOD_S = 0.1
_RAPL_PERIOD_S = 0.001


def rapl_packages() -> list[Path]:
    """The RAPL zones of CPU packages that are there, readable or not."""
    return [
        zone
        for root in RAPL_ROOTS
        for zone in sorted(root.glob("intel-rapl:*"))
        if (zone / "name").is_file() and (zone / "name").read_text().startswith("package")
    ]


def rapl_readable() -> bool:
    """Whether the energy counter of each CPU package can be read."""
    packages = rapl_packages()
    return bool(packages) and all(os.access(zone / "energy_uj", os.R_OK) for zone in packages)


class NvmlMeter:
    """Energy counter of the NVIDIA GPU that trains, through Zeus.

    Scope: the GPU board alone. The counter moves about every 100 ms.

    Args:
        device: The resolved device that trains. Training on the CPU meters GPU 0.

    Raises:
        HardwareError: If there is no such GPU, or it has no energy counter.
    """

    def __init__(self, device: str = "cuda:0") -> None:
        name, _, number = device.partition(":")
        index = int(number or 0) if name == "cuda" else 0
        gpu = _counting_gpu(index)
        self._window = _Window(gpu_indices=[index], cpu_indices=[], remedy=_NVML_REMEDY)
        self.provenance = Provenance(
            kind="measured",
            meter="NVML energy counter",
            version=_zeus_version(),
            scope="GPU board",
            device=gpu if name == "cuda" else device_model(device),
            host=hostname(),
            uncertainty="about 5 % by board; the counter moves every 100 ms",
            resolution_s=_NVML_PERIOD_S,
        )

    def start(self) -> None:
        """Open a window; pending GPU work is waited for first."""
        self._window.start()

    def stop(self) -> Energy:
        """Close the window."""
        time_s, measured = self._window.stop()
        return Energy(time_s, gpu_j=sum(measured.gpu_energy.values()))


class RaplMeter:
    """Energy counters of the CPU packages (and DRAM where there are any), through Zeus.

    Scope: whole packages, neighbours' work included. Never the platform zone (psys), which
    contains the packages.

    Args:
        device: The resolved device that trains, for provenance.

    Raises:
        HardwareError: If there are no counters, or they may not be read.
    """

    def __init__(self, device: str = "cpu") -> None:
        if not rapl_packages():
            raise HardwareError(
                "this machine has no RAPL energy counters (virtual machines and many ARM hosts "
                "have none); choose hardware=estimate"
            )
        if not rapl_readable():
            raise HardwareError(f"the RAPL energy counters may not be read; {_RAPL_REMEDY}")
        with _refusals("the RAPL energy counters cannot be read", _RAPL_REMEDY):
            from zeus.device import get_cpus

            cpus = get_cpus().cpus
            packages = [i for i, cpu in enumerate(cpus) if cpu.rapl_file.name.startswith("package")]
            dram = any(cpus[i].supports_get_dram_energy_consumption() for i in packages)
        self._window = _Window(gpu_indices=[], cpu_indices=packages, remedy=_RAPL_REMEDY)
        self.provenance = Provenance(
            kind="measured",
            meter="RAPL",
            version=_zeus_version(),
            scope="CPU packages + DRAM" if dram else "CPU packages",
            device=device_model(device),
            host=hostname(),
            uncertainty="follows the plug on Intel; modelled on some AMD processors",
            resolution_s=_RAPL_PERIOD_S,
        )
        self._window.start()  # Zeus starts its wrap-around watchers on the first window
        self._window.stop()

    def start(self) -> None:
        """Open a window; pending GPU work is waited for first."""
        self._window.start()

    def stop(self) -> Energy:
        """Close the window."""
        time_s, measured = self._window.stop()
        if not measured.cpu_energy:
            raise HardwareError(f"RAPL gave no energy for the window; {_RAPL_REMEDY}")
        dram = measured.dram_energy
        return Energy(
            time_s,
            cpu_j=sum(measured.cpu_energy.values()),
            dram_j=sum(dram.values()) if dram else None,
        )


class _Window:
    """One Zeus window with a monotonic clock beside it: Zeus' own can step back."""

    _KEY = "energyopt"

    def __init__(self, *, gpu_indices: list[int], cpu_indices: list[int], remedy: str) -> None:
        self._remedy = remedy
        self._began_s = 0.0
        with _refusals("the energy counters cannot be opened", remedy):
            from zeus.monitor import ZeusMonitor

            self._monitor = ZeusMonitor(gpu_indices=gpu_indices, cpu_indices=cpu_indices)

    def start(self) -> None:
        with _refusals("the energy counters cannot be read", self._remedy):
            self._monitor.begin_window(self._KEY, sync_execution=_cuda_in_use(), restart=True)
        self._began_s = time.perf_counter()

    def stop(self) -> tuple[float, Any]:  # zeus is untyped
        reading = _refusals("the energy counters cannot be read", self._remedy)
        with reading, warnings.catch_warnings():
            # A window shorter than the counter's period may read 0 J; `run_trial` looks at the
            # whole training, and short trainings are flagged.
            warnings.filterwarnings("ignore", "The energy consumption of one or more GPUs")
            measured = self._monitor.end_window(self._KEY, sync_execution=_cuda_in_use())
        return time.perf_counter() - self._began_s, measured


def _cuda_in_use() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()


def _counting_gpu(index: int) -> str:
    """The name of a GPU with an energy counter.

    Asked before Zeus monitors it: for a GPU without counter Zeus would start processes that
    poll its power.

    Raises:
        HardwareError: If there is no such GPU, or it has no counter.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    with _refusals(f"GPU {index} cannot be metered (CUDA_VISIBLE_DEVICES={visible})", _NVML_REMEDY):
        from zeus.device import get_gpus

        gpus = get_gpus()
        name: str = gpus.get_name(index)
        counts = gpus.supports_get_total_energy_consumption(index)
        counter_mj = gpus.get_total_energy_consumption(index) if counts else 0
    if counter_mj <= 0:
        raise HardwareError(
            f"GPU {index} ({name}) has no energy counter (Volta and newer have one, virtual GPUs "
            f"and MIG slices do not); {_NVML_REMEDY}"
        )
    return name


@contextmanager
def _refusals(what: str, remedy: str) -> Iterator[None]:
    """Turn what Zeus raises into a `HardwareError`."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    from zeus.exception import ZeusBaseError

    try:
        yield
    # Zeus lets plain ValueError and IndexError through for what CUDA_VISIBLE_DEVICES may hold.
    except (ZeusBaseError, ValueError, IndexError, RuntimeError, OSError) as error:
        raise HardwareError(f"{what}: {error}; {remedy}") from error


def _zeus_version() -> str:
    return f"zeus {importlib.metadata.version('zeus')}"
