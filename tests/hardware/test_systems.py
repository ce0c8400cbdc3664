"""Named systems find their GPU or chip; AMD, Apple silicon and Jetson keep the contract."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zeus.device.gpu
import zeus.device.soc
from omegaconf import OmegaConf
from zeus.device.gpu.common import GPU, GPUs
from zeus.device.soc.apple import AppleSiliconMeasurement
from zeus.device.soc.common import SoC, SoCMeasurement
from zeus.device.soc.jetson import JetsonMeasurement

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.protocols import EnergyMeter
from energyopt.errors import ConfigError, HardwareError
from energyopt.hardware import host
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.zeus import AmdMeter, SocMeter
from energyopt.testing.pytest import CountingMeterContract
from tests import fake_nvml
from tests.composing import composed
from tests.conftest import Program
from tests.fake_nvml import FakeNvml

# What NVML calls the boards that an option takes, and the highest limit that is published.
BOARDS = {
    "h100": {
        "NVIDIA H100 80GB HBM3": 700,
        "NVIDIA H100 PCIe": 350,
        "NVIDIA H100 NVL": 400,
    },
    "a100": {
        "NVIDIA A100-SXM4-80GB": 400,
        "NVIDIA A100-SXM4-40GB": 400,
        "NVIDIA A100 80GB PCIe": 300,
        "NVIDIA A100-PCIE-40GB": 250,
        "A100-SXM4-80GB": 500,  # as older drivers say it; with another cooler
    },
    "rtx3090": {"NVIDIA GeForce RTX 3090": 350},
    "rtx6000_ada": {"NVIDIA RTX 6000 Ada Generation": 300},
}
NVIDIA = [(option, name, w) for option, names in BOARDS.items() for name, w in names.items()]
OTHERS = {
    "h100": "NVIDIA H200",
    "a100": "NVIDIA RTX A1000",
    "rtx3090": "NVIDIA GeForce RTX 3090 Ti",
    "rtx6000_ada": "Quadro RTX 6000",
}


@pytest.fixture
def gpus(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    """Three pretend GPUs."""
    with fake_nvml.installed(nvml_library, tmp_path, gpus=3) as fake:
        yield fake


def plug(gpus: FakeNvml, gpu: int, name: str, max_w: float, default_w: float | None = None) -> None:
    board = gpus.state.gpu[gpu]
    board.name, board.max_mw = name.encode(), round(1000 * max_w)
    board.default_mw = board.limit_mw = round(1000 * (default_w or max_w))


def setup(*words: str) -> TrialFactory:
    return TrialFactory(composed("device=cpu", "hardware.lease_wait_s=0", *words))


def published(option: str) -> Any:
    return OmegaConf.to_container(composed(f"hardware={option}").hardware.system)


# NVIDIA ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [*BOARDS, "m1_max"])
def test_a_named_system_says_what_is_published_and_where(option: str):
    system = published(option)
    assert system["name"]
    assert system["paper"]
    assert all("https://" in source for source in system["source"])
    assert system["source"]
    assert system.get("limits_w") or system["machine_power"]


@pytest.mark.parametrize("option", BOARDS)
def test_the_variant_of_the_paper_has_a_published_limit(option: str):
    system = published(option)
    assert system["paper"] in system["limits_w"]


@pytest.mark.parametrize(("option", "name", "limit_w"), NVIDIA)
def test_a_named_system_takes_its_board_among_others(
    gpus: FakeNvml, option: str, name: str, limit_w: float
):
    plug(gpus, 1, OTHERS[option], limit_w)
    plug(gpus, 2, name, limit_w)
    with setup(f"hardware={option}") as it:
        start = it.start
    assert start.machine is not None
    assert [gpu.name for gpu in start.machine.gpus] == [name]
    assert start.provenance.scope == "GPU board"
    assert "unlike_published" not in start.flags


@pytest.mark.parametrize("option", BOARDS)
def test_a_named_system_refuses_other_boards_by_their_names(gpus: FakeNvml, option: str):
    for gpu in range(3):
        plug(gpus, gpu, OTHERS[option], 300)
    with pytest.raises(HardwareError) as caught, setup(f"hardware={option}") as it:
        _ = it.gpus
    message = str(caught.value)
    assert message.startswith(f"no {composed(f'hardware={option}').hardware.gpu_name}".rstrip("$"))
    assert f"GPU 1 ({OTHERS[option]})" in message
    assert "choose hardware=nvidia" in message


def test_the_refusal_reads_as_a_sentence(gpus: FakeNvml):
    for gpu in range(3):
        plug(gpus, gpu, "NVIDIA GeForce RTX 3090 Ti", 450)
    with (
        pytest.raises(HardwareError) as caught,
        setup("hardware=rtx3090", "hardware.gpus=[0]") as it,
    ):
        _ = it.gpus
    assert str(caught.value) == (
        "no RTX 3090 is among the GPUs to choose from: GPU 0 (NVIDIA GeForce RTX 3090 Ti); choose "
        "hardware=nvidia for any, or another hardware=..."
    )


@pytest.mark.parametrize("wanted", ["[0,2]", "2"])
def test_one_board_of_another_kind_among_those_asked_for_is_named(gpus: FakeNvml, wanted: str):
    plug(gpus, 2, "NVIDIA H100 PCIe", 350)
    words = ("hardware=h100", f"hardware.gpus={wanted}")
    with (
        pytest.raises(HardwareError, match=r"GPU 0 \(Fake H200\): it is no H100"),
        setup(*words) as it,
    ):
        _ = it.gpus


@pytest.mark.parametrize(
    ("option", "name", "limits_w", "flagged"),
    [
        ("h100", "NVIDIA H100 80GB HBM3", (650, 650), True),
        ("h100", "NVIDIA H100 80GB HBM3", (350, 350), True),  # of the PCIe card
        ("h100", "NVIDIA H100 64GB HBM2", (700, 700), True),  # no variant that is published
        ("a100", "NVIDIA A100-SXM4-80GB", (450, 450), True),
        ("a100", "NVIDIA A100-SXM4-80GB", (400.4, 400.4), False),
        ("rtx3090", "NVIDIA GeForce RTX 3090", (400, 350), False),  # takes more than its default
        ("rtx3090", "NVIDIA GeForce RTX 3090", (480, 390), True),
    ],
)
def test_a_board_with_another_limit_than_published_is_flagged(
    gpus: FakeNvml, option: str, name: str, limits_w: tuple[float, float], flagged: bool
):
    plug(gpus, 0, name, *limits_w)
    with setup(f"hardware={option}") as it:
        assert ("unlike_published" in it.start.flags) == flagged
    assert gpus.limits_set(0) == []


def test_a_limit_that_the_driver_does_not_tell_is_not_unlike(gpus: FakeNvml):
    plug(gpus, 0, "NVIDIA H100 80GB HBM3", 111)
    for call in ("PowerManagementDefaultLimit", "PowerManagementLimitConstraints"):
        gpus.fail(f"nvmlDeviceGet{call}", fake_nvml.NOT_SUPPORTED)
    with setup("hardware=h100") as it:
        assert "unlike_published" not in it.start.flags


def test_a_wrong_key_of_a_system_is_named(gpus: FakeNvml):
    plug(gpus, 0, "NVIDIA H100 80GB HBM3", 700)
    with pytest.raises(ConfigError, match=r"^hardware\.system \(.*'tdp'"):
        _ = setup("hardware=h100", "+hardware.system.tdp=700").system


@pytest.mark.parametrize(
    ("wanted", "name", "fits"),
    [
        (None, "anything", True),
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("A100", "NVIDIA RTX A1000", False),
        ("H1", "NVIDIA H100 PCIe", False),
        ("H100|H200", "NVIDIA H200", True),
        ("RTX 3090", "NVIDIA GeForce RTX 3090 Ti", True),
        ("RTX 3090$", "NVIDIA GeForce RTX 3090 Ti", False),
        ("RTX 3090$", "GeForce RTX 3090", True),
        (3090, "GeForce RTX 3090", True),  # what YAML makes of hardware.gpu_name=3090
    ],
)
def test_a_gpu_name_is_whole_words(wanted: Any, name: str, fits: bool):
    assert GpuOptions(gpu_name=wanted).fits(name) == fits


def test_a_gpu_name_that_is_no_expression_is_refused():
    with pytest.raises(ConfigError, match=r"^hardware\.gpu_name=H100\( is not allowed"):
        GpuOptions(gpu_name="H100(")


@pytest.mark.slow
def test_a_trial_on_a_named_system(energyopt: Program, gpu_box: FakeNvml):
    words = (
        *("task=wine", "model=mlp", "epochs=1", "device=cpu", "hardware=h100"),
        *("hardware.idle_s=0", "hardware.cool_down_s=0"),
    )
    refused = energyopt(*words)
    assert refused.code == 2
    assert "no H100 is among the GPUs to choose from: GPU 0 (Fake H200), GPU 1" in refused.text

    plug(gpu_box, 1, "NVIDIA H100 80GB HBM3", 700)
    ran = energyopt.ok(*words)
    assert "NVML energy counter" in ran.text
    assert "unlike_published" not in ran.text

    plug(gpu_box, 1, "NVIDIA H100 80GB HBM3", 650)
    assert "unlike_published: neither the GPU's default" in energyopt.ok(*words).text
    assert gpu_box.limits_set(1) == []


# Chips -------------------------------------------------------------------------------------


class Chip(SoC):  # type: ignore[misc]  # zeus is untyped
    """A chip as Zeus knows them, whose counters a test moves."""

    def __init__(self, energy: SoCMeasurement) -> None:
        self.energy = energy
        self.began: dict[str, dict[str, Any]] = {}

    def get_available_metrics(self) -> set[str]:
        return {name for name, value in vars(self.energy).items() if value is not None}

    def get_total_energy_consumption(self) -> SoCMeasurement:
        return type(self.energy)(**vars(self.energy))

    def begin_window(self, key: str, restart: bool = False) -> None:
        assert restart or key not in self.began
        self.began[key] = dict(vars(self.energy))

    def end_window(self, key: str) -> SoCMeasurement:
        return self.get_total_energy_consumption() - type(self.energy)(**self.began.pop(key))

    def spend(self, **energies_mj: float) -> None:
        for name, energy_mj in energies_mj.items():
            setattr(self.energy, name, getattr(self.energy, name) + energy_mj)


def install(chip: Chip) -> Chip:
    zeus.device.soc._soc = chip
    return chip


@pytest.fixture
def apple() -> Iterator[Chip]:
    """A chip like an M1, whose GPU has no counter of its SRAM."""
    fake_nvml.forget_devices()
    yield install(Chip(AppleSiliconMeasurement(cpu_total_mj=5, gpu_mj=7, dram_mj=9, ane_mj=1)))
    fake_nvml.forget_devices()


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Imitate a Mac: no /proc, and a sysctl."""
    sysctl = tmp_path / "bin" / "sysctl"
    sysctl.parent.mkdir()
    sysctl.write_text('#!/bin/sh\n[ "$*" = "-n machdep.cpu.brand_string" ] && echo "$CHIP"\n')
    sysctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sysctl.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CHIP", "Apple M1 Max")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "nothing")
    host.cpu_model.cache_clear()
    yield
    host.cpu_model.cache_clear()


