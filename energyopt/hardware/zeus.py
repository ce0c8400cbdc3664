"""Energy windows of GPUs and chips through Zeus, and of CPU packages by `rapl`.

Zeus turns missing sensors into silent zeros; here they become errors. Nothing but this file,
`nvml.py`, `board_sampler.py`, `rapl_daemon.py` and `power_limit_policy.py` imports zeus or
pynvml.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import VARIABLE, set_visible
from energyopt.hardware.driver_remedies import CPU_REMEDY, NVML_REMEDY
from energyopt.hardware.host import cpu_model, device_model, hostname
from energyopt.hardware.nvml import Board
from energyopt.hardware.powercap import INSTEAD
from energyopt.hardware.rapl import PackageWindow
from energyopt.hardware.rapl_daemon import quieten

# NVML's energy counter is updated about every 100 ms (ML.ENERGY, "Thermally Stable Profiling",
# 2026). A window is off by the difference of two uniform phases, with a standard deviation of
# period / sqrt(6): 0.8 % of a window of 5 s, 0.07 % of 60 s. In addition the power sensors of A100
# and H100 sample only 25 % of the time (Yang et al., SC'24, arXiv:2312.02741), which averages out
# unless the work repeats in step with the counter.
_NVML_PERIOD_S = 0.1
_RAPL_PERIOD_S = 0.001  # Intel SDM vol. 3, RAPL: energy status is updated about every 1 ms


def preload() -> None:
    """Import the libraries of a GPU's meter (2 s, mostly scikit-learn), once for many trials."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    import zeus.monitor  # noqa: F401


class _ZeusMeter:
    """Base of all meters that use Zeus."""

    _window: _Window
    provenance: Provenance

    def start(self) -> None:
        """Open a window, after pending GPU work has finished."""
        self._window.start()


class NvmlMeter(_ZeusMeter):
    """Energy counters of a trial's NVIDIA GPUs, through Zeus; with `cpu` RAPL's, too.

    E = counter at the end - counter at the start, of whole GPU boards (and CPU packages). Their
    power sensors err by about 5 % of the reading, with a sign that depends on the board, so the
    error does not cancel between boards (Yang et al., SC'24, arXiv:2312.02741).

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
        self._gpus = tuple(gpus)
        with _not_estimated():
            self._packages = PackageWindow() if cpu else None
        self.reads_packages = cpu
        self._window = _Window(gpus=self._gpus, device=device)
        boards = "GPU board" if len(gpus) == 1 else f"{len(gpus)} GPU boards"
        names = " + ".join(dict.fromkeys(board.name for board in gpus))
        self.provenance = _measured(
            meter="NVML energy counter" + (" + RAPL" if cpu else ""),
            scope=f"{boards} + {self._packages.scope}" if self._packages else boards,
            device=names if device.startswith("cuda") else device_model(device),
            uncertainty="about 5 % by board; the counter moves every 100 ms",
            resolution_s=_NVML_PERIOD_S,
        )

    def start(self) -> None:
        """Open a window, after pending GPU work has finished."""
        super().start()
        if self._packages is not None:
            with _not_estimated():
                self._packages.start()

    def stop(self) -> Energy:
        """Close the window.

        Raises:
            HardwareError: If a counter cannot be read, or does not belong to the training GPU.
        """
        time_s, measured = self._window.stop()
        with _not_estimated():
            packages = Energy() if self._packages is None else self._packages.stop()
        gpus_j = tuple(measured.gpu_energy[i] for i in range(len(self._gpus)))
        return Energy(time_s, sum(gpus_j), packages.cpu_j, packages.dram_j, gpus_j)

    def check_moving(self) -> None:
        """Check that the counter of no CPU package stands still."""
        if self._packages is not None:
            with _not_estimated():
                self._packages.check_moving()


class RaplMeter:
    """Energy counters of the CPU packages (and DRAM if it has counters); see `rapl`.

    Scope: whole packages, including the work of other processes. RAPL follows the power at the
    plug closely on Intel (Khan et al., "RAPL in Action", ACM TOMPECS 2018); on AMD Zen 2 it is a
    model (Schoene et al., "Energy Efficiency Aspects of the AMD Zen 2 Architecture", 2021).

    Args:
        device: The resolved device that trains, for provenance.

    Raises:
        HardwareError: If there are no counters, or they may not be read.
    """

    reads_packages = True
    """Its user leases the packages: their counters are of all that runs on them."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._packages = PackageWindow()
        self.provenance = Provenance(
            kind="measured",
            meter="RAPL",
            version=f"{self._packages.source}, {platform.system()} {platform.release()}",
            scope=self._packages.scope,
            device=device_model(device),
            host=hostname(),
            uncertainty="follows the plug on Intel; modelled on some AMD processors; whatever else "
            "runs on the processors is in it",
            resolution_s=_RAPL_PERIOD_S,
        )

    def start(self) -> None:
        """Open a window, after pending GPU work has finished."""
        _synchronize(self._device)
        self._packages.start()

    def stop(self) -> Energy:
        """Close the window.

        Raises:
            HardwareError: If a counter cannot be read, or could not be trusted meanwhile.
        """
        _synchronize(self._device)
        return self._packages.stop()

    def check_moving(self) -> None:
        """Check that the counter of no CPU package stands still."""
        self._packages.check_moving()


