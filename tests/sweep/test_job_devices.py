"""Jobs of another app run at a time as their counters allow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.hardware.lease import PACKAGES, Lease
from energyopt.sweep.job_devices import JobDevices
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
