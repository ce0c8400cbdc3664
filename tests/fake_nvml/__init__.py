"""Pretend NVIDIA GPUs: a real `libnvidia-ml.so.1` under real Zeus and real pynvml.

It proves the plumbing (units, indices, errors, limits that outlive a process), not physics.

    library = fake_nvml.build(folder)  # once a session
    with fake_nvml.installed(library, tmp_path, gpus=2) as fake:
        fake.demand(0, 250)   # W
        fake.advance(10)      # s
        fake.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.GPU_IS_LOST)

In this process pynvml is handed the library; a subprocess finds it with `fake.environment`.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

NAME = "Fake H200"
IDLE_W = 50
LIMIT_W = 300

# What NVML returns.
UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
LIB_RM_VERSION_MISMATCH = 18
UNKNOWN = 999

UNPRIVILEGED = "FAKE_NVML_UNPRIVILEGED"
"""The environment variable with which one process alone may set nothing."""

_HOPPER = 9
_FOREVER = 2**63 - 1
_LIBRARY = "libnvidia-ml.so.1"
_STATE = "FAKE_NVML_STATE"


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 64),
        *((name, ctypes.c_int64) for name in ("architecture", "temperature_c", "persistence")),
        ("process", ctypes.c_int64),
        ("more_processes", ctypes.c_int64 * 7),
        *(
            (name, ctypes.c_int64)
            for name in (
                *("mig", "virtualization", "clock_mhz", "memory_clock_mhz", "memory_mib"),
                *("min_mw", "max_mw", "default_mw", "limit_mw"),
                *("idle_mw", "demand_mw", "static_mw", "period_ns", "since_ns"),
            )
        ),
        *(
            (name, ctypes.c_double)
            for name in ("counter_mj", "ticked_mj", "heat_c", "warming_c_per_w", "warming_s")
        ),
        *((name, ctypes.c_int64) for name in ("throttle", "told_mw")),
    )


class _Failure(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_char * 56),
        *((name, ctypes.c_int64) for name in ("code", "gpu", "after", "until", "seen")),
    )


class _Change(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("gpu", "what", "value", "pid"))


class _State(ctypes.Structure):
    _fields_ = (
        ("gpus", ctypes.c_int64),
        ("virtual_clock", ctypes.c_int64),
        ("now_ns", ctypes.c_int64),
        ("unprivileged", ctypes.c_int64),
        ("failures", _Failure * 16),
        ("changed", ctypes.c_int64),
        ("changes", _Change * 512),
        ("gpu", _Gpu * 8),
    )


class Change(NamedTuple):
    """A setter that succeeded: a limit in W, or persistence as 0 or 1, and by which process."""

    gpu: int
    what: Literal["limit", "persistence"]
    value: float
    pid: int


def build(folder: Path) -> Path:
    """Compile the library; without a compiler skip, but not in CI."""
    import pytest

    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("the fake NVML needs a C compiler")
        pytest.skip("the fake NVML needs a C compiler")
    library = folder / _LIBRARY
    source = Path(__file__).with_name("fake_nvml.c")
    # No soname: another library's search for the real one must not end at this.
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", library, source, "-lm"], check=True)
    return library


def speed(gpu: int = 0) -> float:
    """How fast a GPU's work goes at its present limit, as a part of its best.

    For the training loops of tests, in any process that has `FakeNvml.environment`.
    """
    now: float = _library(Path(os.environ[_STATE]).with_name(_LIBRARY)).fake_speed(gpu)
    return now


@contextmanager
def working(gpu: int = 0, *, demand_w: float = 280, static_w: float = 130) -> Iterator[None]:
    """Let a GPU work while this runs, in any process that has `FakeNvml.environment`.

    Args:
        gpu: Which.
        demand_w: What the work draws if no limit holds it back.
        static_w: The part of it that does not depend on the clock.
    """
    library = _library(Path(os.environ[_STATE]).with_name(_LIBRARY))
    library.fake_set_load(gpu, round(1000 * demand_w), round(1000 * static_w))
    try:
        yield
    finally:
        library.fake_set_load(gpu, 0, 0)


class FakeNvml:
    """Control of the pretend GPUs.

    Args:
        library: What `build` made.
        folder: Where their memory is a file, next to a separate copy of the library.
        gpus: Their number.
        period_s: How often their energy counters move; 0 is always.
        real_clock: Let time pass by itself; else `advance` it.
    """

    def __init__(
        self, library: Path, folder: Path, gpus: int = 1, period_s: float = 0, *, real_clock: bool
    ) -> None:
        state = folder / "gpus"
        state.write_bytes(bytes(ctypes.sizeof(_State)))
        with state.open("r+b") as file:
            self.state = _State.from_buffer(mmap.mmap(file.fileno(), 0))
        copy = folder / _LIBRARY
        if not copy.exists():  # else it may be in use
            shutil.copy(library, copy)
        self.library = _library(copy)
        assert self.library.fake_state_size() == ctypes.sizeof(_State)
        self._file = state
        self.environment = {_STATE: str(state), "LD_LIBRARY_PATH": str(folder)}
        self.state.gpus = gpus
        self.state.virtual_clock = not real_clock
        for gpu in self.state.gpu[:gpus]:
            gpu.name, gpu.architecture, gpu.temperature_c = NAME.encode(), _HOPPER, 40
            gpu.clock_mhz, gpu.memory_clock_mhz, gpu.memory_mib = 1980, 3201, 143_771
            gpu.min_mw, gpu.idle_mw = 100_000, 1000 * IDLE_W
            gpu.max_mw = gpu.default_mw = gpu.limit_mw = 1000 * LIMIT_W
            gpu.period_ns = round(period_s * 1e9)
            gpu.counter_mj = gpu.ticked_mj = 1e6
            gpu.since_ns = time.monotonic_ns() if real_clock else 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other thread or process count energy meanwhile: it would undo a change of it."""
        with self._file.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def advance(self, time_s: float) -> None:
        """Let virtual time pass."""
        self.state.now_ns += round(time_s * 1e9)

    def demand(self, gpu: int, power_w: float) -> None:
        """Set the power that a GPU's load demands; limit and idle power bound it."""
        self.physics(gpu, demand_w=power_w, static_w=self.state.gpu[gpu].static_mw / 1000)

    def physics(self, gpu: int = 0, *, demand_w: float, static_w: float) -> None:
        """Let a limit slow the load down, so that some limit is best.

        Of its draw P the load gets P - static, the clock's cube: `speed`. A unit of work costs
        P / speed, which is least at P = 1.5 * static.
        """
        self.library.fake_set_load(gpu, round(1000 * demand_w), round(1000 * static_w))

    def warming(self, gpu: int = 0, *, c_per_w: float, time_s: float) -> None:
        """Let power above idle warm a GPU, and its end cool it, with a time constant."""
        state = self.state.gpu[gpu]
        self.demand(gpu, state.demand_mw / 1000)  # not warmed by what was before
        state.warming_c_per_w, state.warming_s = c_per_w, time_s

    def processes(self, gpu: int, *pids: int) -> None:
        """Which processes compute on a GPU from now on; at most 8."""
        first, *more = (*pids, *[0] * (8 - len(pids)))
        self.state.gpu[gpu].process, self.state.gpu[gpu].more_processes = first, tuple(more)

    def uuid(self, gpu: int = 0) -> str:
        """The name that a GPU keeps wherever it is listed."""
        return f"GPU-fa4e0000-0000-4000-8000-{gpu:012x}"

    def unprivileged(self, yes: bool = True) -> None:
        """Forbid setting anything; `UNPRIVILEGED` does so for a single process."""
        self.state.unprivileged = yes

    def fail(
        self,
        call: str,
        code: int,
        *,
        after: int = 0,
        times: int | None = None,
        gpu: int | None = None,
    ) -> None:
        """Let an NVML function return an error; this replaces what was said of it before.

        Args:
            call: Its name in the library, with its version (`nvmlDeviceGetCount_v2`); "*" is any.
            code: The error; 0 heals.
            after: How many calls succeed before.
            times: How many calls fail; None is all from then on.
            gpu: The only GPU where it does; None is all, and calls that name no GPU.
        """
        assert call == "*" or hasattr(self.library, call), f"the fake NVML has no {call}"
        name, where = call.encode(), -1 if gpu is None else gpu
        for failure in self.state.failures:
            if failure.call == name and where in (-1, failure.gpu):
                failure.call = b""
        if code:
            slot = next(failure for failure in self.state.failures if not failure.call)
            slot.code, slot.gpu, slot.after, slot.seen = code, where, after, 0
            slot.until = _FOREVER if times is None else after + times
            slot.call = name

    def limit_w(self, gpu: int = 0) -> float:
        """The present power limit."""
        limit_mw: int = self.state.gpu[gpu].limit_mw
        return limit_mw / 1000

    def changes(self) -> list[Change]:
        """Return the last 512 values that were set, in order, equal ones included."""
        changed, ring = self.state.changed, self.state.changes
        last = [ring[i % len(ring)] for i in range(max(0, changed - len(ring)), changed)]
        return [
            Change(c.gpu, "persistence", c.value, c.pid)
            if c.what
            else Change(c.gpu, "limit", c.value / 1000, c.pid)
            for c in last
        ]

    def limits_set(self, gpu: int = 0) -> list[float]:
        """The limits that were set on a GPU, in order, by whomever."""
        return [c.value for c in self.changes() if (c.gpu, c.what) == (gpu, "limit")]


