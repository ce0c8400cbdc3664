"""No part of a meter may stand still."""

from __future__ import annotations

import pytest

from energyopt.core.energy import Energy
from energyopt.errors import HardwareError
from energyopt.hardware.estimate import CpuTimeMeter
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.plausibility import check_meter, silent_part
from energyopt.hardware.zeus import NvmlMeter
from tests.fake_nvml import FakeNvml


@pytest.mark.parametrize(
    ("energy", "silent"),
    [
        (Energy(1, cpu_j=1.0), None),
        (Energy(1, 3.0, gpus_j=(1.0, 2.0)), None),
        (Energy(1, 3.0, cpu_j=1.0, dram_j=0.0, gpus_j=(3.0,)), None),
        (Energy(1, 3.0, gpus_j=(3.0, 0.0)), "GPU 1 of the trial"),
        (Energy(1, 0.0, cpu_j=5.0), "the GPUs"),
        (Energy(1, 3.0, cpu_j=0.0), "the CPU"),
        (Energy(1), "all that it meters"),
    ],
)
def test_the_part_that_saw_nothing_is_named(energy: Energy, silent: str | None):
    assert silent_part(energy) == silent


def test_an_estimate_is_sound():
    energy = check_meter(CpuTimeMeter())
    assert energy is not None
    assert energy.total_j > 0


def test_a_gpu_whose_counter_stands_still_beside_another_is_found(gpus: FakeNvml):
    # The virtual clock stands still, too; only GPU 0 is made to move.
    meter = NvmlMeter(all_boards(), "cpu")
    start = meter.start

    def moving() -> None:
        start()
        gpus.state.gpu[0].counter_mj += 5000

    meter.start = moving  # type: ignore[method-assign]
    with pytest.raises(HardwareError, match=r"no energy of GPU 1 of the trial"):
        check_meter(meter)
