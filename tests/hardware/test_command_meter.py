"""The energy of a whole command, by the means that meter its trainings."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Provenance
from energyopt.hardware.command_meter import CommandMeters, CountedCommand, PackageTotals
from energyopt.hardware.estimate import CpuTimeMeter, watts_per_core
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.zeus import NvmlMeter
from tests import fake_rapl
from tests.fake_nvml import FakeNvml
from tests.fake_rapl import DRAM, OTHER_PACKAGE, PACKAGE, Powercap

MEASURE = """
import resource, subprocess, sys, time
from energyopt.hardware.command_meter import CommandMeters
from energyopt.hardware.estimate import CpuTimeMeter
meter = CommandMeters().choose(CpuTimeMeter(7).provenance)
subprocess.run([sys.executable, "-S", "-c", "sum(range(2 * 10**7))"], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu_s = time.process_time() + used.ru_utime + used.ru_stime
print(meter.total(()).total_j, cpu_s, meter.basis, sep="|")
"""


def test_an_estimate_is_the_cpu_time_since_the_process_began_times_the_power():
    out = subprocess.check_output([sys.executable, "-c", MEASURE], text=True)
    total_j, cpu_s, basis = out.strip().split("|")
    assert "7 W/core" in basis
    assert float(total_j) == pytest.approx(7 * float(cpu_s), rel=0.05)


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


def test_the_start_of_a_command_counts_at_the_power_that_is_found(gpus: FakeNvml):
    board = all_boards()[0]
    power_w = board.power_w()
    assert power_w
    counted = CountedCommand([board], startup_s=3)
    assert counted.total({board.uuid}).gpu_j == pytest.approx(3 * power_w)
    assert "its first 3 s imputed" in counted.basis


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Powercap]:
    with fake_rapl.installed(tmp_path) as made:
        yield made


def test_packages_count_without_a_thread_and_at_their_mean_power_before(tree: Powercap):
    now_s = [0.0]
    threads = threading.active_count()
    counted = CountedCommand([], startup_s=2, clock=lambda: now_s[0])
    counted.with_packages(PackageTotals(), gpus=False)
    tree.spend(PACKAGE, 30)
    tree.spend(OTHER_PACKAGE, 10)
    tree.spend(DRAM, 2)
    now_s[0] = 10
    energy = counted.total(())
    assert energy.cpu_j == pytest.approx(40 * 1.2)
    assert energy.dram_j == pytest.approx(2 * 1.2)
    assert threading.active_count() <= threads


def test_the_age_of_a_process_is_the_time_since_it_began():
    code = (
        "import time; from energyopt.hardware.host import process_age_s as age; "
        "a = age(); time.sleep(0.3); print(a, age())"
    )
    before_s = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    took_s = time.monotonic() - before_s
    first_s, second_s = map(float, out.stdout.split())
    assert 0 < first_s < second_s <= took_s + 0.1


def test_a_call_in_a_program_counts_nothing_that_was_before() -> None:
    until_s = time.process_time() + 0.05
    while time.process_time() < until_s:
        pass
    provenance = CpuTimeMeter(7).provenance
    command, call = (CommandMeters(is_call=is_call) for is_call in (False, True))
    totals = [meters.choose(provenance).total(()).total_j for meters in (command, call)]  # type: ignore[union-attr]
    assert totals[0] - totals[1] >= 7 * 0.05
    assert call.cpu_s < command.cpu_s