@contextmanager
def installed(
    library: Path, folder: Path, gpus: int = 1, period_s: float = 0, *, real_clock: bool = False
) -> Iterator[FakeNvml]:
    """Pretend GPUs in this process, and none of its own meanwhile."""
    import pynvml
    import pytest
    import zeus.device.gpu.nvidia

    # What an earlier test left of Zeus must not shut down the library of this one.
    zeus.device.gpu.nvidia.NVIDIAGPUs.__del__ = lambda _: None
    fake = FakeNvml(library, folder, gpus, period_s, real_clock=real_clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_STATE, fake.environment[_STATE])
        for name in ("CUDA_VISIBLE_DEVICES", "ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT", UNPRIVILEGED):
            patch.delenv(name, raising=False)
        patch.setattr(pynvml, "nvmlLib", fake.library)
        patch.setattr(pynvml, "_nvmlLib_refcount", 0)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        forget_devices()
        try:
            yield fake
        finally:
            forget_devices()


def forget_devices() -> None:
    """Let Zeus look again for devices: it remembers what it found first."""
    import zeus.device.cpu
    import zeus.device.gpu
    import zeus.device.soc

    zeus.device.gpu._gpus = zeus.device.cpu._cpus = zeus.device.soc._soc = None
    zeus.device.gpu.nvml_is_available.cache_clear()
    zeus.device.gpu.amdsmi_is_available.cache_clear()
    zeus.device.cpu.rapl_is_available.cache_clear()


@functools.cache
def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.fake_speed.restype = ctypes.c_double
    library.fake_set_load.argtypes = (ctypes.c_uint, ctypes.c_int64, ctypes.c_int64)
    return library
