"""Jobs of another app run at a time as their counters allow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.errors import HardwareError
from energyopt.hardware.lease import PACKAGES, Lease
from energyopt.sweep.job_devices import JobDevices, launched_ranks
from tests import fake_rapl
from tests.fake_nvml import FakeNvml
from tests.fake_rapl import Powercap

RAPL = {"meter": {"_target_": "energyopt.hardware.zeus.RaplMeter"}}
AUTO = {"meter": {"_target_": "energyopt.hardware.auto.choose_meter"}, "gpus": "auto"}
NVIDIA = {"meter": {"_target_": "energyopt.hardware.zeus.NvmlMeter"}, "gpus": 1}
ESTIMATE = {"meter": {"_target_": "energyopt.hardware.estimate.CpuTimeMeter"}}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as made:
        yield made


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("hardware", "most"), [(RAPL, 1), (AUTO, 1), ({**ESTIMATE, "cpu": True}, 1), (ESTIMATE, None)]
)
def test_jobs_that_read_the_cpu_run_one_at_a_time(hardware: dict[str, Any], most: int | None):
    assert JobDevices(hardware).max_parallel == (most or sys.maxsize)


def test_jobs_that_auto_estimates_run_as_many_as_asked_for(tree: Powercap):
    (tree.root / fake_rapl.PACKAGE / "max_energy_range_uj").unlink()
    assert JobDevices(AUTO).max_parallel == sys.maxsize


@pytest.mark.usefixtures("tree")
def test_gpus_are_many_and_the_cpu_beside_them_is_one(gpus: FakeNvml):
    assert JobDevices(NVIDIA).max_parallel == 2
    assert JobDevices(AUTO).max_parallel == 2
    assert JobDevices({**NVIDIA, "cpu": True}).max_parallel == 1


@pytest.mark.usefixtures("tree")
def test_the_packages_are_left_to_the_run_in_the_job():
    with JobDevices(RAPL).lease() as leased:
        assert leased == ()
        assert Lease(PACKAGES).take()


def test_a_training_over_ranks_has_a_gpu_for_each(gpus: FakeNvml):
    devices = JobDevices(NVIDIA, ranks=2)
    assert devices.max_parallel == 1
    with devices.lease() as leased:
        assert leased == (gpus.uuid(0), gpus.uuid(1))
    too_many = JobDevices(AUTO, ranks=3)
    with pytest.raises(HardwareError, match="needs 3 GPUs, and 2 are there"), too_many.lease():
        pass


@pytest.mark.parametrize(
    ("command", "ranks"),
    [
        ("torchrun --standalone --nproc-per-node 2 train.py", 2),
        ("python -m torch.distributed.run --nproc_per_node=4 train.py", 4),
        ("accelerate launch --num_processes 3 train.py", 3),
        ("torchrun --nproc-per-node gpu train.py", 1),
        ("python train.py --lr 2", 1),
    ],
)
def test_a_launcher_says_how_many_ranks_it_starts(command: str, ranks: int):
    assert launched_ranks(command.split()) == ranks
