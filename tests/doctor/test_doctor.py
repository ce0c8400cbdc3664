"""`energyopt doctor` says whether this machine can be measured, and what to do where not."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.errors import HydraException
from optuna.study import StudyDirection
from rich.console import Console

from energyopt.doctor import examine
from energyopt.doctor.records import Check, Health
from energyopt.doctor.screen import health_screen
from energyopt.errors import ConfigError
from energyopt.hardware import powercap
from energyopt.hardware.lease import PACKAGES as PACKAGES_LEASE
from energyopt.hardware.lease import Lease
from energyopt.hardware.run_folder import run_dir
from energyopt.storage.database import open_database
from tests import fake_nvml, fake_rapl, fake_zeusd
from tests.conftest import Program
from tests.fake_nvml import FakeNvml
from tests.fake_rapl import Powercap

NVIDIA = "hardware=nvidia"
QUICK = "hardware=simulated"  # whose window takes no time

# In another process, and killed while it holds a power limit.
KILLED = """
import os, signal
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import PowerLimit
with PowerLimit(all_boards()[:1], 150):
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLD = """
import sys
from energyopt.hardware.lease import Lease
assert Lease(sys.argv[1]).take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def box(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    """Two pretend GPUs in this process, whose time passes by itself."""
    installed = fake_nvml.installed(nvml_library, tmp_path, 2, period_s=0.01, real_clock=True)
    with installed as fake:
        yield fake


def every(health: Health) -> list[Check]:
    gpus = [check for gpu in health.nvidia.gpus for check in gpu.checks]
    machine = (*health.nvidia.checks, *gpus, *health.cpu.checks)
    return [*health.configured.checks, *machine, *health.shared.checks, *health.storage.checks]


def look(*words: str, storage: str | None = None, config_dir: Path | None = None) -> Health:
    health = examine(words, storage=storage, config_dir=config_dir, seconds=0.1)
    assert all(check.remedy for check in every(health) if check.level == "FAIL")
    assert shown(health)
    return health


def shown(health: Health, *, colour: bool = False) -> str:
    console = Console(
        width=80,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        _environ={},
    )
    with console.capture() as capture:
        console.print(health_screen(health))
    return capture.get()


def line(checks: Sequence[Check], name: str) -> Check:
    (found,) = (check for check in checks if check.name == name)
    return found


def verdict(health: Health) -> Check:
    return line(health.configured.checks, "energy")


# The configured hardware -------------------------------------------------------------------


def test_a_sound_gpu_is_tried_and_given_back(box: FakeNvml):
    health = look(NVIDIA, "hardware.power_limit_w=profile")
    configured = health.configured
    assert configured.measurable is True
    assert configured.provenance is not None
    assert configured.provenance.meter == "NVML energy counter"
    assert configured.window is not None
    assert configured.window.total_j == pytest.approx(fake_nvml.IDLE_W * 0.5, rel=0.3)
    assert line(configured.checks, "measured by").level == "ok"
    assert Lease(box.uuid(0)).take()
    assert box.limit_w(0) == box.limit_w(1) == fake_nvml.LIMIT_W


def test_a_machine_without_sensors_estimates_and_nothing_is_red():
    health = look("hardware=auto", "device=cpu")
    assert health.configured.measurable is True
    assert line(health.configured.checks, "estimated by").level == "note"
    assert "estimated, not measured" in shown(health)
    assert not [check for check in every(health) if check.level == "FAIL"]


def test_a_gpu_where_there_is_no_driver_is_red(monkeypatch: pytest.MonkeyPatch):
    health = look(NVIDIA)
    assert health.configured.measurable is False
    assert "NVIDIA GPUs cannot be read" in verdict(health).says
    assert "hardware=estimate" in str(verdict(health).remedy)
    assert line(health.nvidia.checks, "driver").level == "info"


@pytest.mark.parametrize(
    ("words", "says", "remedy"),
    [
        (["lr=-1"], "lr=-1 is not allowed", "change that"),
        (["device=${nope}"], "nope", "give a value"),
        (["device=tpu"], "device=tpu is not known", "choose auto"),
        (["hardware=estimate", "hardware.power_limit_w=200"], "estimated by", "hardware=nvidia"),
        (["hardware=own"], "Missing mandatory value", "set it on the command line"),
    ],
)
def test_what_could_not_be_measured_is_red_with_a_remedy(words: list[str], says: str, remedy: str):
    health = look(*words)
    assert health.configured.measurable is False
    assert verdict(health).level == "FAIL"
    assert says in verdict(health).says
    assert remedy in str(verdict(health).remedy)


OWN_METERS = """
from energyopt.core.trial_result import Energy, Provenance