class AmdMeter(_ZeusMeter):
    """Energy counter of an AMD GPU, through Zeus. Untested: no such machine was available.

    Args:
        device: The resolved device that trains.

    Raises:
        HardwareError: If Zeus finds no AMD GPU that counts energy.
    """

    def __init__(self, device: str = "cuda:0") -> None:
        index = int(device.partition(":")[2] or 0)
        with _hardware_errors("AMD GPUs cannot be metered", CPU_REMEDY):
            from zeus.device import get_gpus
            from zeus.device.gpu.nvidia import NVIDIAGPUs

            gpus = get_gpus()
            if isinstance(gpus, NVIDIAGPUs):
                raise HardwareError("Zeus finds NVIDIA GPUs, not AMD's; choose hardware=nvidia")
            name: str = gpus.get_name(index)
            has_counter = gpus.supports_get_total_energy_consumption(index)
        if not has_counter:
            raise HardwareError(f"{name} has no energy counter; {CPU_REMEDY}")
        self._window = _Window(amd_index=index, device=device)
        self.provenance = _measured(
            meter="AMD SMI energy counter (untested)",
            scope="GPU board",
            device=name,
            uncertainty="untested path of Zeus: compare it with another meter first",
            resolution_s=_NVML_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window."""
        time_s, measured = self._window.stop()
        return Energy(time_s, gpu_j=sum(measured.gpu_energy.values()))


class SocMeter(_ZeusMeter):
    """Apple silicon and Jetson modules, through Zeus. Untested: none was available.

    Args:
        device: The resolved device that trains.
        chip: Required name of the chip, such as "M1 Max"; None accepts any.

    Raises:
        HardwareError: If Zeus finds no such chip.
    """

    def __init__(self, device: str = "mps", chip: str | None = None) -> None:
        if chip is not None and chip not in cpu_model():
            raise HardwareError(
                f"this machine is no {chip}, but {cpu_model()}; choose hardware=soc for what Zeus "
                "reads, or hardware=auto"
            )
        remedy = (
            "Apple silicon needs the package zeus-apple-silicon, a Jetson module its INA3221 "
            f"sensor; or {CPU_REMEDY}"
        )
        with _hardware_errors("this machine is no chip whose energy Zeus reads", remedy):
            from zeus.device import get_soc

            kind = type(get_soc()).__name__
        self._window = _Window(device=device)
        self.start()
        first = self.stop()
        parts = {"CPU": first.cpu_j, "GPU": first.gpu_j, "DRAM": first.dram_j}
        metered = " + ".join(part for part, joules in parts.items() if joules is not None)
        self.provenance = _measured(
            meter=f"{kind} counters (untested)",
            scope=f"{metered} of the chip",
            device=device_model(device),
            uncertainty="untested path of Zeus: compare it with another meter first",
            resolution_s=_NVML_PERIOD_S,
        )

    def stop(self) -> Energy:
        """Close the window.

        Raises:
            HardwareError: If the chip reports no energy at all.
        """
        time_s, measured = self._window.stop()
        chip = measured.soc_energy

        def part_j(*names: str) -> float | None:
            values_mj = [getattr(chip, name, None) for name in names]
            values_j = [value / 1000 for value in values_mj if value is not None]
            return sum(values_j) if values_j else None

        gpu_j = part_j("gpu_mj", "gpu_sram_mj", "gpu_energy_mj")
        cpu_j = part_j("cpu_total_mj", "cpu_energy_mj")
        dram_j = part_j("dram_mj")
        if gpu_j is None and cpu_j is None:
            raise HardwareError(f"the chip reported no energy; {CPU_REMEDY}")
        return Energy(time_s, gpu_j, cpu_j, dram_j)


class _Window:
    """One Zeus window, timed by a monotonic clock: Zeus uses `time.time()`, which can step back.

    It meters NVIDIA GPUs or an AMD GPU, whose index is that of Zeus, or a chip.
    """

    _KEY = "energyopt"

    def __init__(
        self,
        *,
        gpus: Sequence[Board] = (),
        amd_index: int | None = None,
        device: str,
    ) -> None:
        self._gpus = gpus
        self._device = device
        self._is_device_checked = False
        self._began_s = 0.0
        gpu_indices = list(range(len(gpus))) if amd_index is None else [amd_index]
        if amd_index is None and not gpus:
            gpu_indices = []
        self._remedy = NVML_REMEDY if gpus else CPU_REMEDY
        with _hardware_errors("the energy counters cannot be opened", self._remedy):
            from zeus.monitor import ZeusMonitor

            if gpus:
                _reset_zeus(gpus)
            # approx_instant_energy stays off: it would replace a reading of 0 J by power x time.
            self._monitor = ZeusMonitor(gpu_indices=gpu_indices, cpu_indices=[])
        self.start()  # fails now if a counter cannot be read
        self.stop()

    def start(self) -> None:
        self._synchronize()
        with _hardware_errors("the energy counters cannot be read", self._remedy):
            self._monitor.begin_window(self._KEY, sync_execution=False, restart=True)
        self._began_s = time.perf_counter()

    def stop(self) -> tuple[float, Any]:  # zeus is untyped
        self._synchronize()
        errors = _hardware_errors("the energy counters cannot be read", self._remedy)
        with errors, warnings.catch_warnings():
            # A window shorter than the counter's period may read 0 J; `run_trial` checks the whole
            # training, and short trainings are flagged.
            warnings.filterwarnings("ignore", "The energy consumption of one or more GPUs")
            measured = self._monitor.end_window(self._KEY, sync_execution=False)
        return time.perf_counter() - self._began_s, measured

    def _synchronize(self) -> None:
        has_begun = _synchronize(self._device, all_gpus=len(self._gpus) > 1)
        is_checkable = has_begun and self._gpus and self._device.startswith("cuda")
        if is_checkable and not self._is_device_checked:
            torch = sys.modules["torch"]
            self._check_device(str(torch.cuda.get_device_properties(self._device).uuid))
            self._is_device_checked = True

    def _check_device(self, uuid: str) -> None:
        metered = [board.uuid for board in self._gpus]
        if not any(uuid in metered_uuid for metered_uuid in metered):
            raise HardwareError(
                f"{self._device} is GPU {uuid}, but {', '.join(metered)} are metered: CUDA and "
                "NVML count GPUs in different orders; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )


def _synchronize(device: str, *, all_gpus: bool = False) -> bool:
    """Wait for pending GPU work: it belongs to the window in which it was launched.

    Zeus' own `sync_execution` numbers GPUs as NVML does, not as torch, and raises an error if torch
    has no CUDA.

    Returns:
        Whether this process uses CUDA.
    """
    torch = sys.modules.get("torch")
    if torch is not None and device == "mps":
        torch.mps.synchronize()
    if torch is None or not torch.cuda.is_initialized():
        return False
    on_cuda = device.startswith("cuda")
    devices: Sequence[str | int] = [device if on_cuda else torch.cuda.current_device()]
    if all_gpus:
        devices = range(torch.cuda.device_count())
    for gpu in devices:
        torch.cuda.synchronize(gpu)
    return True


def _reset_zeus(gpus: Sequence[Board]) -> None:
    """Let Zeus see only these GPUs, as 0, 1, ...

    Zeus reads CUDA_VISIBLE_DEVICES once per process, and accepts only indices in it.
    """
    import zeus.device.gpu

    previous = os.environ.get(VARIABLE)
    set_visible([str(board.index) for board in gpus])
    try:
        zeus.device.gpu._gpus = None  # noqa: SLF001  # the only way to make it enumerate again
        for gpu in zeus.device.gpu.get_gpus().gpus:
            # Zeus goes by the architecture, which old drivers do not tell; the counter was read.
            gpu._supportsGetTotalEnergyConsumption = True  # noqa: SLF001
    finally:
        if previous is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = previous


@contextmanager
def _not_estimated() -> Iterator[None]:
    """Replace the advice to estimate in errors of the CPU's counters: that would miss the GPUs."""
    try:
        yield
    except HardwareError as error:
        message = str(error).replace(INSTEAD, "set hardware.cpu=false")
        raise HardwareError(message) from error


@contextmanager
def _hardware_errors(what: str, remedy: str) -> Iterator[None]:
    """Turn errors of Zeus into a `HardwareError`."""
    quieten()
    from zeus.exception import ZeusBaseError

    try:
        yield
    # Zeus raises plain ValueError and IndexError for some values of CUDA_VISIBLE_DEVICES.
    except (ZeusBaseError, ValueError, IndexError, RuntimeError, OSError) as error:
        if "zeusd" in str(error).lower():
            remedy = (
                "have zeusd started (with the groups gpu-read and gpu-control), or unset "
                "ZEUSD_SOCK_PATH and ZEUSD_HOST_PORT to measure without it"
            )
        raise HardwareError(f"{what}: {error}; {remedy}") from error


def _measured(**facts: Any) -> Provenance:
    """Return the provenance of energies that Zeus measures on this machine."""
    version = f"zeus {importlib.metadata.version('zeus')}"
    return Provenance(kind="measured", version=version, host=hostname(), **facts)
