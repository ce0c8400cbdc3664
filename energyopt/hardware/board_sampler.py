"""One reading of an NVIDIA board for its trace, in few calls of NVML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from energyopt.core.gpu_trace import TraceSample
from energyopt.errors import HardwareError
from energyopt.hardware.driver_remedies import NVML_REMEDY
from energyopt.hardware.nvml import Board

THERMAL = 0x20 | 0x40
"""NVML's reasons for lower clocks, by software or by the board: it is too hot."""

POWER_BRAKE = 0x80
"""NVML's reason for lower clocks: a signal from outside, such as that of a power supply."""

_MHZ = 1e6
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


class BoardSampler:
    """Reads the state of one board.

    A value that its driver once refused is not asked for again.

    Args:
        board: The board.

    Raises:
        HardwareError: If it does not answer.
    """

    def __init__(self, board: Board) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._board = board
        self._refused: set[str] = set()
        try:
            self._handle: Any = pynvml.nvmlDeviceGetHandleByIndex(board.index)
        except pynvml.NVMLError as error:
            raise HardwareError(f"{board}: {error}; {NVML_REMEDY}") from error

    def read(self, time_s: Callable[[], float], gpu: int) -> TraceSample:
        """Return a sample without its processes and the limit that the trial holds.

        Args:
            time_s: Returns the time; asked when the counter is read.
            gpu: Position of the board in the trial.

        Raises:
            HardwareError: If the counter cannot be read, such as of a GPU that is lost.
        """
        nvml, handle = self._nvml, self._handle
        try:
            counter_mj = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except nvml.NVMLError as error:
            raise HardwareError(f"{self._board}: {error}; {NVML_REMEDY}") from error
        read_s = time_s()
        requested_w = self._ask("nvmlDeviceGetPowerManagementLimit", 1e-3)
        limit_w = self._ask("nvmlDeviceGetEnforcedPowerLimit", 1e-3)
        reasons = (self._ask(name, 1) for name in _REASONS)  # the first is of newer drivers
        throttle = next((reason for reason in reasons if reason is not None), None)
        return TraceSample(
            time_s=read_s,
            gpu=gpu,
            counter_j=counter_mj / 1000,
            power_w=self._ask("nvmlDeviceGetPowerUsage", 1e-3),
            limit_w=requested_w if limit_w is None else limit_w,
            requested_w=requested_w,
            temperature_c=self._ask("nvmlDeviceGetTemperature", 1, nvml.NVML_TEMPERATURE_GPU),
            sm_clock_hz=self._ask("nvmlDeviceGetClockInfo", _MHZ, nvml.NVML_CLOCK_SM),
            memory_clock_hz=self._ask("nvmlDeviceGetClockInfo", _MHZ, nvml.NVML_CLOCK_MEM),
            throttle=None if throttle is None else int(throttle),
        )

    def _ask(self, name: str, unit: float, *arguments: Any) -> float | None:
        if name in self._refused:
            return None
        query = getattr(self._nvml, name, None)
        try:
            return None if query is None else query(self._handle, *arguments) * unit
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            self._refused.add(name)
        except self._nvml.NVMLError:  # for this once
            pass
        return None
