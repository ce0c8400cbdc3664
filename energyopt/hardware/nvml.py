"""NVIDIA boards through NVML: enumeration, state and power limits.

NVML reports mW, mJ and MHz; here they become W, J and Hz. Energy windows are in `zeus.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from energyopt.core.conditions import Gpu
from energyopt.errors import HardwareError, PowerLimitRefusedError
from energyopt.hardware.cuda_visible_devices import VARIABLE, visible_positions
from energyopt.hardware.driver_remedies import is_jetson, nvml_remedy
from energyopt.hardware.rapl_daemon import quieten

T = TypeVar("T")

PERMISSION_REMEDY = (
    "power limits take root, or CAP_SYS_ADMIN in a container (docker run --cap-add SYS_ADMIN), or "
    "zeusd (an administrator starts it; ZEUSD_SOCK_PATH names its socket)"
)
_MHZ = 1e6
_MAX_COUNTER_GAP_MJ = 5e6  # 5 s at 1 kW between two reads of one counter
_READ_BACK_W = 1.0  # boards round limits


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU."""

    pid: int  # on the driver's host; in a container it may have another
    name: str  # its program; empty if the driver does not report it

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})" if self.name else f"process {self.pid}"


class Board:
    """One NVIDIA GPU.

    Args:
        index: Its number among all that NVML lists.

    Raises:
        HardwareError: If NVML lists no such GPU, or it does not answer.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._is_daemon_checked = False
        with _hardware_errors(f"GPU {index}"):
            import pynvml  # large: a machine without GPUs does not need it

            self._nvml: Any = pynvml
            self._handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.uuid: str = pynvml.nvmlDeviceGetUUID(self._handle)
            self.name: str = pynvml.nvmlDeviceGetName(self._handle)

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name})"

    # Its energy counter --------------------------------------------------------------------

    def meter_problem(self) -> str | None:
        """Say why its energy cannot be metered; None if it can."""
        mig_mode = _ask(lambda: self._nvml.nvmlDeviceGetMigMode(self._handle))
        if mig_mode is not None and mig_mode[0] == self._nvml.NVML_DEVICE_MIG_ENABLE:
            return "it is cut into MIG slices, which share one energy counter (nvidia-smi -mig 0)"
        virtualization = _ask(lambda: self._nvml.nvmlDeviceGetVirtualizationMode(self._handle))
        if virtualization == self._nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            return "it is a virtual GPU, which has no energy counter of its own"
        architecture = _ask(lambda: self._nvml.nvmlDeviceGetArchitecture(self._handle))
        if architecture is not None and architecture < self._nvml.NVML_DEVICE_ARCH_VOLTA:
            return "it has no energy counter (Volta and newer have one)"
        try:
            counter_mj = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            if is_jetson(self.name):
                return "it is the GPU of a Jetson module, which has no energy counter"
            return f"its energy counter cannot be read: {error}"
        return None if counter_mj > 0 else "its energy counter stays at 0"

    def counter_j(self) -> float:
        """Return the energy since its driver was loaded, in J (Volta and newer)."""
        with _hardware_errors(str(self)):
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000

    # Its state -----------------------------------------------------------------------------

    def power_w(self) -> float | None:
        """Return the power draw, in W.

        Averaged over 1 s on Ampere and newer except GA100 (A100), which reports instantaneous
        power like older ones (NVML API Reference, `nvmlDeviceGetPowerUsage`). The error is
        about 5 % of the reading and differs by board (Yang et al., SC'24, arXiv:2312.02741).
        """
        return _ask_scaled(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle), 1e-3)

    def temperature_c(self) -> float | None:
        """Return the temperature of the GPU, in degC; None if it cannot be read."""
        nvml, handle = self._nvml, self._handle
        sensor = nvml.NVML_TEMPERATURE_GPU
        reading_c = _ask_scaled(lambda: nvml.nvmlDeviceGetTemperatureV(handle, sensor))
        if reading_c is None:  # older drivers
            reading_c = _ask_scaled(lambda: nvml.nvmlDeviceGetTemperature(handle, sensor))
        return reading_c

    def processes(self) -> list[GpuProcess] | None:
        """Return the processes that compute on it; None if the driver does not list them."""
        nvml = self._nvml
        unlisted = (
            nvml.NVMLError_NotSupported,
            nvml.NVMLError_FunctionNotFound,
            nvml.NVMLError_NoPermission,
            nvml.NVMLError_ArgumentVersionMismatch,
            nvml.NVMLError_Deprecated,
        )
        # By version: pynvml's call without one raises no NVMLError where the driver lacks it.
        versions = (  # drivers before 510 have the second, those before 450 neither
            nvml.nvmlDeviceGetComputeRunningProcesses_v3,
            nvml.nvmlDeviceGetComputeRunningProcesses_v2,
        )
        with _hardware_errors(f"the processes on {self}"):
            for list_processes in versions:
                with suppress(*unlisted):
                    running = list_processes(self._handle)
                    return [GpuProcess(p.pid, _process_name(p.pid)) for p in running]
        return None

    def record(self) -> Gpu:
        """Return its identity, limits and clocks, as they are set now."""
        nvml, handle = self._nvml, self._handle
        limits = _ask(lambda: nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle))
        low_w, high_w = (None, None) if limits is None else (mw / 1000 for mw in limits)
        persistence = _ask(lambda: nvml.nvmlDeviceGetPersistenceMode(handle))

        requested_w = _ask_scaled(lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle), 1e-3)
        enforced_w = _ask_scaled(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle), 1e-3)

        def clock_hz(read: Callable[..., float], clock: int) -> float | None:
            return _ask_scaled(lambda: read(handle, clock), _MHZ)

        return Gpu(
            name=self.name,
            uuid=self.uuid,
            index=self.index,
            limit_w=requested_w if enforced_w is None else enforced_w,
            requested_limit_w=requested_w,
            min_limit_w=low_w,
            max_limit_w=high_w,
            default_limit_w=_ask_scaled(
                lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle), 1e-3
            ),
            persistence=None if persistence is None else bool(persistence),
            sm_clock_hz=clock_hz(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            max_sm_clock_hz=clock_hz(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM),
            memory_clock_hz=clock_hz(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        )

    # Its power limit -----------------------------------------------------------------------

    def limit_w(self) -> float:
        """Return the power limit that the driver was asked for, in W; `record` has that in force.

        Raises:
            PowerLimitRefusedError: If the GPU has no power limit.
        """
        with _limit_errors(self):
            return float(self._nvml.nvmlDeviceGetPowerManagementLimit(self._handle)) / 1000

    def limits_w(self) -> tuple[float, float]:
        """Return the lowest and the highest limit that it accepts, in W.

        Raises:
            PowerLimitRefusedError: If the GPU has no power limit.
        """
        with _limit_errors(self):
            low, high = self._nvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
        return low / 1000, high / 1000

    def set_limit_w(self, limit_w: float) -> None:
        """Set the power limit, and read it back.

        Raises:
            PowerLimitRefusedError: If it is refused, or not in force afterwards.
        """
        self._send_limit(round(1000 * limit_w))
        in_force_w = self.limit_w()
        if abs(in_force_w - limit_w) > _READ_BACK_W:
            raise PowerLimitRefusedError(
                f"{self} was told {limit_w:g} W and has {in_force_w:g} W; is something else "
                "setting its limit?"
            )

    def limit_problem(self) -> str | None:
        """Say why its limit may not be set; None if it may.

        Tries it by setting the limit in force through NVML: Zeus' `set_power_management_limit`
        skips a call that changes nothing, so it would not report a refusal.
        """
        try:
            self.limits_w()
            self._send_limit(round(1000 * self.limit_w()))
        except PowerLimitRefusedError as refusal:
            return str(refusal)
        return None

    def _send_limit(self, limit_mw: int) -> None:
        from zeus.utils.zeusd import ZeusdConfig

        with _limit_errors(self):
            config = ZeusdConfig.from_env()
            if config is None:
                self._nvml.nvmlDeviceSetPowerManagementLimit(self._handle, limit_mw)
                return
            daemon = _connect(config)
            if not daemon.can_control_gpu:
                raise PowerLimitRefusedError(
                    f"zeusd at {config.endpoint} may not set power limits: an administrator has to "
                    "start it as root, with the group gpu-control"
                )
            self._check_daemon(daemon)
            daemon.set_power_limit([self.index], limit_mw, block=True)

    def _check_daemon(self, daemon: Any) -> None:
        """Refuse a zeusd that numbers GPUs differently, as it may outside our container."""
        if self._is_daemon_checked:
            return
        if not daemon.can_read_gpu:
            raise PowerLimitRefusedError(
                "zeusd does not let GPUs be read, so it cannot be checked that it means the same "
                "by their numbers; an administrator has to start it with the group gpu-read, too"
            )
        daemon_mj = daemon.get_gpu_energy([self.index])[self.index]
        local_mj = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        # Both count since the driver was loaded: one board agrees, two hardly ever do.
        if abs(daemon_mj - local_mj) > _MAX_COUNTER_GAP_MJ:
            raise PowerLimitRefusedError(
                f"zeusd means another GPU by {self.index} than {self.name} {self.uuid}: their "
                "energy counters differ; run zeusd where GPUs have the same numbers, or unset "
                "ZEUSD_SOCK_PATH"
            )
        self._is_daemon_checked = True


def all_boards() -> list[Board]:
    """Return the GPUs that NVML lists and that answer: a lost one must not stop the others.

    Raises:
        HardwareError: If there is no NVML, or no GPU answers.
    """
    boards, errors = [], []
    for index in range(count_boards()):
        try:
            boards.append(Board(index))
        except HardwareError as error:
            errors.append(error)
    if errors and not boards:
        raise errors[0]
    return boards


def count_boards() -> int:
    """Return the number of GPUs that NVML lists, lost ones included.

    Raises:
        HardwareError: If there is no NVML.
    """
    with _hardware_errors("NVIDIA GPUs cannot be read"):
        import pynvml

        pynvml.nvmlInit()  # in each process again: a fork does not inherit an initialised NVML
        return int(pynvml.nvmlDeviceGetCount())


def has_driver() -> bool:
    """Return True if an NVIDIA driver is installed, working or not."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return False
    except pynvml.NVMLError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Zeusd:
    """The daemon that sets power limits for users without the permission."""

    endpoint: str  # its socket, or host and port
    groups: tuple[str, ...]  # what this user may do: "gpu-read", "gpu-control", "cpu-read"
    open_to_all: bool = False  # everyone who can reach it may do so


def zeusd() -> Zeusd | None:
    """Return the daemon that the environment names; None if it names none.

    Raises:
        HardwareError: If it does not answer.
    """
    from zeus.exception import ZeusBaseError
    from zeus.utils.zeusd import ZeusdConfig

    config = ZeusdConfig.from_env()
    if config is None:
        return None
    try:
        daemon = _connect(config)
    except ZeusBaseError as error:
        raise HardwareError(
            f"{error}; have an administrator start zeusd, or unset ZEUSD_SOCK_PATH and "
            "ZEUSD_HOST_PORT"
        ) from error
    permissions = {
        "gpu-read": daemon.can_read_gpu,
        "gpu-control": daemon.can_control_gpu,
        "cpu-read": daemon.can_read_cpu,
    }
    socket = config.socket_path
    is_reachable = socket is None or bool(Path(socket).stat().st_mode & stat.S_IWOTH)
    return Zeusd(
        config.endpoint,
        tuple(group for group, allowed in permissions.items() if allowed),
        open_to_all=is_reachable and not daemon.auth_required,
    )


def visible_boards(boards: Sequence[Board]) -> list[Board]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, in its order.

    Raises:
        HardwareError: If it names none, or MIG slices.
    """
    variable = os.environ.get(VARIABLE)
    by_index = {board.index: board for board in boards}
    # An index counts lost GPUs, too.
    uuids = [
        by_index[i].uuid if i in by_index else "" for i in range(max(by_index, default=-1) + 1)
    ]
    positions = [i for i in visible_positions(uuids, variable) if i in by_index]
    if not positions:
        listing = ", ".join(f"{board.index} {board.uuid}" for board in boards) or "none"
        reason = f"{VARIABLE}={variable} names no GPU" if variable is not None else "there is none"
        raise HardwareError(
            f"no GPU can be metered: {reason} (of: {listing}); "
            f"unset or correct it, or choose another hardware=..."
        )
    return [by_index[position] for position in positions]


@cache
def _connect(config: Any) -> Any:  # zeus is untyped
    """Return the connection to zeusd; cached, since it cannot be closed."""
    from zeus.utils.zeusd import ZeusdClient

    quieten()
    return ZeusdClient(config)


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None if it is not reported."""
    import pynvml

    return _ask(lambda: str(pynvml.nvmlSystemGetDriverVersion()))


def _process_name(pid: int) -> str:
    import pynvml

    command = _ask(lambda: str(pynvml.nvmlSystemGetProcessName(pid)))
    return Path(command.split()[0]).name if command and command.strip() else ""


def _ask(query: Callable[[], T]) -> T | None:
    """Return the answer of a driver; None if it refuses or does not support the query."""
    import pynvml

    try:
        return query()
    except pynvml.NVMLError:
        return None


def _ask_scaled(query: Callable[[], float], unit: float = 1.0) -> float | None:
    answer = _ask(query)
    return None if answer is None else answer * unit


@contextmanager
def _hardware_errors(what: str) -> Iterator[None]:
    """Turn errors of NVML into a `HardwareError`."""
    import pynvml

    try:
        yield
    except pynvml.NVMLError as error:
        text = str(error).removesuffix(".")
        raise HardwareError(f"{what}: {text}; {nvml_remedy(error.value)}") from error


@contextmanager
def _limit_errors(board: Board) -> Iterator[None]:
    """Turn errors of NVML and zeusd about a power limit into a `PowerLimitRefusedError`."""
    import httpx  # zeusd's client lets its errors through
    import pynvml
    from zeus.exception import ZeusBaseError

    try:
        yield
    except pynvml.NVMLError_NoPermission as error:
        raise PowerLimitRefusedError(
            f"the power limit of {board} may not be set: {PERMISSION_REMEDY}"
        ) from error
    except pynvml.NVMLError_NotSupported as error:
        raise PowerLimitRefusedError(
            f"{board} has no power limit that can be set (laptops and virtual GPUs have none)"
        ) from error
    except (pynvml.NVMLError, ZeusBaseError, httpx.HTTPError) as error:
        raise PowerLimitRefusedError(f"the power limit of {board}: {error}") from error
