"""The energy of a whole command, by the means that meter its trainings."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import pytest

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.hardware.command_meter import CommandMeters, CountedCommand
from energyopt.hardware.estimate import CpuTimeMeter, watts_per_core
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.zeus import NvmlMeter
from tests.fake_nvml import FakeNvml


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def test_an_estimate_is_the_cpu_time_since_the_process_began_times_the_power():
    meter = CommandMeters().choose(CpuTimeMeter(7).provenance)
    assert meter is not None
    assert "7 W/core" in meter.basis
    subprocess.run([sys.executable, "-S", "-c", "sum(range(10**6))"], check=True)
    assert meter.total(()).total_j == pytest.approx(7 * cpu_s(), rel=0.05)


def test_the_power_of_a_core_is_read_from_an_estimate_alone():
    estimate = CpuTimeMeter(2.5).provenance
    assert watts_per_core(estimate) == 2.5
    for name in ("my own estimate", "cpu-time x many W/core"):
        assert watts_per_core(dataclasses.replace(estimate, meter=name)) is None


@pytest.mark.parametrize("kind", ["simulated", "replayed", "measured"])
def test_what_has_no_second_meter_is_not_counted(kind: Any):
    of_trials: Provenance = dataclasses.replace(CpuTimeMeter().provenance, kind=kind)
    assert CommandMeters().choose(of_trials) is None


def test_a_gpu_counts_also_between_trainings_and_those_of_no_training_do_not(gpus: FakeNvml):
    boards = all_boards()
    meter = CommandMeters(gpus=True).choose(NvmlMeter(boards[:1]).provenance)
    assert meter is not None
    before_j = boards[0].counter_j()
    gpus.advance(10)
    used_j = boards[0].counter_j() - before_j
    assert used_j > 0
    energy = meter.total({boards[0].uuid})
    assert energy.gpu_j == pytest.approx(used_j)
    assert energy == Energy(gpu_j=energy.gpu_j)
    assert meter.total(()).gpu_j == 0


def test_what_a_gpu_uses_while_another_holds_it_is_not_of_this_command(
    gpus: FakeNvml, monkeypatch: pytest.MonkeyPatch
):
    board = all_boards()[0]
    counted = CountedCommand([board])
    lease = Lease(board.uuid)
    assert lease.take()
    gpus.advance(10)
    own_j = counted.total({board.uuid}).gpu_j
    assert own_j is not None
    assert own_j > 0
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # for this one, this process is another
    counted.total({board.uuid})
    gpus.advance(10)
    assert counted.total({board.uuid}).gpu_j == own_j
    lease.release()
    counted.total({board.uuid})
    gpus.advance(10)
    assert counted.total({board.uuid}).gpu_j == pytest.approx(2 * own_j)