class TestSocMeter(CountingMeterContract):
    @pytest.fixture
    def meter(self, apple: Chip) -> EnergyMeter:
        self.chip = apple
        return SocMeter("cpu")

    def work(self, amount: int) -> None:
        self.chip.spend(cpu_total_mj=1000 * amount, gpu_mj=2000 * amount, dram_mj=500 * amount)


def test_a_chip_counts_in_mj_and_its_parts_are_told_in_j(apple: Chip):
    meter = SocMeter("cpu")
    assert "untested" in meter.provenance.meter
    assert meter.provenance.kind == "measured"
    meter.start()
    apple.spend(cpu_total_mj=1500, gpu_mj=2500, dram_mj=250, ane_mj=99)
    energy = meter.stop()
    assert (energy.cpu_j, energy.gpu_j, energy.dram_j) == pytest.approx((1.5, 2.5, 0.25))


def test_the_gpus_sram_counts_where_there_is_a_counter(apple: Chip):
    apple.energy = AppleSiliconMeasurement(cpu_total_mj=0, gpu_mj=0, gpu_sram_mj=0)
    meter = SocMeter("cpu")
    meter.start()
    apple.spend(gpu_mj=2000, gpu_sram_mj=300)
    energy = meter.stop()
    assert energy.gpu_j == pytest.approx(2.3)
    assert energy.dram_j is None


