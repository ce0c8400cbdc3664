"""The pretend GPUs do what is written of them, as real pynvml and real Zeus see it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests import fake_nvml, fake_zeusd
from tests.fake_nvml import Change, FakeNvml

ROOT = Path(__file__).resolve().parents[2]
LIMIT = "nvmlDeviceGetPowerManagementLimit"


@pytest.fixture
def fake(gpus: FakeNvml) -> FakeNvml:
    pynvml.nvmlInit()
    return gpus


def gpu(index: int = 0) -> Any:  # pynvml is untyped
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def set_limit(watts: float, index: int = 0) -> None:
    pynvml.nvmlDeviceSetPowerManagementLimit(gpu(index), round(1000 * watts))


def energy_j(index: int = 0) -> float:
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu(index)) / 1000)


def outcomes(calls: int, index: int = 0) -> str:
    """Of calls in a row: which succeed (.) and which fail (x)."""

    def outcome() -> str:
        try:
            pynvml.nvmlDeviceGetPowerManagementLimit(gpu(index))
        except pynvml.NVMLError_Timeout:
            return "x"
        return "."

    return "".join(outcome() for _ in range(calls))


HEAD = "import pynvml as n; n.nvmlInit(); g = n.nvmlDeviceGetHandleByIndex(0)\n"


@contextmanager
def other(fake: FakeNvml, code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with the same GPUs."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | fake.environment | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(fake: FakeNvml, code: str, **environment: str) -> str:
    with other(fake, code, **environment) as process:
        out, _ = process.communicate()
        assert process.returncode == 0
    return out.strip()


# What it says of itself --------------------------------------------------------------------


def test_errors_have_the_numbers_of_nvml():
    for name in (
        *("UNINITIALIZED", "INVALID_ARGUMENT", "NOT_SUPPORTED", "NO_PERMISSION", "NOT_FOUND"),
        *("DRIVER_NOT_LOADED", "TIMEOUT", "FUNCTION_NOT_FOUND", "GPU_IS_LOST", "UNKNOWN"),
    ):
        assert getattr(fake_nvml, name) == getattr(pynvml, f"NVML_ERROR_{name}")


def test_a_gpu_is_found_by_its_uuid(fake: FakeNvml):
    assert fake.uuid(0) != fake.uuid(1)
    assert pynvml.nvmlDeviceGetUUID(gpu(1)) == fake.uuid(1)
    found = pynvml.nvmlDeviceGetHandleByUUID(fake.uuid(1))
    assert pynvml.nvmlDeviceGetIndex(found) == 1
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID(fake.uuid(2))


def test_mig_virtualization_and_versions(fake: FakeNvml):
    assert pynvml.nvmlDeviceGetMigMode(gpu()) == [0, 0]
    fake.state.gpu[0].mig, fake.state.gpu[1].mig = 1, -1
    assert pynvml.nvmlDeviceGetMigMode(gpu()) == [1, 1]
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetMigMode(gpu(1))
    fake.state.gpu[0].virtualization = pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU
    assert pynvml.nvmlDeviceGetVirtualizationMode(gpu()) == 2
    assert pynvml.nvmlSystemGetDriverVersion() == "580.00.fake"
    assert pynvml.nvmlSystemGetNVMLVersion() == "13.580.00.fake"


def test_structures_are_those_of_pynvml(fake: FakeNvml):
    plain = pynvml.nvmlDeviceGetMemoryInfo(gpu())
    second = pynvml.nvmlDeviceGetMemoryInfo(gpu(), version=pynvml.nvmlMemory_v2)
    assert plain.total == second.total == plain.free + plain.used == 143_771 << 20
    power = (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU)
    memory = (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_MEMORY)
    fields = pynvml.nvmlDeviceGetFieldValues(gpu(), [power, memory, power])
    assert [f.nvmlReturn for f in fields] == [0, fake_nvml.NOT_SUPPORTED, 0]
    assert [f.value.uiVal for f in fields] == [50_000, 0, 50_000]
    # What is newer than pynvml's structure is refused, as the driver does.
    newer = pynvml.c_nvmlTemperature_v1_t(version=pynvml.nvmlTemperature_v1 + 4)
    mismatch = fake.library.nvmlDeviceGetTemperatureV(gpu(), ctypes.byref(newer))
    assert mismatch == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


@pytest.mark.parametrize("pids", [(), (4711,), (4711, 4712), tuple(range(1, 9))])
def test_the_processes_of_a_gpu(fake: FakeNvml, pids: tuple[int, ...]):
    fake.processes(1, 1, 2, 3)
    fake.processes(1, *pids)
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu(1))
    assert [process.pid for process in running] == list(pids)
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(gpu(0)) == []


def test_processes_have_names(fake: FakeNvml):
    ours = Path("/proc/self/cmdline").read_text().partition("\0")[0]
    assert pynvml.nvmlSystemGetProcessName(os.getpid()) == ours
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlSystemGetProcessName(2**31 - 1)


# Errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "times", "expected"),
    [(0, None, "xxxxx"), (2, None, "..xxx"), (0, 2, "xx..."), (1, 3, ".xxx.")],
)
def test_errors_begin_and_end(fake: FakeNvml, after: int, times: int | None, expected: str):
    fake.fail(LIMIT, fake_nvml.TIMEOUT, after=after, times=times)
    assert outcomes(5) == expected


def test_errors_heal_and_are_replaced(fake: FakeNvml):
    for _ in range(20):  # more than there is room for
        fake.fail(LIMIT, fake_nvml.TIMEOUT, after=1)
        assert outcomes(2) == ".x"
    fake.fail(LIMIT, 0)
    assert outcomes(2) == ".."


def test_errors_of_one_gpu(fake: FakeNvml):
    fake.fail(LIMIT, fake_nvml.TIMEOUT, after=1, gpu=1)
    assert (outcomes(3, 0), outcomes(3, 1)) == ("...", ".xx")
    fake.fail(LIMIT, fake_nvml.TIMEOUT, gpu=0)
    assert (outcomes(1, 0), outcomes(1, 1)) == ("x", "x")
    fake.fail(LIMIT, 0, gpu=1)
    assert (outcomes(1, 0), outcomes(1, 1)) == ("x", ".")


def test_errors_reach_other_processes_and_count_with_them(fake: FakeNvml):
    fake.fail(LIMIT, fake_nvml.TIMEOUT, after=2, times=1)
    said(fake, HEAD + "n.nvmlDeviceGetPowerManagementLimit(g)")
    assert outcomes(3) == ".x."


def test_a_lost_gpu_answers_nothing(fake: FakeNvml):
    lost = gpu(1)
    fake.fail("*", fake_nvml.GPU_IS_LOST, gpu=1)
    for call in (pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetPowerUsage):
        call(gpu(0))
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            call(lost)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        gpu(1)


def test_an_error_of_a_call_that_nobody_makes_is_a_mistake(fake: FakeNvml):
    with pytest.raises(AssertionError, match=r"has no nvmlDeviceGetCount$"):
        fake.fail("nvmlDeviceGetCount", fake_nvml.UNKNOWN)


def test_zeus_sees_the_errors(fake: FakeNvml):
    from zeus.device import get_gpus
    from zeus.device.gpu.common import ZeusGPULostError

    gpus = get_gpus()
    assert gpus.get_power_management_limit(1) == 300_000
    fake.fail(LIMIT, fake_nvml.GPU_IS_LOST)
    with pytest.raises(ZeusGPULostError):
        gpus.get_power_management_limit(1)


# Setting -----------------------------------------------------------------------------------


def refused(fake: FakeNvml) -> bool:
    """Return True if setters are refused, even those that would change nothing."""
    verdicts = set()
    for call, value in (
        (pynvml.nvmlDeviceSetPowerManagementLimit, 200_000),
        (pynvml.nvmlDeviceSetPowerManagementLimit, fake.state.gpu[0].limit_mw),
        (pynvml.nvmlDeviceSetPersistenceMode, 1),
        (pynvml.nvmlDeviceSetPersistenceMode, fake.state.gpu[0].persistence),
    ):
        try:
            call(gpu(), value)
        except pynvml.NVMLError_NoPermission:
            verdicts.add(True)
        else:
            verdicts.add(False)
    (verdict,) = verdicts
    return verdict


def test_nobody_may_set_anything_on_an_unprivileged_machine(fake: FakeNvml):
    fake.unprivileged()
    assert refused(fake)
    assert fake.changes() == []
    fake.unprivileged(False)
    assert not refused(fake)


def test_one_process_may_set_nothing(fake: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    code = HEAD + "n.nvmlDeviceSetPowerManagementLimit(g, 150000)"
    monkeypatch.setenv(fake_nvml.UNPRIVILEGED, "1")
    assert refused(fake)
    with other(fake, code) as process:
        assert process.wait() == 1
    monkeypatch.delenv(fake_nvml.UNPRIVILEGED)
    said(fake, code)
    assert fake.limits_set() == [150]


def test_limits_are_bounded(fake: FakeNvml):
    for watts in (99.999, 300.001):
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            set_limit(watts)
    assert pynvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu()) == [100_000, 300_000]
    set_limit(120)
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu()) == 120_000
    assert pynvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu()) == 300_000


def test_what_was_set_is_known_with_who_set_it(fake: FakeNvml):
    set_limit(200)
    set_limit(200)
    set_limit(150, 1)
    pynvml.nvmlDeviceSetPersistenceMode(gpu(), 1)
    pid = int(
        said(
            fake,
            HEAD + "import os; print(os.getpid())\nn.nvmlDeviceSetPowerManagementLimit(g, 123456)",
        )
    )
    assert fake.limits_set() == [200, 200, 123.456]
    assert fake.limits_set(1) == [150]
    assert fake.limit_w() == 123.456
    assert fake.changes()[-2:] == [
        Change(0, "persistence", 1, os.getpid()),
        Change(0, "limit", 123.456, pid),
    ]


def test_of_many_changes_the_last_are_known(fake: FakeNvml):
    for i in range(600):
        set_limit(100 + i / 10)
    assert fake.limits_set() == pytest.approx([100 + i / 10 for i in range(88, 600)])


def test_a_limit_outlives_a_killed_process(fake: FakeNvml):
    fake.demand(0, 250)
    code = HEAD + (
        "n.nvmlDeviceSetPowerManagementLimit(g, 150000)\n"
        "print('set', flush=True)\ninput()\nn.nvmlDeviceSetPowerManagementLimit(g, 300000)"
    )
    with other(fake, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "set\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert fake.changes() == [Change(0, "limit", 150, process.pid)]
    before_j = energy_j()
    fake.advance(10)
    assert energy_j() - before_j == pytest.approx(1500)


HAMMER = """
import itertools, os, time
before, until = 0, time.monotonic() + SECONDS
print("begins", flush=True)
for i in itertools.count():
    n.nvmlDeviceSetPowerManagementLimit(g, 100000 + 1000 * (i % 200))
    now = n.nvmlDeviceGetTotalEnergyConsumption(g)
    assert now >= before, (before, now)
    assert 0 <= n.nvmlDeviceGetTemperatureV(g, 0) < 80
    before = now
    if time.monotonic() > until:
        break
