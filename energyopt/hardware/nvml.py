"""NVIDIA boards through NVML: which there are, what state they are in, their power limits.

NVML speaks in mW and MHz; here they become W and Hz. Energy windows are Zeus': `zeus.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from energyopt.core.conditions import Gpu
from energyopt.errors import HardwareError, PowerLimitRefusedError
from energyopt.hardware.cuda_visible_devices import VARIABLE, visible_positions

T = TypeVar("T")

NVML_REMEDY = "check `nvidia-smi`, or choose hardware=estimate or hardware=rapl"
PERMISSION_REMEDY = (
    "power limits take root, or CAP_SYS_ADMIN in a container (docker run --cap-add SYS_ADMIN), or "
    "zeusd (an administrator starts it; ZEUSD_SOCK_PATH names its socket)"
)
_MHZ = 1e6
_DAEMON_AGREES_MJ = 5e6  # 5 s at 1 kW
_READ_BACK_W = 1.0  # boards round what they are told


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU.

    Attributes:
        pid: Its number, as the driver's host counts: in a container it may be another.
        name: Its program, where the driver tells.
    """

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})" if self.name else f"process {self.pid}"


class Board:
    """One NVIDIA GPU.

    Args:
        index: Its number among all that NVML lists.

    Raises:
        HardwareError: If NVML does not know it.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._daemon_agrees = False
        with _said(f"GPU {index}"):
            import pynvml

            self._handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.uuid: str = pynvml.nvmlDeviceGetUUID(self._handle)
            self.name: str = pynvml.nvmlDeviceGetName(self._handle)

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name})"

    # What it can count ---------------------------------------------------------------------

    def why_not_metered(self) -> str | None:
        """Why its energy cannot be told, in words; None if it can."""
        import pynvml

        mode = _told(lambda: pynvml.nvmlDeviceGetMigMode(self._handle))
        if mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            return "it is cut into MIG slices, which share one energy counter; switch MIG off"
        virtual = _told(lambda: pynvml.nvmlDeviceGetVirtualizationMode(self._handle))
        if virtual == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            return "it is a virtual GPU, which has no energy counter of its own"
        architecture = _told(lambda: pynvml.nvmlDeviceGetArchitecture(self._handle))
        if architecture is not None and architecture < pynvml.NVML_DEVICE_ARCH_VOLTA:
            return "it has no energy counter (Volta and newer have one)"
        try:
            counter_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except pynvml.NVMLError as error:
            return f"its energy counter cannot be read: {error}"
        return None if counter_mj > 0 else "its energy counter stays at 0"

    def counter_j(self) -> float:
        """Energy since its driver was loaded, in J."""
        import pynvml

        with _said(str(self)):
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000

    # What state it is in -------------------------------------------------------------------

    def power_w(self) -> float | None:
        """Power draw, averaged by the driver (over 1 s since Ampere), in W."""
        import pynvml

        return _scaled(lambda: pynvml.nvmlDeviceGetPowerUsage(self._handle), 1e-3)

    def temperature_c(self) -> float | None:
        """Temperature of the GPU, in degC; None where it is not told."""
        import pynvml

        sensor = pynvml.NVML_TEMPERATURE_GPU
        read = _scaled(lambda: pynvml.nvmlDeviceGetTemperatureV(self._handle, sensor))
        if read is None:  # older drivers
            read = _scaled(lambda: pynvml.nvmlDeviceGetTemperature(self._handle, sensor))
        return read

    def processes(self) -> list[GpuProcess] | None:
        """The processes that compute on it; None where the driver does not tell."""
        import pynvml

        untold = (
            pynvml.NVMLError_NotSupported,
            pynvml.NVMLError_FunctionNotFound,
            pynvml.NVMLError_NoPermission,
        )
        with _said(f"the processes on {self}"):
            try:
                running = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
            except untold:
                return None
        return [GpuProcess(each.pid, _process_name(each.pid)) for each in running]

    def record(self) -> Gpu:
        """What it is and how it is set."""
        import pynvml

        handle = self._handle
        limits = _told(lambda: pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle))
        low_w, high_w = (None, None) if limits is None else (mw / 1000 for mw in limits)
        persistence = _told(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle))

        def clock_hz(read: Callable[..., float], which: int) -> float | None:
            return _scaled(lambda: read(handle, which), _MHZ)

        return Gpu(
            name=self.name,
            uuid=self.uuid,
            index=self.index,
            limit_w=_scaled(lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle), 1e-3),
            min_limit_w=low_w,
            max_limit_w=high_w,
            default_limit_w=_scaled(
                lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle), 1e-3
            ),
            persistence=None if persistence is None else bool(persistence),
            sm_clock_hz=clock_hz(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
            max_sm_clock_hz=clock_hz(pynvml.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_SM),
            memory_clock_hz=clock_hz(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM),
        )

    # Its power limit -----------------------------------------------------------------------

    def limit_w(self) -> float:
        """The power limit in force, in W.

        Raises:
            PowerLimitRefusedError: If it has none.
        """
        import pynvml

        with _limit_said(self):
            return float(pynvml.nvmlDeviceGetPowerManagementLimit(self._handle)) / 1000

    def limits_w(self) -> tuple[float, float]:
        """The lowest and the highest limit that it takes, in W.

        Raises:
            PowerLimitRefusedError: If it has none.
        """
        import pynvml

        with _limit_said(self):
            low, high = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
        return low / 1000, high / 1000

    def set_limit_w(self, limit_w: float) -> None:
        """Set the power limit, and read it back.

        Args:
            limit_w: In W.

        Raises:
            PowerLimitRefusedError: If it is refused, or not in force then.
        """
        self._send_limit(round(1000 * limit_w))
        in_force_w = self.limit_w()
        if abs(in_force_w - limit_w) > _READ_BACK_W:
            raise PowerLimitRefusedError(
                f"{self} was told {limit_w:g} W and has {in_force_w:g} W; is something else "
                "setting its limit?"
            )

    def why_not_limited(self) -> str | None:
        """Why its limit may not be set, in words; None if it may.

        Asked by setting the limit that is in force: Zeus leaves out a call that changes
        nothing, and so would not hear of a refusal.
        """
        try:
            self.limits_w()
            self._send_limit(round(1000 * self.limit_w()))
        except PowerLimitRefusedError as refusal:
            return str(refusal)
        return None

    def _send_limit(self, limit_mw: int) -> None:
        import pynvml
        from zeus.utils.zeusd import ZeusdConfig

        with _limit_said(self):
            config = ZeusdConfig.from_env()
            if config is None:
                pynvml.nvmlDeviceSetPowerManagementLimit(self._handle, limit_mw)
                return
            daemon = _daemon(config)
            if not daemon.can_control_gpu:
                raise PowerLimitRefusedError(
                    f"zeusd at {config.endpoint} may not set power limits: an administrator has to "
                    "start it as root, with the group gpu-control"
                )
            self._check_daemon(daemon)
            daemon.set_power_limit([self.index], limit_mw, block=True)

    def _check_daemon(self, daemon: Any) -> None:
        """Refuse a zeusd that means another GPU by our number: in containers they may differ."""
        import pynvml

        if self._daemon_agrees:
            return
        if not daemon.can_read_gpu:
            raise PowerLimitRefusedError(
                "zeusd does not let GPUs be read, so it cannot be checked that it means the same "
                "by their numbers; an administrator has to start it with the group gpu-read, too"
            )
        theirs_mj = daemon.get_gpu_energy([self.index])[self.index]
        ours_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        # Both since the driver was loaded: no two boards are this close, one board always is.
        if abs(theirs_mj - ours_mj) > _DAEMON_AGREES_MJ:
            raise PowerLimitRefusedError(
                f"zeusd means another GPU by {self.index} than {self.name} {self.uuid}: their "
                "energy counters differ; run zeusd where GPUs have the same numbers, or unset "
                "ZEUSD_SOCK_PATH"
            )
        self._daemon_agrees = True


def all_boards() -> list[Board]:
    """All GPUs that NVML lists and that answer: one that is lost must not stop work on others.

    Raises:
        HardwareError: If there is no NVML, or no GPU answers.
    """
    boards, lost = [], []
    for index in range(count_boards()):
        try:
            boards.append(Board(index))
        except HardwareError as error:
            lost.append(error)
    if lost and not boards:
        raise lost[0]
    return boards


def count_boards() -> int:
    """How many GPUs NVML lists, lost ones included.

    Raises:
        HardwareError: If there is no NVML.
    """
    with _said("NVIDIA GPUs cannot be read"):
        import pynvml

        pynvml.nvmlInit()  # again in each process: what a fork inherits is not initialised
        return int(pynvml.nvmlDeviceGetCount())


def has_driver() -> bool:
    """Whether there is an NVIDIA driver at all, sound or not."""
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
    """The daemon that sets power limits for those who may not.

    Attributes:
        endpoint: Its socket, or host and port.
        groups: What it does for this user: of "gpu-read", "gpu-control" and "cpu-read".
        open_to_all: Whether it does that for everybody who can reach it.
    """

    endpoint: str
    groups: tuple[str, ...]
    open_to_all: bool = False


def zeusd() -> Zeusd | None:
    """The daemon that the environment names; None if it names none.

    Raises:
        HardwareError: If it does not answer.
    """
    from zeus.exception import ZeusBaseError
    from zeus.utils.zeusd import ZeusdConfig

    config = ZeusdConfig.from_env()
    if config is None:
        return None
    try:
        daemon = _daemon(config)
    except ZeusBaseError as error:
        raise HardwareError(
            f"{error}; have an administrator start zeusd, or unset ZEUSD_SOCK_PATH and "
            "ZEUSD_HOST_PORT"
        ) from error
    does = {
        "gpu-read": daemon.can_read_gpu,
        "gpu-control": daemon.can_control_gpu,
        "cpu-read": daemon.can_read_cpu,
    }
    socket = config.socket_path
    reachable = socket is None or bool(Path(socket).stat().st_mode & stat.S_IWOTH)
    return Zeusd(
        config.endpoint,
        tuple(group for group, may in does.items() if may),
        open_to_all=reachable and not daemon.auth_required,
    )


def visible_boards(boards: Sequence[Board]) -> list[Board]:
    """Those that CUDA_VISIBLE_DEVICES names, in its order.

    Raises:
        HardwareError: If it names none, or MIG slices.
    """
    variable = os.environ.get(VARIABLE)
    by_index = {board.index: board for board in boards}
    # A number counts lost ones, too.
    uuids = [
        by_index[i].uuid if i in by_index else "" for i in range(max(by_index, default=-1) + 1)
    ]
    positions = [i for i in visible_positions(uuids, variable) if i in by_index]
    if not positions:
        there = ", ".join(f"{board.index} {board.uuid}" for board in boards) or "none"
        named = f"{VARIABLE}={variable} names no GPU" if variable is not None else "there is none"
        raise HardwareError(
            f"no GPU can be metered: {named} (of: {there}); "
            f"unset or correct it, or choose another hardware=..."
        )
    return [by_index[position] for position in positions]


@cache
def _daemon(config: Any) -> Any:  # zeus is untyped
    """The connection to zeusd, which cannot be closed; one will do."""
    from zeus.utils.zeusd import ZeusdClient

    return ZeusdClient(config)


def driver_version() -> str | None:
    """Version of the NVIDIA driver; None if it is not told."""
    import pynvml

    return _told(lambda: str(pynvml.nvmlSystemGetDriverVersion()))


def _process_name(pid: int) -> str:
    import pynvml

    told = _told(lambda: str(pynvml.nvmlSystemGetProcessName(pid)))
    return Path(told.split()[0]).name if told and told.strip() else ""


def _told(ask: Callable[[], T]) -> T | None:
    """What a driver answers; None where it does not know the question."""
    import pynvml

    try:
        return ask()
    except pynvml.NVMLError:
        return None


def _scaled(ask: Callable[[], float], unit: float = 1.0) -> float | None:
    told = _told(ask)
    return None if told is None else told * unit


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Turn what NVML raises into a `HardwareError`."""
    import pynvml

    try:
        yield
    except pynvml.NVMLError as error:
        raise HardwareError(f"{what}: {error}; {NVML_REMEDY}") from error


@contextmanager
def _limit_said(board: Board) -> Iterator[None]:
    """Turn what NVML or zeusd say of a power limit into a `PowerLimitRefusedError`."""
    import httpx  # of zeusd's client, which lets its errors through
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