def test_a_jetson_module_is_read_like_a_chip(apple: Chip):
    chip = install(Chip(JetsonMeasurement(cpu_energy_mj=1.0, gpu_energy_mj=1.0)))
    meter = SocMeter("cpu")
    meter.start()
    chip.spend(cpu_energy_mj=1000.0, gpu_energy_mj=3000.0)
    energy = meter.stop()
    assert (energy.cpu_j, energy.gpu_j, energy.dram_j) == (1, 3, None)


def test_only_the_parts_that_a_chip_counts_are_claimed(apple: Chip):
    assert SocMeter("cpu").provenance.scope == "CPU + GPU + DRAM of the chip"
    install(Chip(JetsonMeasurement(cpu_energy_mj=1.0, gpu_energy_mj=1.0)))
    assert SocMeter("cpu").provenance.scope == "CPU + GPU of the chip"
    install(Chip(JetsonMeasurement(cpu_energy_mj=1.0)))
    assert SocMeter("cpu").provenance.scope == "CPU of the chip"


def test_a_chip_that_tells_nothing_is_an_error(apple: Chip):
    install(Chip(JetsonMeasurement(total_energy_mj=1.0)))
    with pytest.raises(HardwareError, match=r"reported no energy; train on the CPU"):
        SocMeter("cpu")


