"""The meters keep their contract and never read a silent zero."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from energyopt.core.energy import Energy
from energyopt.core.journal import JournalWriter
from energyopt.core.protocols import EnergyMeter
from energyopt.core.trial_result import Purpose, TrialStart, Window
from energyopt.errors import ConfigError, HardwareError
from energyopt.hardware import powercap as powercap_files
from energyopt.hardware.auto import choose_meter, condition_flags
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.host import resolve_device
from energyopt.hardware.nvml import Board, all_boards
from energyopt.hardware.replay import ReplayMeter
from energyopt.hardware.simulated import SimulatedMeter
from energyopt.hardware.zeus import NvmlMeter, RaplMeter
from energyopt.testing.pytest import CountingMeterContract, MeterContract
from tests import fake_nvml, fake_rapl
from tests.fake_nvml import FakeNvml
from tests.fake_rapl import Powercap
from tests.toys import ESTIMATED


def spin(cpu_s: float) -> None:
    """Keep one core busy for some CPU time of this thread."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass


# The estimate ------------------------------------------------------------------------------


class TestCpuTimeMeter(CountingMeterContract):
    tolerance = 0.25  # a shared machine

    @pytest.fixture
    def meter(self) -> EnergyMeter:
        return CpuTimeMeter()

    def work(self, amount: int) -> None:
        spin(0.005 * amount)


SPIN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_a_busy_core_second_costs_the_given_watts():
    meter = CpuTimeMeter(watts_per_core=4)
    meter.start()
    spin(0.25)
    assert meter.stop().cpu_j == pytest.approx(1, rel=0.2)


def test_sleeping_is_nearly_free():
    meter = CpuTimeMeter()
    meter.start()
    time.sleep(0.2)
    energy = meter.stop()
    assert energy.time_s >= 0.2
    assert energy.total_j < 0.1


def test_the_work_of_threads_counts():
    meter = CpuTimeMeter(watts_per_core=1)
    threads = [threading.Thread(target=spin, args=(0.1,)) for _ in range(3)]
    meter.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.stop().total_j == pytest.approx(0.3, rel=0.2)


def test_the_work_of_finished_children_counts_once():
    meter = CpuTimeMeter(watts_per_core=1)
    meter.start()
    subprocess.run([sys.executable, "-S", "-c", SPIN], check=True)
    assert 0.28 < meter.stop().total_j < 0.5
    meter.start()
    assert meter.stop().total_j < 0.05


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux says so")
def test_the_work_of_running_children_and_grandchildren_counts_once():
    grandchild = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {SPIN!r}])\n"
    wait = "print('done', flush=True)\nsys.stdin.read()\n"
    meter = CpuTimeMeter(watts_per_core=1)
    meter.start()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", grandchild + SPIN + wait],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.55 < meter.stop().total_j < 0.9
        meter.start()
        child.communicate()
    assert meter.stop().total_j < 0.1


@pytest.mark.parametrize("watts", [0, -4, float("nan"), float("inf"), "4", None])
def test_watts_that_are_none_are_refused(watts):
    with pytest.raises(ConfigError, match="watts_per_core"):
        CpuTimeMeter(watts)


def test_the_constant_is_part_of_the_meters_name():
    assert CpuTimeMeter(4).provenance.binding != CpuTimeMeter(8).provenance.binding


# Recorded and made-up ----------------------------------------------------------------------


def recording(folder: Path, joules: list[float]) -> Path:
    purposes: list[Purpose] = ["training", "evaluation"]
    path = folder / "progress.jsonl"
    journal = JournalWriter(path)
    journal.append(TrialStart(0.9, 1, 0, ESTIMATED))
    for number, energy_j in enumerate(joules):
        journal.append(Window(purposes[number % 2], Energy(1.0, cpu_j=energy_j)))
    return path


