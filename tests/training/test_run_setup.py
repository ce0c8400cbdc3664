"""A run holds the CPU packages where its meter reads their counters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.run_context import RunContext
from energyopt.errors import GpusBusyError, HardwareError
from energyopt.hardware import powercap
from energyopt.hardware.lease import PACKAGES, Lease
from energyopt.hardware.simulated import SimulatedMeter
from energyopt.hardware.zeus import RaplMeter
from energyopt.training.run_setup import open_hardware
from tests import fake_rapl
from tests.fake_rapl import Powercap

RAPL: dict[str, Any] = {
    "meter": {"_target_": "energyopt.hardware.zeus.RaplMeter"},
    "lease_wait_s": 0,
}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Powercap]:
    zones = {fake_rapl.PACKAGE: "package-0", fake_rapl.OTHER_PACKAGE: "package-1"}
    with fake_rapl.installed(tmp_path, zones) as made:
        yield made


@pytest.fixture
def alive(tree: Powercap) -> Iterator[None]:
    with tree.alive(fake_rapl.PACKAGE, fake_rapl.OTHER_PACKAGE):
        yield


def is_held() -> bool:
    owner = Lease(PACKAGES).owner()
    assert owner is None or owner.pid == os.getpid()
    return owner is not None


class Wrapped(RaplMeter):
    """A user's own meter, which reads the packages as well."""


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("make", [RaplMeter, Wrapped])
def test_a_run_with_the_users_own_meter_holds_the_packages_that_it_reads(make: type[RaplMeter]):
    hardware = open_hardware(RunContext(), make(), {})
    assert is_held()
    hardware.close()
    assert not is_held()


@pytest.mark.usefixtures("alive")
def test_a_run_of_a_study_holds_them_until_it_is_closed():
    hardware = open_hardware(RunContext(hardware=RAPL, device="cpu"), "auto", {})
    assert is_held()
    with pytest.raises(GpusBusyError, match="CPU packages"):
        open_hardware(RunContext(hardware=RAPL, device="cpu"), "auto", {})
    hardware.close()
    assert not is_held()


@pytest.mark.usefixtures("alive")
def test_a_run_without_a_study_takes_the_best_meter_and_holds_what_it_reads():
    hardware = open_hardware(RunContext(), "cpu", {})
    assert hardware.meter.provenance.meter == "RAPL"
    assert is_held()
    hardware.close()


def test_a_package_that_stands_still_is_refused_and_given_back(
    tree: Powercap, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(powercap, "STILL_S", 0.1)
    with (
        tree.alive(fake_rapl.PACKAGE),
        pytest.raises(HardwareError, match=r"package-1 .* stands still"),
    ):
        open_hardware(RunContext(), RaplMeter(), {})
    assert not is_held()


@pytest.mark.usefixtures("tree")
def test_other_meters_hold_nothing():
    hardware = open_hardware(RunContext(), SimulatedMeter(8), {})
    assert not is_held()
    hardware.close()