"""


@pytest.mark.parametrize("period_s", [0, 0.002])
def test_counters_never_fall_though_many_change_limits_and_die(
    nvml_library: Path, tmp_path: Path, period_s: float
):
    fake = FakeNvml(nvml_library, tmp_path, period_s=period_s, real_clock=True)
    fake.demand(0, 1000)
    fake.warming(c_per_w=0.1, time_s=0.1)
    with (
        other(fake, HEAD + HAMMER.replace("SECONDS", "0.4")) as first,
        other(fake, HEAD + HAMMER.replace("SECONDS", "0.4")) as second,
        other(fake, HEAD + HAMMER.replace("SECONDS", "60")) as killed,
    ):
        assert killed.stdout is not None
        assert killed.stdout.readline()
        killed.kill()
        assert (first.wait(), second.wait()) == (0, 0)
    assert fake.state.changed > 100
    assert {change.pid for change in fake.changes()} <= {first.pid, second.pid, killed.pid}


# Energy, speed and heat --------------------------------------------------------------------


def test_a_coarse_counter_moves_at_its_ticks_alone(nvml_library: Path, tmp_path: Path):
    with fake_nvml.installed(nvml_library, tmp_path, period_s=0.1) as fake:
        pynvml.nvmlInit()
        begin_j = energy_j()
        fake.advance(0.15)
        fake.demand(0, 250)
        set_limit(150)
        assert energy_j() - begin_j == pytest.approx(5)
        fake.advance(0.04)
        assert energy_j() - begin_j == pytest.approx(5)
        fake.advance(0.02)
        assert energy_j() - begin_j == pytest.approx(7.5 + 7.5)


@pytest.mark.parametrize("static_w", [80, 100, 120])
def test_some_limit_is_best(fake: FakeNvml, static_w: float):
    fake.physics(demand_w=290, static_w=static_w)
    costs_j = {}
    for watts in range(100, 301, 10):
        set_limit(watts)
        before_j = energy_j()
        fake.advance(1 / fake_nvml.speed())
        costs_j[watts] = energy_j() - before_j
    assert min(costs_j, key=costs_j.__getitem__) == 1.5 * static_w
    assert costs_j[300] == pytest.approx(290)


def test_limits_slow_down_and_the_clock_shows_it(fake: FakeNvml):
    fake.physics(1, demand_w=280, static_w=80)
    clock = pynvml.NVML_CLOCK_SM
    assert fake_nvml.speed(1) == 1
    assert pynvml.nvmlDeviceGetClockInfo(gpu(1), clock) == 1980
    set_limit(105, 1)
    assert fake_nvml.speed(1) == pytest.approx(0.5)
    assert pynvml.nvmlDeviceGetClockInfo(gpu(1), clock) == 990
    assert pynvml.nvmlDeviceGetMaxClockInfo(gpu(1), clock) == 1980
    assert pynvml.nvmlDeviceGetClockInfo(gpu(1), pynvml.NVML_CLOCK_MEM) == 3201
    fake.physics(1, demand_w=280, static_w=200)
    assert fake_nvml.speed(1) == 0.05
    assert fake_nvml.speed(0) == 1


def test_a_loop_elsewhere_knows_its_speed_without_pytest(fake: FakeNvml):
    fake.physics(demand_w=280, static_w=80)
    set_limit(105)
    code = (
        "import sys; from tests import fake_nvml; print(fake_nvml.speed(), 'pytest' in sys.modules)"
    )
    speed, has_pytest = said(fake, code).split()
    assert float(speed) == pytest.approx(0.5)
    assert has_pytest == "False"


def test_a_loaded_gpu_warms_up_and_cools_down(fake: FakeNvml):
    def celsius() -> int:
        legacy = pynvml.nvmlDeviceGetTemperature(gpu(), pynvml.NVML_TEMPERATURE_GPU)
        assert legacy == pynvml.nvmlDeviceGetTemperatureV(gpu(), pynvml.NVML_TEMPERATURE_GPU)
        return int(legacy)

    fake.demand(0, 250)
    fake.advance(100)
    assert celsius() == 40
    fake.warming(c_per_w=0.2, time_s=30)
    assert celsius() == 40
    fake.advance(30)
    assert celsius() == 65  # 1 - 1/e of the 40 to come
    fake.advance(1000)
    assert celsius() == 80
    fake.demand(0, 0)
    fake.advance(30)
    assert celsius() == 55
    fake.advance(1000)
    assert celsius() == 40


# zeusd -------------------------------------------------------------------------------------


def test_zeusd_sets_what_this_process_may_not(
    fake: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from zeus.device import get_gpus
    from zeus.device.exception import ZeusdError

    monkeypatch.setenv(fake_nvml.UNPRIVILEGED, "1")
    with fake_zeusd.running(tmp_path / "zeusd", fake.environment) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        fake_nvml.forget_devices()
        gpus = get_gpus()
        gpus.set_power_management_limit(1, 200_000)
        gpus.set_persistence_mode(1, enabled=True)
        assert gpus.get_persistence_mode(1) is True
        with pytest.raises(ZeusdError, match="Invalid Argument"):
            gpus.set_power_management_limit(1, 1_000)
        fake.unprivileged()
        with pytest.raises(ZeusdError, match="Insufficient Permissions"):
            gpus.set_power_management_limit(1, 250_000)
    assert [change[:3] for change in fake.changes()] == [
        (1, "limit", 200),
        (1, "persistence", 1),
    ]
    assert os.getpid() not in {change.pid for change in fake.changes()}


def test_zeusd_reads_what_its_client_asks(fake: FakeNvml, tmp_path: Path):
    from zeus.utils.zeusd import ZeusdClient, ZeusdConfig

    fake.demand(1, 250)
    with fake_zeusd.running(tmp_path / "zeusd", fake.environment) as environment:
        client = ZeusdClient(ZeusdConfig.uds(environment["ZEUSD_SOCK_PATH"]))
        assert [info.name for info in client.gpus] == [fake_nvml.NAME] * 2
        assert client.can_control_gpu
        assert client.get_gpu_energy([0, 1]) == {0: 1_000_000, 1: 1_000_000}
        assert client.get_gpu_power().power_mw == {0: 50_000, 1: 250_000}
        assert client.get_power_limit([1]) == {1: 300_000}
        assert client.get_power_limit_constraints([1]) == {1: (100_000, 300_000)}
        assert client.get_persistence_mode() == {0: False, 1: False}
        assert client.get_time() > 0
        client.make_client().close()
        client._client.close()


def test_zeusd_without_control_is_refused(
    fake: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from zeus.device import get_gpus
    from zeus.device.exception import ZeusdError
    from zeus.device.gpu.common import ZeusGPUInitError
    from zeus.utils.zeusd import ZeusdClient

    socket = tmp_path / "zeusd"
    with fake_zeusd.running(socket, fake.environment, groups="gpu-read") as environment:
        monkeypatch.setenv("ZEUSD_SOCK_PATH", environment["ZEUSD_SOCK_PATH"])
        client = ZeusdClient()
        assert not client.can_control_gpu
        with pytest.raises(ZeusdError, match="not found"):
            client.set_power_limit([0], 200_000)
        client._client.close()
        fake_nvml.forget_devices()
        with pytest.raises(ZeusGPUInitError, match="gpu-control"):
            get_gpus()
    # In a separate process: httpcore leaves the unanswered socket open.
    code = (
        "from zeus.device import get_gpus\ntry: get_gpus()\nexcept Exception as e: print(repr(e))"
    )
    assert not socket.exists()
    assert "Cannot reach Zeusd" in said(fake, code, **environment)


# Building ----------------------------------------------------------------------------------


def test_without_a_compiler_ci_fails_and_others_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="compiler"):
        fake_nvml.build(tmp_path)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="compiler"):
        fake_nvml.build(tmp_path)