class TestReplayMeter(MeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> EnergyMeter:
        return ReplayMeter(str(recording(tmp_path, [1.0] * 8)))


def test_replay_gives_the_recorded_windows_in_order_and_then_refuses(tmp_path: Path):
    recording(tmp_path, [3, 1, 4])
    meter = ReplayMeter(str(tmp_path))
    assert meter.provenance.kind == "replayed"
    assert meter.provenance.meter == f"replay of {ESTIMATED.meter}"
    for energy_j in (3, 1, 4):
        meter.start()
        assert meter.stop() == Energy(1.0, cpu_j=energy_j)
    meter.start()
    with pytest.raises(HardwareError, match="no further windows"):
        meter.stop()


def test_replay_needs_a_recording(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such journal"):
        ReplayMeter(str(tmp_path))
    (tmp_path / "progress.jsonl").touch()
    with pytest.raises(ConfigError, match="no recorded windows"):
        ReplayMeter(str(tmp_path))


def step(times: int) -> None:
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(times):
        optimizer.step()


class TestSimulatedMeter(MeterContract):
    @pytest.fixture
    def meter(self) -> EnergyMeter:
        return SimulatedMeter(batch_size=16)

    def work(self, amount: int) -> None:
        step(amount)


def test_simulated_joules_are_those_of_the_steps_and_windows():
    meter = SimulatedMeter(10, step_j=1.0, sample_j=0.5, window_j=2.0, power_w=10.0)
    meter.start()
    step(3)
    assert meter.stop() == Energy(2.0, cpu_j=20.0)
    step(5)
    meter.start()
    assert meter.stop() == Energy(0.2, cpu_j=2.0)


# CPU packages ------------------------------------------------------------------------------


@pytest.fixture
def powercap(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as tree:
        yield tree


class TestRaplMeter(CountingMeterContract):
    @pytest.fixture
    def meter(self, powercap: Powercap) -> EnergyMeter:
        self.powercap = powercap
        return RaplMeter()

    def work(self, amount: int) -> None:
        self.powercap.spend(fake_rapl.PACKAGE, 3 * amount)
        self.powercap.spend(fake_rapl.DRAM, amount)


def test_rapl_adds_packages_and_dram_but_not_the_platform(powercap: Powercap):
    meter = RaplMeter()
    assert meter.provenance.kind == "measured"
    assert meter.provenance.scope == "CPU packages + DRAM"
    meter.start()
    powercap.spend(fake_rapl.PACKAGE, 10)
    powercap.spend(fake_rapl.CORE, 6)
    powercap.spend(fake_rapl.DRAM, 2)
    powercap.spend(fake_rapl.PSYS, 50)
    powercap.spend(fake_rapl.OTHER_PACKAGE, 5)
    energy = meter.stop()
    assert energy.cpu_j == pytest.approx(15)
    assert energy.dram_j == pytest.approx(2)
    assert energy.gpu_j is None


def test_auto_takes_rapl_where_it_is_there(powercap: Powercap):
    with powercap.alive(fake_rapl.PACKAGE, fake_rapl.OTHER_PACKAGE):
        assert choose_meter("cpu").provenance.meter == "RAPL"


def test_auto_takes_the_estimate_where_a_package_stands_still(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(powercap_files, "STILL_S", 0.1)
    with powercap.alive(fake_rapl.PACKAGE):
        provenance = choose_meter("cpu").provenance
    assert provenance.kind == "estimated"
    assert "estimated because package-1" in provenance.uncertainty
    assert "stands still" in provenance.uncertainty


def test_rapl_refuses_a_machine_without_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(powercap_files, "RAPL_ROOTS", (tmp_path / "missing",))
    with pytest.raises(HardwareError, match=r"no RAPL energy counters.*hardware=estimate"):
        RaplMeter()


def test_rapl_refuses_counters_that_may_not_be_read(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
):
    # Root may read anything, whatever the mode of a file says.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("energy_uj"))
    with pytest.raises(HardwareError, match=r"may not be read.*chmod"):
        RaplMeter()
    estimate = choose_meter("cpu").provenance
    assert estimate.kind == "estimated"
    assert f"because {powercap.counter(fake_rapl.PACKAGE)} (package-0)" in estimate.uncertainty


def test_rapl_that_breaks_is_an_error(powercap: Powercap):
    meter = RaplMeter()
    meter.start()
    (powercap.root / fake_rapl.OTHER_PACKAGE / "energy_uj").unlink()
    with pytest.raises(HardwareError, match="cannot be read"):
        meter.stop()


# NVIDIA GPUs -------------------------------------------------------------------------------


def boards(*indices: int) -> list[Board]:
    there = all_boards()
    return [there[index] for index in indices]


class TestNvmlMeter(CountingMeterContract):
    @pytest.fixture
    def meter(self, gpus: FakeNvml) -> EnergyMeter:
        self.gpus = gpus
        return NvmlMeter(boards(0))

    def work(self, amount: int) -> None:
        self.gpus.advance(amount)


class TestNvmlBesideRapl(CountingMeterContract):
    @pytest.fixture
    def meter(self, gpus: FakeNvml, powercap: Powercap) -> EnergyMeter:
        self.gpus, self.powercap = gpus, powercap
        return NvmlMeter(boards(0, 1), "cpu", cpu=True)

    def work(self, amount: int) -> None:
        self.gpus.advance(amount)
        self.powercap.spend(fake_rapl.PACKAGE, 3 * amount)


def test_nvml_gives_the_joules_of_the_gpu_that_trains(gpus: FakeNvml):
    meter = NvmlMeter(boards(1))
    gpus.demand(0, 200)
    meter.start()
    gpus.demand(1, 250)
    gpus.advance(2)
    assert meter.stop().gpu_j == pytest.approx(500)


def test_nvml_is_named_by_the_driver_not_by_torch(gpus: FakeNvml):
    provenance = NvmlMeter(boards(0)).provenance
    assert provenance.kind == "measured"
    assert provenance.device == fake_nvml.NAME
    assert NvmlMeter(boards(0), "cpu").provenance.device.startswith("CPU ")


def test_nvml_sees_the_effect_of_a_power_limit(gpus: FakeNvml):
    import pynvml

    meter = NvmlMeter(boards(0))
    gpus.demand(0, 250)
    pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(0), 150_000)
    meter.start()
    gpus.advance(10)
    assert meter.stop().gpu_j == pytest.approx(1500)


def test_a_window_below_the_counters_period_reads_zero_without_a_warning(
    nvml_library: Path, tmp_path: Path
):
    with fake_nvml.installed(nvml_library, tmp_path, period_s=0.1) as fake:
        fake.advance(0.1)
        meter = NvmlMeter(boards(0))
        meter.start()
        fake.advance(0.09)
        assert meter.stop().gpu_j == 0
        meter.start()
        fake.advance(0.02)
        assert meter.stop().gpu_j == pytest.approx(0.1 * fake_nvml.IDLE_W)


def test_a_gpu_that_is_lost_in_a_window_is_an_error(gpus: FakeNvml):
    meter = NvmlMeter(boards(0))
    meter.start()
    gpus.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.GPU_IS_LOST)
    with pytest.raises(HardwareError, match="lost"):
        meter.stop()


def test_auto_takes_nvml_for_the_gpu_that_trains(gpus: FakeNvml):
    assert choose_meter("cuda:0", boards(1)).provenance.meter == "NVML energy counter"
    assert choose_meter("cpu").provenance.kind == "estimated"


def test_several_gpus_are_summed_and_each_is_told(gpus: FakeNvml):
    meter = NvmlMeter(boards(1, 0))
    assert meter.provenance.scope == "2 GPU boards"
    meter.start()
    gpus.demand(0, 100)
    gpus.demand(1, 250)
    gpus.advance(2)
    energy = meter.stop()
    assert energy.gpus_j == pytest.approx((500, 200))
    assert energy.gpu_j == pytest.approx(700)


def test_the_cpu_is_metered_beside_the_gpu_where_it_is_asked_for(
    gpus: FakeNvml, powercap: Powercap
):
    meter = NvmlMeter(boards(0), cpu=True)
    assert meter.provenance.scope == "GPU board + CPU packages + DRAM"
    meter.start()
    gpus.demand(0, 100)
    gpus.advance(1)
    powercap.spend(fake_rapl.PACKAGE, 7)
    powercap.spend(fake_rapl.DRAM, 2)
    powercap.spend(fake_rapl.PSYS, 50)
    energy = meter.stop()
    assert (energy.gpu_j, energy.cpu_j, energy.dram_j) == pytest.approx((100, 7, 2))
    assert energy.total_j == pytest.approx(109)


def test_a_requested_cpu_that_cannot_be_read_is_an_error(
    gpus: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(powercap_files, "RAPL_ROOTS", (tmp_path / "missing",))
    with pytest.raises(HardwareError, match=r"no RAPL.*: set hardware\.cpu=false$"):
        NvmlMeter(boards(0), cpu=True)


def test_nvml_without_a_gpu_is_an_error():
    with pytest.raises(HardwareError, match=r"holds no GPU.*hardware\.gpus=1"):
        NvmlMeter(())


def test_zeus_sees_the_gpus_of_the_trial_whatever_cuda_is_told(
    gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch
):
    # Zeus itself breaks on UUIDs in this variable.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus.uuid(1))
    meter = NvmlMeter(boards(1))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == gpus.uuid(1)
    gpus.demand(1, 250)
    meter.start()
    gpus.advance(1)
    assert meter.stop().gpu_j == pytest.approx(250)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, gpus: FakeNvml) -> list[object]:
    """A torch that trains on the pretend GPU 1, as its cuda:0; the devices that are waited for."""
    waited: list[object] = []
    properties = SimpleNamespace(uuid=gpus.uuid(1).removeprefix("GPU-"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    return waited


def test_pending_work_is_waited_for_at_both_ends_of_a_window(gpus: FakeNvml, cuda: list[object]):
    meter = NvmlMeter(boards(1), "cuda:0")
    cuda.clear()
    meter.start()
    assert cuda == ["cuda:0"]
    meter.stop()
    assert cuda == ["cuda:0", "cuda:0"]


def test_a_trial_on_several_gpus_waits_for_all(gpus: FakeNvml, cuda: list[object]):
    NvmlMeter(boards(0, 1), "cuda:0")
    assert set(cuda) == {0, 1}


def test_a_meter_of_another_gpu_than_the_one_that_trains_is_an_error(
    gpus: FakeNvml, cuda: list[object]
):
    with pytest.raises(HardwareError, match=r"cuda:0 is GPU .*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        NvmlMeter(boards(0), "cuda:0")


def test_a_counter_that_is_reset_in_a_window_reads_below_zero(gpus: FakeNvml):
    # `run_trial` refuses it: see tests/training/test_trial.py.
    meter = NvmlMeter(boards(0))
    meter.start()
    gpus.state.gpu[0].counter_mj = 1
    energy = meter.stop()
    assert energy.gpu_j is not None
    assert energy.gpu_j < 0


def test_the_pretend_driver_is_shared_by_processes(gpus: FakeNvml):
    other = (
        "import pynvml as n; n.nvmlInit(); g = n.nvmlDeviceGetHandleByIndex(0)\n"
        "n.nvmlDeviceSetPowerManagementLimit(g, 120000)\n"
        "print(n.nvmlDeviceGetName(g), n.nvmlDeviceGetComputeRunningProcesses(g)[0].pid)\n"
        "try: n.nvmlDeviceSetPowerManagementLimit(g, 99000)\n"
        "except n.NVMLError_InvalidArgument: print('refused')"
    )
    gpus.processes(0, 4711)
    done = subprocess.run(
        [sys.executable, "-c", other],
        env=os.environ | gpus.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == [f"{fake_nvml.NAME} 4711", "refused"]
    assert gpus.state.gpu[0].limit_mw == 120_000


# No sensors, and other conditions ----------------------------------------------------------


@pytest.fixture
def no_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import pynvml

    def no_driver(*_: object) -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInitWithFlags", no_driver)
    monkeypatch.setattr(powercap_files, "RAPL_ROOTS", (tmp_path,))
    fake_nvml.forget_devices()
    yield
    fake_nvml.forget_devices()


@pytest.mark.usefixtures("no_sensors")
def test_a_machine_without_sensors_never_reads_a_silent_zero():
    with pytest.raises(HardwareError, match=r"cannot be read.*hardware=estimate"):
        all_boards()
    with pytest.raises(HardwareError, match="hardware=estimate"):
        RaplMeter()
    with pytest.raises(HardwareError, match=r"AMD GPUs cannot be metered.*device=cpu"):
        choose_meter("cuda:0")
    assert choose_meter("cpu").provenance.kind == "estimated"


def test_auto_refuses_a_gpu_that_nothing_here_can_meter():
    with pytest.raises(HardwareError, match=r"no chip.*zeus-apple-silicon.*device=cpu"):
        choose_meter("mps")


def test_meters_beside_the_device_that_trains_are_flagged(gpus: FakeNvml):
    estimate, nvml = CpuTimeMeter(), NvmlMeter(boards(0), "cpu")
    assert condition_flags(estimate, "cpu") == condition_flags(nvml, "cuda:0") == ()
    assert condition_flags(nvml, "cpu") == ("gpu_meter_cpu_training",)
    assert condition_flags(estimate, "cuda:0") == ("estimate_misses_gpu",)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", "cuda:-1", "", "cuda:99"])
def test_devices_that_are_not_there_are_refused(device: str):
    with pytest.raises(ConfigError, match=f"device={device}"):
        resolve_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_the_cpu_trains():
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
