"""Pretend NVIDIA GPUs: a real `libnvidia-ml.so.1` under real Zeus and real pynvml.

It proves the plumbing (units, indices, errors, limits that outlive a process), not physics.

    library = fake_nvml.build(folder)  # once a session
    with fake_nvml.installed(library, tmp_path, gpus=2) as fake:
        fake.demand(0, 250)   # W
        fake.advance(10)      # s
        fake.fail("nvmlDeviceGetTotalEnergyConsumption", 15)

In this process pynvml is handed the library; a subprocess finds it with `fake.environment`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "Fake H200"
IDLE_W = 50
LIMIT_W = 300

NO_PERMISSION = 4
GPU_IS_LOST = 15

_HOPPER = 9
_LIBRARY = "libnvidia-ml.so.1"
_STATE = "FAKE_NVML_STATE"


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 64),
        *(
            (name, ctypes.c_int64)
            for name in (
                *("architecture", "temperature_c", "persistence", "process"),
                *("min_mw", "max_mw", "default_mw", "limit_mw"),
                *("idle_mw", "demand_mw", "period_ns", "since_ns"),
            )
        ),
        ("counter_mj", ctypes.c_double),
    )


class _Failure(ctypes.Structure):
    _fields_ = (("call", ctypes.c_char * 56), ("code", ctypes.c_int64))


class _State(ctypes.Structure):
    _fields_ = (
        ("gpus", ctypes.c_int64),
        ("virtual_clock", ctypes.c_int64),
        ("now_ns", ctypes.c_int64),
        ("failures", _Failure * 8),
        ("gpu", _Gpu * 8),
    )


def build(folder: Path) -> Path:
    """Compile the library; without a compiler skip, but not in CI."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("the fake NVML needs a C compiler")
        pytest.skip("the fake NVML needs a C compiler")
    library = folder / _LIBRARY
    source = Path(__file__).with_name("fake_nvml.c")
    # No soname: another library's search for the real one must not end at this.
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    return library


class FakeNvml:
    """Control of the pretend GPUs.

    Args:
        library: What `build` made.
        folder: Where their memory is a file, beside a copy of the library of its own.
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
        self.library = ctypes.CDLL(str(shutil.copy(library, folder / _LIBRARY)))
        assert self.library.fake_state_size() == ctypes.sizeof(_State)
        self.environment = {_STATE: str(state), "LD_LIBRARY_PATH": str(folder)}
        self.state.gpus = gpus
        self.state.virtual_clock = not real_clock
        for gpu in self.state.gpu[:gpus]:
            gpu.name, gpu.architecture, gpu.temperature_c = NAME.encode(), _HOPPER, 40
            gpu.min_mw, gpu.idle_mw = 100_000, 1000 * IDLE_W
            gpu.max_mw = gpu.default_mw = gpu.limit_mw = 1000 * LIMIT_W
            gpu.period_ns = round(period_s * 1e9)
            gpu.counter_mj = 1e6
            gpu.since_ns = time.monotonic_ns() if real_clock else 0

    def advance(self, time_s: float) -> None:
        """Let virtual time pass."""
        self.state.now_ns += round(time_s * 1e9)

    def demand(self, gpu: int, power_w: float) -> None:
        """What a GPU's load wants from now on; the limit and the idle draw bound it."""
        self.library.fake_set_demand(gpu, round(1000 * power_w))

    def fail(self, call: str, code: int) -> None:
        """Let an NVML function return an error from now on; 0 heals it."""
        slot = next(f for f in self.state.failures if f.call in (call.encode(), b""))
        slot.call, slot.code = call.encode(), code


@contextmanager
def installed(
    library: Path, folder: Path, gpus: int = 1, period_s: float = 0, *, real_clock: bool = False
) -> Iterator[FakeNvml]:
    """Pretend GPUs in this process, and none of its own meanwhile."""
    import pynvml

    fake = FakeNvml(library, folder, gpus, period_s, real_clock=real_clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_STATE, fake.environment[_STATE])
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
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
