"""Energy windows of GPUs, CPU packages and chips through Zeus.

Zeus turns missing sensors into silent zeros; here they become errors. Nothing but this file,
`nvml.py` and `power_limit_policy.py` imports zeus or pynvml.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import VARIABLE, set_visible
from energyopt.hardware.host import cpu_model, device_model, hostname
from energyopt.hardware.nvml import NVML_REMEDY, Board

RAPL_ROOTS = (
    Path("/sys/class/powercap/intel-rapl"),
    Path("/zeus_sys/class/powercap/intel-rapl"),  # where Zeus looks inside a container
)
_RAPL_REMEDY = (
    "run as root, let an administrator allow it (chmod o+r .../energy_uj), or choose "
    "hardware=estimate"
)
_NVML_PERIOD_S = 0.1
_RAPL_PERIOD_S = 0.001


def preload() -> None:
    """Import what a GPU's meter needs (2 s, most of it scikit-learn), once for many trials."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    import zeus.monitor  # noqa: F401


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


class _ZeusMeter:
    """What all meters through Zeus share."""

    _window: _Window
    provenance: Provenance

    def start(self) -> None:
        """Open a window; pending GPU work is waited for first."""
        self._window.start()


class NvmlMeter(_ZeusMeter):
    """Energy counters of a trial's NVIDIA GPUs, through Zeus; with `cpu` RAPL's beside them.

    Scope: whole GPU boards (and CPU packages). The counters move about every 100 ms.

    Args:
        gpus: The GPUs that the trial holds.
        device: The resolved device that trains.
        cpu: Meter the CPU packages and DRAM, too.

    Raises:
        HardwareError: If there is no GPU, or a counter may not be read.
    """

    def __init__(self, gpus: Sequence[Board], device: str = "cuda:0", *, cpu: bool = False) -> None:
        if not gpus:
            raise HardwareError(
                "hardware.gpus holds no GPU, so there is none to meter; name some, such as "
                "hardware.gpus=1, or choose another hardware=..."
            )
        packages, dram = _rapl_zones() if cpu else ([], False)
        self._gpus = tuple(gpus)
        self._cpu = cpu
        self._window = _Window(gpus=self._gpus, cpu_indices=packages, device=device)
        boards = "GPU board" if len(gpus) == 1 else f"{len(gpus)} GPU boards"
        names = " + ".join(dict.fromkeys(board.name for board in gpus))
        self.provenance = Provenance(
            kind="measured",
            meter="NVML energy counter" + (" + RAPL" if cpu else ""),
            version=_zeus_version(),
            scope=f"{boards} + {_rapl_scope(dram=dram)}" if cpu else boards,
            device=names if device.startswith("cuda") else device_model(device),
            host=hostname(),
            uncertainty="about 5 % by board; the counter moves every 100 ms",
            resolution_s=_NVML_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window.

        Raises:
            HardwareError: If a counter cannot be read, or is not that of the GPU that trains.
        """
        time_s, measured = self._window.stop()
        gpus_j = tuple(measured.gpu_energy[i] for i in range(len(self._gpus)))
        cpu_j, dram_j = _rapl_joules(measured) if self._cpu else (None, None)
        return Energy(time_s, sum(gpus_j), cpu_j, dram_j, gpus_j)


class RaplMeter(_ZeusMeter):
    """Energy counters of the CPU packages (and DRAM where there are any), through Zeus.

    Scope: whole packages, neighbours' work included. Never the platform zone (psys), which
    contains the packages.

    Args:
        device: The resolved device that trains, for provenance.

    Raises:
        HardwareError: If there are no counters, or they may not be read.
    """

    def __init__(self, device: str = "cpu") -> None:
        packages, dram = _rapl_zones()
        self._window = _Window(cpu_indices=packages, device=device)
        self.provenance = Provenance(
            kind="measured",
            meter="RAPL",
            version=_zeus_version(),
            scope=_rapl_scope(dram=dram),
            device=device_model(device),
            host=hostname(),
            uncertainty="follows the plug on Intel; modelled on some AMD processors; trials that "
            "run at the same time each book the whole package",
            resolution_s=_RAPL_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window."""
        time_s, measured = self._window.stop()
        cpu_j, dram_j = _rapl_joules(measured)
        return Energy(time_s, cpu_j=cpu_j, dram_j=dram_j)


class AmdMeter(_ZeusMeter):
    """Energy counter of an AMD GPU, by Zeus' own path. Untested: no such machine was at hand.

    Args:
        device: The resolved device that trains.

    Raises:
        HardwareError: If Zeus finds no AMD GPU that counts energy.
    """

    def __init__(self, device: str = "cuda:0") -> None:
        index = int(device.partition(":")[2] or 0)
        with _refusals("AMD GPUs cannot be metered", "choose hardware=estimate"):
            from zeus.device import get_gpus
            from zeus.device.gpu.nvidia import NVIDIAGPUs

            gpus = get_gpus()
            if isinstance(gpus, NVIDIAGPUs):
                raise HardwareError("Zeus finds NVIDIA GPUs, not AMD's; choose hardware=nvidia")
            name: str = gpus.get_name(index)
            counts = gpus.supports_get_total_energy_consumption(index)
        if not counts:
            raise HardwareError(f"{name} has no energy counter; choose hardware=estimate")
        self._window = _Window(amd_index=index, cpu_indices=[], device=device)
        self.provenance = Provenance(
            kind="measured",
            meter="AMD SMI energy counter (untested)",
            version=_zeus_version(),
            scope="GPU board",
            device=name,
            host=hostname(),
            uncertainty="untested path of Zeus: compare it with another meter first",
            resolution_s=_NVML_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window."""
        time_s, measured = self._window.stop()
        return Energy(time_s, gpu_j=sum(measured.gpu_energy.values()))


class SocMeter(_ZeusMeter):
    """Apple silicon and Jetson modules, by Zeus' own path. Untested: none was at hand.

    Args:
        device: The resolved device that trains.
        chip: Name that the chip must have, such as "M1 Max"; None: any.

    Raises:
        HardwareError: If Zeus finds no such chip.
    """

    def __init__(self, device: str = "mps", chip: str | None = None) -> None:
        if chip is not None and chip not in cpu_model():
            raise HardwareError(
                f"this machine is no {chip}, but {cpu_model()}; choose hardware=soc for what Zeus "
                "reads, or hardware=auto"
            )
        remedy = "Apple silicon needs the package zeus-apple-silicon; or choose hardware=estimate"
        with _refusals("this machine is no chip whose energy Zeus reads", remedy):
            from zeus.device import get_soc

            kind = type(get_soc()).__name__
        self._window = _Window(cpu_indices=[], device=device)
        self.provenance = Provenance(
            kind="measured",
            meter=f"{kind} counters (untested)",
            version=_zeus_version(),
            scope="CPU + GPU + DRAM of the chip",
            device=device_model(device),
            host=hostname(),
            uncertainty="untested path of Zeus: compare it with another meter first",
            resolution_s=_NVML_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window.

        Raises:
            HardwareError: If the chip tells of no energy at all.
        """
        time_s, measured = self._window.stop()
        chip = measured.soc_energy

        def part_j(*names: str) -> float | None:
            told = [getattr(chip, name, None) for name in names]
            parts = [each / 1000 for each in told if each is not None]
            return sum(parts) if parts else None

        gpu_j = part_j("gpu_mj", "gpu_sram_mj", "gpu_energy_mj")
        cpu_j = part_j("cpu_total_mj", "cpu_energy_mj")
        dram_j = part_j("dram_mj")
        if gpu_j is None and cpu_j is None:
            raise HardwareError("the chip told of no energy; choose hardware=estimate")
        return Energy(time_s, gpu_j, cpu_j, dram_j)


class _Window:
    """One Zeus window with a monotonic clock beside it: Zeus' own can step back.

    Args:
        gpus: NVIDIA GPUs to meter.
        amd_index: Or an AMD GPU, as Zeus counts.
        cpu_indices: RAPL zones to meter, as Zeus counts.
        device: The device that trains, whose pending work is waited for.
    """

    _KEY = "energyopt"

    def __init__(
        self,
        *,
        gpus: Sequence[Board] = (),
        amd_index: int | None = None,
        cpu_indices: list[int],
        device: str,
    ) -> None:
        self._gpus = gpus
        self._device = device
        self._checked = False
        self._began_s = 0.0
        gpu_indices = list(range(len(gpus))) if amd_index is None else [amd_index]
        if amd_index is None and not gpus:
            gpu_indices = []
        self._remedy = "choose hardware=estimate"
        if gpus or cpu_indices:
            self._remedy = NVML_REMEDY if gpus else _RAPL_REMEDY
        with _refusals("the energy counters cannot be opened", self._remedy):
            from zeus.monitor import ZeusMonitor

            if gpus:
                _show_zeus(gpus)
            self._monitor = ZeusMonitor(gpu_indices=gpu_indices, cpu_indices=cpu_indices)
        self.start()  # refuses now what cannot be read; and RAPL's watchers start here
        self.stop()

    def start(self) -> None:
        self._wait()
        with _refusals("the energy counters cannot be read", self._remedy):
            self._monitor.begin_window(self._KEY, sync_execution=False, restart=True)
        self._began_s = time.perf_counter()

    def stop(self) -> tuple[float, Any]:  # zeus is untyped
        self._wait()
        reading = _refusals("the energy counters cannot be read", self._remedy)
        with reading, warnings.catch_warnings():
            # A window shorter than the counter's period may read 0 J; `run_trial` looks at the
            # whole training, and short trainings are flagged.
            warnings.filterwarnings("ignore", "The energy consumption of one or more GPUs")
            measured = self._monitor.end_window(self._KEY, sync_execution=False)
        return time.perf_counter() - self._began_s, measured

    def _wait(self) -> None:
        """Wait for pending GPU work: it belongs to the window in which it was begun.

        Not by Zeus, whose numbers of GPUs are not torch's, and which refuses a torch for CPUs.
        """
        torch = sys.modules.get("torch")
        if torch is not None and self._device == "mps":
            torch.mps.synchronize()
        if torch is None or not torch.cuda.is_initialized():
            return
        on_cuda = self._device.startswith("cuda")
        one = [self._device if on_cuda else torch.cuda.current_device()]
        for device in range(torch.cuda.device_count()) if len(self._gpus) > 1 else one:
            torch.cuda.synchronize(device)
        if self._gpus and on_cuda and not self._checked:
            self._check_device(str(torch.cuda.get_device_properties(self._device).uuid))
            self._checked = True

    def _check_device(self, uuid: str) -> None:
        metered = [board.uuid for board in self._gpus]
        if not any(uuid in each for each in metered):
            raise HardwareError(
                f"{self._device} is GPU {uuid}, but {', '.join(metered)} are metered: CUDA and "
                "NVML count GPUs in different orders; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )


def _show_zeus(gpus: Sequence[Board]) -> None:
    """Let Zeus see these GPUs, as 0, 1, ...

    It remembers what it saw first, and reads no UUIDs in CUDA_VISIBLE_DEVICES.
    """
    import zeus.device.gpu

    before = os.environ.get(VARIABLE)
    set_visible([str(board.index) for board in gpus])
    try:
        zeus.device.gpu._gpus = None  # noqa: SLF001  # there is no other way to have it look again
        zeus.device.gpu.get_gpus()
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _rapl_zones() -> tuple[list[int], bool]:
    """The CPU packages as Zeus counts them, and whether there is DRAM beside.

    Raises:
        HardwareError: If there are no counters, or they may not be read.
    """
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
    return packages, dram


def _rapl_scope(*, dram: bool) -> str:
    return "CPU packages + DRAM" if dram else "CPU packages"


def _rapl_joules(measured: Any) -> tuple[float, float | None]:
    """Energy of the packages and, where it is counted, of the DRAM, in J."""
    if not measured.cpu_energy:
        raise HardwareError(f"RAPL gave no energy for the window; {_RAPL_REMEDY}")
    dram = measured.dram_energy
    return sum(measured.cpu_energy.values()), sum(dram.values()) if dram else None


@contextmanager
def _refusals(what: str, remedy: str) -> Iterator[None]:
    """Turn what Zeus raises into a `HardwareError`."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    from zeus.exception import ZeusBaseError

    try:
        yield
    # Zeus lets plain ValueError and IndexError through for what CUDA_VISIBLE_DEVICES may hold.
    except (ZeusBaseError, ValueError, IndexError, RuntimeError, OSError) as error:
        if "zeusd" in str(error).lower():
            remedy = (
                "have zeusd started (with the groups gpu-read and gpu-control), or unset "
                "ZEUSD_SOCK_PATH and ZEUSD_HOST_PORT to measure without it"
            )
        raise HardwareError(f"{what}: {error}; {remedy}") from error


def _zeus_version() -> str:
    return f"zeus {importlib.metadata.version('zeus')}"