def test_m1_max_takes_an_m1_max(apple: Chip, mac: None):
    it = setup("hardware=m1_max")
    assert it.start.provenance.device == "CPU Apple M1 Max"
    assert it.start.flags == ()


@pytest.mark.parametrize("chip", ["Apple M1", "Apple M1 Pro", "Apple M2 Max"])
def test_m1_max_refuses_another_chip_by_its_name(
    apple: Chip, mac: None, monkeypatch: pytest.MonkeyPatch, chip: str
):
    monkeypatch.setenv("CHIP", chip)
    with pytest.raises(HardwareError, match=rf"no M1 Max, but {chip}; choose hardware=soc"):
        _ = setup("hardware=m1_max").meter
    assert setup("hardware=soc").start.provenance.device == f"CPU {chip}"


def test_a_machine_that_is_no_such_chip_is_refused():
    fake_nvml.forget_devices()
    for option in ("m1_max", "soc"):
        with pytest.raises(HardwareError, match=r"this machine is no .*hardware=(soc|auto)"):
            _ = setup(f"hardware={option}").meter


# AMD ---------------------------------------------------------------------------------------


class Radeon(GPU):  # type: ignore[misc]  # zeus is untyped
    """An AMD GPU as Zeus knows them, as far as the meter asks."""

    def __init__(self, gpu_index: int, *, counts: bool = True) -> None:
        super().__init__(gpu_index)
        self.counts = counts
        self.counter_mj = 1000

    def get_name(self) -> str:
        return "AMD Instinct MI300X"

    def supports_get_total_energy_consumption(self) -> bool:
        return self.counts

    def get_total_energy_consumption(self) -> int:
        return self.counter_mj


Radeon.__abstractmethods__ = frozenset()


class Radeons(GPUs):  # type: ignore[misc]  # zeus is untyped
    """The AMD GPUs of a machine."""

    def __init__(self, *gpus: Radeon) -> None:
        self._gpus = gpus

    def __del__(self) -> None: ...

    @property
    def gpus(self) -> tuple[Radeon, ...]:
        return self._gpus


@pytest.fixture
def radeons() -> Iterator[tuple[Radeon, ...]]:
    fake_nvml.forget_devices()
    found = (Radeon(0), Radeon(1))
    zeus.device.gpu._gpus = Radeons(*found)
    yield found
    fake_nvml.forget_devices()


class TestAmdMeter(CountingMeterContract):
    @pytest.fixture
    def meter(self, radeons: tuple[Radeon, ...]) -> EnergyMeter:
        self.radeons = radeons
        return AmdMeter("cuda:1")

    def work(self, amount: int) -> None:
        self.radeons[0].counter_mj += 10
        self.radeons[1].counter_mj += 3000 * amount


def test_an_amd_gpu_is_read_in_j_and_called_untested(radeons: tuple[Radeon, ...]):
    meter = AmdMeter("cuda:1")
    assert meter.provenance.meter == "AMD SMI energy counter (untested)"
    assert meter.provenance.device == "AMD Instinct MI300X"
    meter.start()
    radeons[0].counter_mj += 99_000
    radeons[1].counter_mj += 2500
    energy = meter.stop()
    assert energy.gpu_j == pytest.approx(2.5)
    assert energy.cpu_j is None


def test_the_option_amd_builds(radeons: tuple[Radeon, ...]):
    start = setup("hardware=amd").start
    assert start.provenance.scope == "GPU board"
    assert start.flags == ("gpu_meter_cpu_training",)


def test_an_amd_gpu_without_a_counter_is_refused(radeons: tuple[Radeon, ...]):
    radeons[0].counts = False
    with pytest.raises(HardwareError, match=r"MI300X has no energy counter.*device=cpu"):
        AmdMeter("cuda:0")
    with pytest.raises(HardwareError, match=r"AMD GPUs cannot be metered.*device=cpu"):
        AmdMeter("cuda:7")


def test_amd_does_not_meter_nvidia_gpus(gpus: FakeNvml):
    with pytest.raises(HardwareError, match="choose hardware=nvidia"):
        AmdMeter("cuda:0")