class Zero:
    provenance = Provenance("measured", "odd", "1", "all", "d", "h", "none")

    def start(self):
        pass

    def stop(self):
        return Energy(0.5, cpu_j=0.0)

class Odd(Zero):
    def stop(self):
        return 1 / 0

class Broken:
    def __init__(self):
        raise RuntimeError("no battery")
"""


def test_a_meter_of_ones_own_may_do_what_it_likes(tmp_path: Path):
    (tmp_path / "odd_meters.py").write_text(OWN_METERS)
    for meter, says, remedy in (
        ("Zero", "odd read 0 J", "check the sensor"),
        ("Odd", "ZeroDivisionError: division by zero", "report it"),
        ("Broken", "no battery", "change that"),
    ):
        health = look("hardware=own", f"hardware.meter._target_=odd_meters.{meter}")
        assert health.configured.measurable is False
        assert says in verdict(health).says
        assert remedy in str(verdict(health).remedy)


def test_an_unforeseen_error_shows_its_place_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(powercap, "RAPL_ROOTS", (5,))
    with pytest.raises(AttributeError):
        examine(seconds=0.1)


def test_wrong_words_are_a_mistake_of_the_command(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere is not a folder"):
        look(config_dir=tmp_path / "nowhere")
    with pytest.raises(HydraException):
        look("hardware=nvdia")


def test_own_configs_are_found(tmp_path: Path):
    folder = tmp_path / "mine" / "hardware"
    folder.mkdir(parents=True)
    (folder / "weak.yaml").write_text(
        "meter:\n  _target_: energyopt.hardware.estimate.CpuTimeMeter\n  watts_per_core: 7\n"
    )
    health = look("hardware=weak", config_dir=tmp_path / "mine")
    assert health.configured.provenance is not None
    assert health.configured.provenance.meter == "cpu-time x 7 W/core"
    assert "7 W/core" in line(health.cpu.checks, "estimate").says


# NVIDIA GPUs -------------------------------------------------------------------------------


def test_a_gpu_is_described_as_it_is_measured(box: FakeNvml):
    first, second = look(QUICK).nvidia.gpus
    assert (first.index, first.metered, first.idle, first.may_limit) == (0, True, True, True)
    assert first.period_s == pytest.approx(0.01, rel=0.5)
    assert first.power_w == pytest.approx(fake_nvml.IDLE_W, rel=0.2)
    assert first.temperature_c == 40
    assert first.gpu is not None
    assert first.gpu.uuid == box.uuid(0)
    assert "idle power" in line(first.checks, "energy").says
    assert "300 W of 100 to 300 W" in line(first.checks, "power limit").says
    assert [check.level for check in second.checks] == ["ok", "ok", "ok", "info"]


def test_a_counter_that_stands_still_is_said(box: FakeNvml):
    box.state.gpu[1].period_ns = 10**11
    _, second = look(QUICK).nvidia.gpus
    assert (second.metered, second.period_s, second.power_w) == (True, None, None)
    assert "no change seen in 0.1 s" in line(second.checks, "energy").says


def test_power_while_others_compute_is_not_called_idle(box: FakeNvml):
    box.processes(0, os.getppid())
    box.demand(0, 250)
    health = look(NVIDIA, "hardware.gpus=[0]")
    first, second = health.nvidia.gpus
    assert not first.idle
    assert second.idle
    assert first.power_w == pytest.approx(250, rel=0.2)
    assert "mean power" in line(first.checks, "energy").says
    assert "(not at rest)" in line(first.checks, "energy").says
    assert f"({os.getppid()})" in line(first.checks, "in use").says
    assert health.configured.measurable is False
    assert "others compute" in verdict(health).says
    assert look(NVIDIA, "hardware.gpus=[0]", "hardware.shared=flag").configured.measurable is True


def test_limits_that_may_not_be_set_matter_where_they_are_asked_for(box: FakeNvml):
    box.unprivileged()
    health = look(NVIDIA)
    assert health.configured.measurable is True
    assert health.nvidia.gpus[0].may_limit is False
    note = line(health.nvidia.gpus[0].checks, "power limit")
    assert note.level == "note"
    assert "may not be set" in note.says
    assert "CAP_SYS_ADMIN" in str(note.remedy)
    refused = look(NVIDIA, "hardware.power_limit_w=200")
    assert refused.configured.measurable is False
    assert "CAP_SYS_ADMIN" in str(verdict(refused).remedy)
    flagged = look(NVIDIA, "hardware.power_limit_w=profile").configured
    assert flagged.measurable is True
    assert "no_power_limit" in flagged.flags
    assert "outside 100 to 300 W" in verdict(look(NVIDIA, "hardware.power_limit_w=900")).says


def test_a_limit_below_the_default_is_said_with_the_way_back(box: FakeNvml):
    box.state.gpu[1].limit_mw = 220_000
    first, second = look(QUICK).nvidia.gpus
    assert "default limit" not in [check.name for check in first.checks]
    note = line(second.checks, "default limit")
    assert note.level == "note"
    assert "220 W is below the board's default of 300 W" in note.says
    assert "sudo nvidia-smi -i 1 -pl 300" in str(note.remedy)
    env = os.environ | box.environment
    subprocess.run([sys.executable, "-c", KILLED], env=env, check=False)
    first, _ = look(QUICK).nvidia.gpus
    assert "energyopt restore" in str(line(first.checks, "default limit").remedy)


def test_the_verdict_is_not_ok_above_a_warning(box: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    health = look(NVIDIA, "hardware.gpus=[0]")
    assert health.configured.flags == ("gpu_meter_cpu_training",)
    assert shown(health).startswith("note: the configured hardware would be measured, with 2 warn")
    sound = replace(health, configured=replace(health.configured, checks=()))
    assert shown(sound).startswith("ok: the configured hardware would be measured\n")
    box.state.gpu[0].limit_mw = 220_000
    elsewhere = replace(look(NVIDIA, "hardware.gpus=[1]").configured, checks=())
    nvidia = look(QUICK).nvidia
    assert shown(replace(health, configured=elsewhere, nvidia=nvidia)).startswith("ok: ")
    assert shown(replace(sound, nvidia=nvidia)).startswith("note: ")


def test_gpus_that_cannot_be_metered_are_red_where_they_are_needed(box: FakeNvml):
    second = box.state.gpu[1]
    for field, value, says in (
        ("mig", 1, "MIG"),
        ("architecture", 4, "Volta"),
        ("virtualization", 2, "virtual GPU"),
    ):
        before = getattr(second, field)
        setattr(second, field, value)
        health = look(NVIDIA, "hardware.gpus=[1]")
        assert health.configured.measurable is False
        assert says in verdict(health).says
        assert health.nvidia.gpus[0].metered
        assert not health.nvidia.gpus[1].metered
        check = line(health.nvidia.gpus[1].checks, "energy")
        assert check.level == "note"
        assert says in check.says
        setattr(second, field, before)


def test_a_lost_gpu_hides_no_other(box: FakeNvml):
    box.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST, gpu=1)
    health = look(QUICK)
    first, second = health.nvidia.gpus
    assert first.metered
    assert (second.gpu, second.metered) == (None, False)
    assert "lost" in line(second.checks, "driver").says
    assert health.configured.measurable is True  # it needs none


def test_a_driver_that_does_not_answer_is_red(box: FakeNvml):
    box.fail("nvmlDeviceGetCount_v2", fake_nvml.UNKNOWN)
    assert line(look(QUICK).nvidia.checks, "driver").level == "FAIL"
    box.fail("nvmlDeviceGetCount_v2", 0)
    box.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.GPU_IS_LOST, gpu=0)
    assert line(look(QUICK).nvidia.gpus[0].checks, "energy").level == "FAIL"
    box.fail("nvmlDeviceGetComputeRunningProcesses_v3", fake_nvml.UNKNOWN, gpu=1)
    second = look(QUICK).nvidia.gpus[1]
    assert line(second.checks, "in use").level == "FAIL"
    assert not second.idle


def test_what_cuda_is_let_see_is_said(box: FakeNvml, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "GPU 1 (Fake H200) as cuda:0" in line(look(QUICK).nvidia.checks, "visible").says
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert line(look(QUICK).nvidia.checks, "visible").level == "FAIL"


def test_a_trial_that_holds_a_gpu_is_no_fault_of_the_machine(box: FakeNvml):
    command = [sys.executable, "-c", HOLD, box.uuid(0)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        health = look(NVIDIA, "hardware.gpus=[0]", "hardware.power_limit_w=200")
        assert health.configured.measurable is None
        assert f"process {holder.pid}" in verdict(health).says
        assert "hardware.lease_wait_s=60" in str(verdict(health).remedy)
        first = health.nvidia.gpus[0]
        assert first.lease is not None
        assert first.lease.pid == holder.pid
        assert (first.metered, first.idle, first.may_limit) == (True, False, None)
        assert list(health.shared.leases) == [box.uuid(0)]
        assert look(NVIDIA).configured.measurable is True  # by the other GPU
        holder.send_signal(signal.SIGKILL)
    assert 0 not in [change.gpu for change in box.changes()]  # its limit was not touched


# Zeus' client cannot be closed.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_zeusd_is_asked_where_it_is_named(
    box: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert look(QUICK).nvidia.zeusd is None
    monkeypatch.setenv(fake_nvml.UNPRIVILEGED, "1")
    with fake_zeusd.running(tmp_path / "up", box.environment) as there:
        monkeypatch.setenv("ZEUSD_SOCK_PATH", there["ZEUSD_SOCK_PATH"])
        health = look(NVIDIA, "hardware.power_limit_w=200")
        assert health.nvidia.zeusd is not None
        assert health.nvidia.zeusd.groups == ("gpu-read", "gpu-control")
        assert not health.nvidia.zeusd.open_to_all
        socket = Path(there["ZEUSD_SOCK_PATH"])
        socket.chmod(0o666)  # as zeusd makes it
        (_, warning) = (check for check in look(QUICK).nvidia.checks if check.name == "zeusd")
        assert warning.level == "note"
        assert f"every user of this machine may set power limits through {socket}" in warning.says
        assert f"chmod 660 {socket}" in str(warning.remedy)
        socket.chmod(0o660)
        assert health.nvidia.gpus[0].may_limit is True
        assert health.configured.measurable is True
    with fake_zeusd.running(tmp_path / "reads", box.environment, groups="gpu-read") as there:
        monkeypatch.setenv("ZEUSD_SOCK_PATH", there["ZEUSD_SOCK_PATH"])
        assert line(look(QUICK).nvidia.checks, "zeusd").level == "note"
    monkeypatch.setenv("ZEUSD_SOCK_PATH", str(tmp_path / "down"))
    down = line(look(QUICK).nvidia.checks, "zeusd")
    assert down.level == "FAIL"
    assert "unset ZEUSD_SOCK_PATH" in str(down.remedy)
    gc.collect()


# The processor -----------------------------------------------------------------------------


@pytest.fixture
def rapl(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as tree:
        yield tree


PACKAGES = (fake_rapl.PACKAGE, fake_rapl.OTHER_PACKAGE)


def test_rapl_that_may_not_be_read_says_how_to_allow_it(
    rapl: Powercap, monkeypatch: pytest.MonkeyPatch
):
    # Root may read anything, whatever the mode of a file says.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("energy_uj"))
    health = look("hardware=rapl")
    assert not health.cpu.readable
    note = line(health.cpu.checks, "RAPL")
    assert note.level == "note"
    files = " ".join(str(rapl.counter(package)) for package in PACKAGES)
    assert f"sudo chmod a+r {files} (until" in str(note.remedy)
    assert health.configured.measurable is False
    assert "may not be read" in verdict(health).says


def test_rapl_counts_packages_and_memory_and_never_the_platform(rapl: Powercap):
    with rapl.alive(*PACKAGES):
        cpu = look(QUICK).cpu
    assert cpu.readable
    assert cpu.packages == tuple(str(rapl.root / package) for package in PACKAGES)
    assert cpu.dram == (str(rapl.root / fake_rapl.DRAM),)
    check = line(cpu.checks, "RAPL")
    assert check.level == "ok"
    assert check.says.startswith("2 package counters, and DRAM, readable: package-0 (")


def test_memory_that_may_not_be_read_is_not_counted_and_named(
    rapl: Powercap, monkeypatch: pytest.MonkeyPatch
):
    counter = rapl.counter(fake_rapl.DRAM)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != counter)
    with rapl.alive(*PACKAGES):
        cpu = look(QUICK).cpu
    assert cpu.readable
    note = line(cpu.checks, "DRAM")
    assert note.level == "note"
    assert f"sudo chmod a+r {counter} (until" in str(note.remedy)


def test_a_package_that_stands_still_is_no_ok(rapl: Powercap, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(powercap, "STILL_S", 0.1)
    with rapl.alive(fake_rapl.PACKAGE):
        health = look("hardware=rapl")
    assert health.configured.measurable is False
    assert "package-1" in verdict(health).says
    assert "stands still" in verdict(health).says
    assert line(health.cpu.checks, "RAPL").level == "note"


def test_the_holder_of_the_cpu_packages_is_named(rapl: Powercap):
    lease = Lease(PACKAGES_LEASE)
    assert lease.take()
    try:
        with rapl.alive(*PACKAGES):
            health = look("hardware=rapl")
    finally:
        lease.release()
    assert health.configured.measurable is None
    assert "RAPL) is held by process" in verdict(health).says
    assert "hardware=estimate" in str(verdict(health).remedy)
    assert "the lease of the CPU packages" in line(health.shared.checks, "lease").says


# What users share, and the storage ---------------------------------------------------------


def test_the_place_of_leases_must_be_a_folder():
    run_dir().write_text("")
    assert line(look(QUICK).shared.checks, "folder").level == "FAIL"


def test_a_power_limit_that_a_killed_run_left_stays_for_restore(box: FakeNvml):
    box.state.gpu[0].limit_mw = 250_000
    env = os.environ | box.environment
    subprocess.run([sys.executable, "-c", KILLED], env=env, check=False)
    health = look(NVIDIA, "hardware.gpus=[0]")
    (left,) = health.shared.limits
    assert (left.uuid, left.previous_w) == (box.uuid(0), 250)
    check = line(health.shared.checks, "power limit")
    assert (check.level, check.remedy) == ("FAIL", "energyopt restore")
    assert check.says == "GPU 0: 150 W now, 250 W before a run that was killed"
    assert health.configured.measurable is True
    assert box.limit_w(0) == 150
    if os.geteuid() != 0:
        return  # only root can make it another user's
    os.chown(run_dir() / f"{box.uuid(0)}.limit.json", 65534, 65534)
    note = line(look(QUICK).shared.checks, "power limit")
    assert note.level == "note"
    assert "or root: energyopt restore" in str(note.remedy)


def test_storage_is_looked_at_and_never_made(tmp_path: Path):
    health = look(QUICK)
    assert health.storage.where == "studies/energyopt.db"
    assert "will be created" in line(health.storage.checks, "storage").says
    assert not (tmp_path / "studies").exists()
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_text("rubbish")
    for storage in (str(rubbish), f"{rubbish}/deeper.db", "nodb://host/name", "sqlite://"):
        check = line(look(QUICK, storage=storage).storage.checks, "storage")
        assert check.level == "FAIL"
    assert rubbish.read_text() == "rubbish"


def test_studies_are_counted(tmp_path: Path):
    file = tmp_path / "a.db"
    database = open_database(str(file), create=True)
    database.create_new_study([StudyDirection.MINIMIZE], "one")
    database.engine.dispose()
    storage = look(QUICK, f"storage={file}").storage
    assert storage.studies == 1
    assert line(storage.checks, "storage").says == f"{file}: 1 study, writable"


def test_passwords_are_not_said():
    url = "postgresql+psycopg://user:secret@localhost:1/name"
    health = look(QUICK, f"storage='{url}'")
    assert "secret" not in shown(health)
    assert "secret" not in str(health)
    assert line(health.storage.checks, "storage").level == "FAIL"


# The screen, and the command ---------------------------------------------------------------


def test_colour_says_nothing_that_words_do_not(box: FakeNvml):
    box.state.gpu[1].mig = 1
    health = look(NVIDIA, "hardware.gpus=[1]")
    plain, coloured = shown(health), shown(health, colour=True)
    assert plain.startswith("FAIL: the configured hardware could not be measured\n")
    assert "\x1b[" not in plain
    assert "\x1b[1;31mFAIL" in coloured
    lines = plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.slow
def test_one_screen(gpu_box: FakeNvml, energyopt: Program):
    ran = energyopt("doctor", NVIDIA, "--seconds", "0.3", COLUMNS="80")
    assert (ran.code, ran.err) == (0, "")
    # The CPU trains, a GPU is read, and torch sees none.
    assert ran.out.startswith("note: the configured hardware would be measured, with 2 warn")
    for heading in ("NVIDIA GPUs, driver 580", "CPU", "Storage of studies", "Versions"):
        assert f"\n{heading}" in ran.out
    assert len(ran.out.splitlines()) <= 45  # paths of tests are long
    assert energyopt("doctor", "--seconds", "0").code == 2


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_sensors(gpu_box: FakeNvml, energyopt: Program):
    process = energyopt.start("doctor", NVIDIA, "--seconds", "60")
    time.sleep(4)  # in the middle of the watching
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-1:]) == (130, ["energyopt: interrupted"])


@pytest.mark.slow
def test_json_is_one_object_with_keys_that_stay(gpu_box: FakeNvml, energyopt: Program):
    gpu_box.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.NOT_SUPPORTED)
    ran = energyopt("doctor", "--json", "--seconds", "0.2", NVIDIA)
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found.pop("schema_version"), found.pop("command")) == (1, "doctor")
    assert {section: " ".join(found[section]) for section in found if section != "versions"} == {
        "configured": "overrides measurable device provenance window gpus flags checks",
        "nvidia": "driver gpus zeusd checks",
        "cpu": "model cores packages dram readable checks",
        "shared": "folder leases limits checks",
        "storage": "where studies checks",
    }
    assert " ".join(found["nvidia"]["gpus"][0]) == (
        "index gpu metered period_s power_w idle may_limit temperature_c lease processes checks"
    )
    assert {"energyopt", "torch", "zeus", "sqlite", "driver"} <= set(found["versions"])
    assert found["configured"]["measurable"] is False
    (failure,) = (each for each in found["configured"]["checks"] if each["level"] == "FAIL")
    assert list(failure) == ["level", "name", "says", "remedy"]
