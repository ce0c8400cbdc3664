"""The GPUs of a trial: which are chosen, and what is refused or flagged about them."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch
import yaml

from energyopt.core.energy import Energy
from energyopt.errors import (
    ConfigError,
    GpusBusyError,
    HardwareError,
    PowerLimitRefusedError,
)
from energyopt.hardware import driver_remedies
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.gpu_selection import claim
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import Board, all_boards
from energyopt.hardware.zeus import NvmlMeter
from energyopt.utils.paths import conf_dir
from tests import fake_nvml, fake_rapl
from tests.fake_nvml import FakeNvml


@pytest.fixture
def claimed() -> Iterator[list[GpuAllocation]]:
    """Rigs to close at the end."""
    allocations: list[GpuAllocation] = []
    yield allocations
    for allocation in allocations:
        allocation.close()


def indices(boards: Sequence[Board]) -> list[int]:
    return [board.index for board in boards]


def chosen(device: str = "cpu", **options: object) -> list[int]:
    allocation = claim(GpuOptions(lease_wait_s=0, **options), device)  # type: ignore[arg-type]
    allocation.close()
    return indices(allocation.boards)


# Which GPUs --------------------------------------------------------------------------------


def test_nothing_is_asked_of_a_driver_where_no_gpu_is_wanted():
    for options in (GpuOptions(), GpuOptions(gpus="auto")):
        allocation = claim(options, "cpu")
        assert (
            allocation.boards,
            allocation.device,
            allocation.max_parallel,
            allocation.flags,
        ) == (
            (),
            "cpu",
            None,
            (),
        )
        assert allocation.machine().driver is None
        assert allocation.temperature_c() is None


def test_a_number_takes_free_ones_and_a_list_those_that_it_names(gpus: FakeNvml):
    assert chosen(gpus=1) == [0]
    assert chosen(gpus=2) == [0, 1]
    assert chosen(gpus=[1]) == [1]
    assert chosen(gpus=[1, 0]) == [1, 0]
    assert chosen(gpus=[gpus.uuid(1)]) == [1]


def test_the_gpu_that_trains_is_the_one_that_is_held(gpus: FakeNvml):
    assert chosen("cuda:1", gpus="auto") == [1]
    assert chosen("cuda:1", gpus=1) == [1]
    assert chosen("cuda", gpus="auto") == [0]


def test_cuda_sees_only_the_gpu_that_it_trains_on(
    gpus: FakeNvml, claimed: list[GpuAllocation], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    allocation = claim(GpuOptions(gpus="auto", lease_wait_s=0), "cuda")
    claimed.append(allocation)
    assert indices(allocation.boards) == [1]
    assert allocation.device == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == gpus.uuid(1)


def test_numbers_count_the_visible_gpus(gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert chosen(gpus=1) == [1]
    assert chosen(gpus=[0]) == [1]
    assert chosen("cuda:0", gpus="auto") == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{gpus.uuid(1)},{gpus.uuid(0)}")
    assert chosen(gpus=1) == [1]


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-none", "0,0"])
def test_no_visible_gpu_is_an_error(gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(HardwareError, match=rf"CUDA_VISIBLE_DEVICES={visible} names no GPU"):
        chosen(gpus=1)


@pytest.mark.parametrize(
    ("gpus_wanted", "says"),
    [
        ([2], r"hardware.gpus: 2 is not one of the visible GPUs: 0 GPU-"),
        (["GPU-none"], "GPU-none is not one"),
        (3, "3 of the GPUs GPU 0 .* are to be metered, but 2 can be"),
    ],
)
def test_gpus_that_are_not_there_are_named(gpus: FakeNvml, gpus_wanted: object, says: str):
    with pytest.raises(HardwareError, match=says):
        chosen(gpus=gpus_wanted)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda gpu: setattr(gpu, "mig", 1), "MIG slices"),
        (lambda gpu: setattr(gpu, "virtualization", 2), "virtual GPU"),
        (lambda gpu: setattr(gpu, "architecture", 4), "Volta and newer"),
        (lambda gpu: setattr(gpu, "counter_mj", 0), "stays at 0"),
    ],
    ids=["MIG", "vGPU", "Pascal", "zero"],
)
def test_gpus_whose_energy_nothing_counts_are_refused_or_passed_over(
    gpus: FakeNvml, break_it, says: str
):
    gpus.state.virtual_clock = 1
    gpus.state.gpu[0].idle_mw = 0
    break_it(gpus.state.gpu[0])
    assert chosen(gpus=1) == [1]
    for wanted in ({"gpus": [0]}, {"gpus": 2}):
        with pytest.raises(HardwareError, match=rf"GPU 0 .*{says}.*device=cpu") as refusal:
            chosen(**wanted)
        assert "estimate" not in str(refusal.value)  # it would not see the GPU


def test_the_gpu_of_a_jetson_module_is_metered_with_its_chip(
    gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    gpus.state.gpu[0].name = b"Orin (nvgpu)"
    gpus.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.NOT_SUPPORTED)
    with pytest.raises(HardwareError, match=r"Jetson module.*; choose hardware=soc"):
        chosen(gpus=[0])
    monkeypatch.setattr(driver_remedies, "JETSON_FILES", (tmp_path,))
    assert claim(GpuOptions(gpus="auto"), "cuda").boards == ()


def test_a_gpu_that_does_not_answer_is_an_error(gpus: FakeNvml):
    gpus.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.GPU_IS_LOST, gpu=0)
    with pytest.raises(HardwareError, match=r"energy counter cannot be read.*lost"):
        chosen(gpus=[0])


def test_a_lost_gpu_stops_no_work_on_others(gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST, times=1)
    assert chosen(gpus=1) == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # a number counts it, too
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST, times=1)
    assert chosen(gpus=1) == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST, times=1)
    with pytest.raises(HardwareError, match="names no GPU"):
        chosen(gpus=1)
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST)
    with pytest.raises(HardwareError, match=r"GPU 0.*lost"):
        chosen(gpus=1)


def test_each_trial_has_its_own(gpus: FakeNvml, claimed: list[GpuAllocation]):
    one = claim(GpuOptions(gpus=1, lease_wait_s=0), "cpu")
    other = claim(GpuOptions(gpus=1, lease_wait_s=0), "cpu")
    claimed += [one, other]
    assert indices([*one.boards, *other.boards]) == [0, 1]
    assert one.max_parallel == 2
    with pytest.raises(HardwareError, match=r"is held by.*lease_wait_s"):
        claim(GpuOptions(gpus=1, lease_wait_s=0), "cpu")
    one.close()
    claimed.append(claim(GpuOptions(gpus=1, lease_wait_s=0), "cpu"))


# Company -----------------------------------------------------------------------------------


def test_a_free_gpu_is_preferred(gpus: FakeNvml):
    gpus.processes(0, 4711)
    assert chosen(gpus=1) == [1]


def test_a_gpu_on_which_others_compute_is_refused_or_flagged(
    gpus: FakeNvml, claimed: list[GpuAllocation]
):
    gpus.processes(0, 4711)
    with pytest.raises(HardwareError, match=r"on GPU 0.*4711.*hardware\.shared=flag"):
        chosen(gpus=[0])
    assert Lease(gpus.uuid(0)).owner() is None
    allocation = claim(GpuOptions(gpus=[0], shared="flag"), "cpu")
    claimed.append(allocation)
    assert allocation.flags == ("shared_gpu",)


def test_others_that_come_later_are_found(gpus: FakeNvml, claimed: list[GpuAllocation]):
    allocation = claim(GpuOptions(gpus=[0]), "cpu")
    claimed.append(allocation)
    gpus.processes(0, os.getpid())
    allocation.record_processes()
    allocation.check_processes()
    gpus.processes(0, os.getpid(), 4711)
    for look in (allocation.record_processes, allocation.check_processes):
        with pytest.raises(HardwareError, match="4711"):
            look()


def test_in_a_container_a_trial_is_listed_by_another_number(
    gpus: FakeNvml, claimed: list[GpuAllocation], monkeypatch: pytest.MonkeyPatch
):
    allocation = claim(GpuOptions(gpus=[0]), "cpu")
    claimed.append(allocation)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    gpus.processes(0, 17)
    allocation.record_processes()
    allocation.check_processes()
    gpus.processes(0, 17, 4711)
    with pytest.raises(HardwareError, match="4711"):
        allocation.check_processes()


def test_a_driver_that_does_not_tell_who_computes_is_flagged(
    gpus: FakeNvml, claimed: list[GpuAllocation]
):
    gpus.fail("nvmlDeviceGetComputeRunningProcesses_v3", fake_nvml.NOT_SUPPORTED)
    allocation = claim(GpuOptions(gpus=1), "cpu")
    claimed.append(allocation)
    allocation.record_processes()
    allocation.check_processes()
    assert allocation.flags == ("company_unknown",)


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetC2cModeInfoV",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetArchitecture",
        "nvmlDeviceGetVirtualizationMode",
        "nvmlDeviceGetEnforcedPowerLimit",
    ],
)
def test_a_driver_without_a_newer_call_still_meters(
    gpus: FakeNvml, claimed: list[GpuAllocation], call: str
):
    gpus.fail(call, fake_nvml.FUNCTION_NOT_FOUND)
    allocation = claim(GpuOptions(gpus=[0]), "cpu")
    claimed.append(allocation)
    allocation.record_processes()
    assert allocation.temperature_c() == 40
    assert allocation.machine().gpus[0].limit_w == 300
    meter = NvmlMeter(allocation.boards, "cpu")
    gpus.state.virtual_clock = 1
    meter.start()
    gpus.advance(10)
    assert meter.stop().total_j == pytest.approx(10 * fake_nvml.IDLE_W)
    is_unknown = call == "nvmlDeviceGetComputeRunningProcesses_v3"
    assert allocation.flags == (("company_unknown",) if is_unknown else ())


def test_a_driver_before_510_lists_processes_by_its_second_version(
    gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch
):
    calls = {"nvmlDeviceGetComputeRunningProcesses_v2": gpus.library.fake_processes_v2}
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", calls)
    gpus.fail("nvmlDeviceGetComputeRunningProcesses_v3", fake_nvml.FUNCTION_NOT_FOUND)
    gpus.processes(0, 4711)
    with pytest.raises(HardwareError, match="4711"):
        claim(GpuOptions(gpus=[0]), "cpu")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (
            fake_nvml.LIB_RM_VERSION_MISMATCH,
            r"two versions.*reboot.*rmmod nvidia_uvm.*modprobe nvidia",
        ),
        (fake_nvml.DRIVER_NOT_LOADED, r"NVIDIA's driver.*device=cpu"),
        (fake_nvml.UNKNOWN, r"check `nvidia-smi`, choose another GPU.*device=cpu"),
    ],
)
def test_a_driver_that_does_not_start_has_a_remedy_of_its_own(
    gpus: FakeNvml, code: int, remedy: str
):
    gpus.fail("nvmlInitWithFlags", code)
    with pytest.raises(HardwareError, match=rf"NVIDIA GPUs cannot be read.*; .*{remedy}"):
        claim(GpuOptions(gpus=1), "cpu")


# Temperature and plausibility --------------------------------------------------------------


def test_a_gpu_that_stays_hot_is_flagged(gpus: FakeNvml, claimed: list[GpuAllocation]):
    options = GpuOptions(gpus=1, cool_down_s=0, cool_down_max_s=0.2)
    allocation = claim(options, "cpu")
    claimed.append(allocation)
    gpus.state.gpu[0].temperature_c = 43
    allocation.cool_down(40)
    assert not allocation.flags
    gpus.state.gpu[0].temperature_c = 44
    allocation.cool_down(40)
    assert allocation.flags == ("warm_start",)


def test_a_hot_gpu_is_waited_for(gpus: FakeNvml, claimed: list[GpuAllocation]):
    allocation = claim(GpuOptions(gpus=1, cool_down_s=0, cool_down_max_s=60), "cpu")
    claimed.append(allocation)
    gpus.state.gpu[0].temperature_c = 44
    threading.Timer(0.2, setattr, (gpus.state.gpu[0], "temperature_c", 43)).start()
    allocation.cool_down(40)
    assert not allocation.flags
    assert allocation.temperature_c() == 43


@pytest.mark.parametrize(
    ("gpu_j", "says"),
    [
        (2400, "below 0.5 of the 50 W that they draw at rest"),
        (2600, None),
        (30_000, None),
        (37_000, None),
        (38_500, "above 1.25 of the 300 W"),
    ],
)
def test_mean_power_beyond_reason_is_said(
    gpus: FakeNvml, claimed: list[GpuAllocation], gpu_j: float, says: str | None
):
    allocation = claim(GpuOptions(gpus=1), "cpu")
    claimed.append(allocation)
    wrong = allocation.power_problem(Energy(100, gpu_j=gpu_j), windows=4, period_s=0.1, idle_w=50)
    assert (wrong is None) == (says is None)
    assert says is None or says in (wrong or "")


def test_short_trials_are_within_the_counters_coarseness(
    gpus: FakeNvml, claimed: list[GpuAllocation]
):
    allocation = claim(GpuOptions(gpus=1), "cpu")
    claimed.append(allocation)
    for gpu_j in (0, 100):  # 0.1 s: nothing, or two ticks at 300 W and more
        assert allocation.power_problem(Energy(0.1, gpu_j=gpu_j), 4, 0.1, idle_w=50) is None


# Power limits ------------------------------------------------------------------------------


def test_a_limit_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"power_limit_w=150.*no NVIDIA GPU.*hardware=nvidia"):
        claim(GpuOptions(power_limit_w=150), "cpu").check_limit()


def test_a_limit_is_held_and_put_back(gpus: FakeNvml, claimed: list[GpuAllocation]):
    allocation = claim(GpuOptions(gpus=1, power_limit_w=150), "cpu")
    claimed.append(allocation)
    with allocation.limited() as limit:
        assert limit is not None
        assert allocation.machine().limit_w == 150
    assert gpus.limit_w(0) == 300
    assert gpus.limit_w(1) == 300


@pytest.mark.parametrize("strict", [True, False])
def test_without_permission_a_number_is_refused_and_profiling_left_out(
    gpus: FakeNvml, claimed: list[GpuAllocation], strict: bool
):
    gpus.unprivileged()
    for wanted in (150, "profile"):
        allocation = claim(GpuOptions(gpus=1, power_limit_w=wanted, strict=strict), "cpu")
        if wanted == 150 or strict:
            with pytest.raises(PowerLimitRefusedError, match=r"root.*CAP_SYS_ADMIN.*zeusd"):
                allocation.check_limit()
        else:
            with allocation.limited() as limit:
                assert limit is None
            assert allocation.flags == ("no_power_limit",)
        allocation.close()


def test_a_stale_limit_is_put_back_by_the_next_trial_or_flagged(
    gpus: FakeNvml, claimed: list[GpuAllocation]
):
    from energyopt.hardware.power_limit import PowerLimit

    PowerLimit(all_boards()[:1], 150).__enter__()  # and its process dies
    allocation = claim(GpuOptions(gpus=1), "cpu")
    assert gpus.limit_w(0) == 300
    allocation.close()
    PowerLimit(all_boards()[:1], 150).__enter__()
    gpus.unprivileged()
    allocation = claim(GpuOptions(gpus=1), "cpu")
    claimed.append(allocation)
    assert allocation.flags == ("stale_power_limit",)
    assert gpus.limit_w(0) == 150


def test_the_users_cap_is_never_exceeded(gpus: FakeNvml, claimed: list[GpuAllocation]):
    def held(**options: object) -> GpuAllocation:
        options = {"gpus": 1, "max_power_limit_w": 180, **options}
        claimed.append(claim(GpuOptions(**options), "cpu"))  # type: ignore[arg-type]
        return claimed[-1]

    with pytest.raises(ConfigError, match=r"power_limit_w=200.*at most hardware.max_power_limit_w"):
        held(power_limit_w=200)
    allocation = held(power_limit_w=180)
    low_w, high_w = allocation.boards[0].limits_w()
    assert high_w > allocation.limits_w()[1] == 180
    assert allocation.limits_w()[0] == low_w
    with allocation.limited():
        assert gpus.limit_w(allocation.boards[0].index) == 180
    allocation.close()
    low = held(max_power_limit_w=low_w - 1, power_limit_w="profile")
    with pytest.raises(PowerLimitRefusedError, match=r"max_power_limit_w=.* is below the"):
        low.check_limit()


# Options -----------------------------------------------------------------------------------


# The CPU packages --------------------------------------------------------------------------


def test_a_meter_of_the_cpu_packages_holds_them_until_the_end():
    meter = SimpleNamespace(reads_packages=True)
    allocation = GpuAllocation(GpuOptions(lease_wait_s=0), "cpu")
    allocation.hold_packages_for(SimpleNamespace())
    assert not allocation.holds_packages
    allocation.hold_packages_for(meter)
    allocation.hold_packages_for(meter)  # it has them
    assert (allocation.holds_packages, allocation.max_parallel) == (True, 1)
    rival = GpuAllocation(GpuOptions(lease_wait_s=0), "cpu")
    with pytest.raises(GpusBusyError, match="CPU packages for itself"):
        rival.hold_packages_for(meter)
    allocation.close()
    rival.hold_packages_for(meter)
    rival.close()


def test_gpus_whose_trials_also_read_the_cpu_are_used_one_at_a_time(
    gpus: FakeNvml, claimed: list[GpuAllocation], tmp_path: Path
):
    packages = (fake_rapl.PACKAGE, fake_rapl.OTHER_PACKAGE)
    with fake_rapl.installed(tmp_path) as tree, tree.alive(*packages):
        for _ in range(2):
            allocation = claim(GpuOptions(gpus=1, cpu=True, lease_wait_s=0), "cpu")
            claimed.append(allocation)
        first, second = claimed
        assert first.max_parallel == 2
        first.hold_packages_for(NvmlMeter(first.boards, "cpu", cpu=True))
        assert first.max_parallel == 1
        second.hold_packages_for(NvmlMeter(second.boards, "cpu"))
        assert second.max_parallel == 2
        with pytest.raises(GpusBusyError, match=r"CPU packages.*or set hardware\.cpu=false$"):
            second.hold_packages_for(NvmlMeter(second.boards, "cpu", cpu=True))


def test_the_config_says_each_option_with_its_default():
    said = yaml.safe_load((conf_dir() / "hardware_defaults.yaml").read_text())["hardware"]
    plain = json.loads(json.dumps(dataclasses.asdict(GpuOptions())))
    assert said == plain


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("gpus", 0, "a number of GPUs"),
        ("gpus", "all", "auto"),
        ("gpus", [], r"\[0, 1\]"),
        ("gpus", [0, 0], "a list"),
        ("gpus", [-1], "a list"),
        ("gpus", [True], "a list"),
        ("power_limit_w", 0, "profile"),
        ("power_limit_w", "fast", "profile"),
        ("power_limit_w", True, "profile"),
        ("power_limit_w", float("nan"), "profile"),
        ("max_power_limit_w", 0, "null or a number of W above 0"),
        ("max_power_limit_w", "most", "null or a number of W above 0"),
        ("power_policy", "best", "max_slowdown"),
        ("power_eta", 1.1, "at most 1"),
        ("power_slowdown", 0.9, "at least 1"),
        ("power_step_w", 0, "at least 1"),
        ("profile_slice_s", 0, "at least 0.001"),
        ("shared", "yes", "refuse, flag"),
        ("strict", "yes", "true or false"),
        ("cpu", 1, "true or false"),
        ("idle_s", -1, "at least 0"),
        ("lease_wait_s", "long", "at least 0"),
        ("cool_down_s", float("inf"), "at least 0"),
        ("quality_periods", [1, 2], "three rising"),
        ("quality_periods", [3, 2, 1], "three rising"),
    ],
)
def test_options_that_make_no_sense_are_refused(key: str, value: object, allowed: str):
    with pytest.raises(ConfigError, match=rf"hardware\.{key}=.*not allowed.*{allowed}"):
        GpuOptions(**{key: value})  # type: ignore[arg-type]
