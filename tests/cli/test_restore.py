"""`energyopt restore` puts back power limits that killed runs left, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from energyopt.hardware.run_folder import run_dir
from tests import fake_nvml
from tests.conftest import Program
from tests.fake_nvml import FakeNvml

HOLD = """
import time
from energyopt.hardware.run_folder import run_dir
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import PowerLimit

boards = all_boards()[:1]
assert Lease(boards[0].uuid).take()
with PowerLimit(boards, 150):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def box(gpu_box: FakeNvml) -> FakeNvml:
    gpu_box.state.gpu[0].limit_mw = 250_000  # not the default, which would be no proof
    return gpu_box


def hold(kill: bool = True) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    if kill:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    return holder


def test_nothing_to_restore(energyopt: Program):
    ran = energyopt.ok("restore")
    assert (ran.out, ran.err) == (f"nothing to restore in {run_dir()}\n", "")
    assert "root" in energyopt.ok("restore", "--help").out
    assert energyopt("restore", "demo").code == 2


@pytest.mark.slow
def test_doctor_finds_it_and_restore_puts_it_back(box: FakeNvml, energyopt: Program):
    hold()
    found = energyopt.ok("doctor", "--seconds", "0.1")
    assert "FAIL power limit GPU 0: 150 W now, 250 W before a run that was killed" in found.text
    assert "remedy energyopt restore" in found.text
    assert box.limit_w(0) == 150
    ran = energyopt.ok("restore")
    assert f"250 W, the power limit of {box.uuid(0)} before a run" in ran.text
    assert "is in force again" in ran.text
    assert box.limit_w(0) == 250
    assert energyopt.ok("restore").out == f"nothing to restore in {run_dir()}\n"


@pytest.mark.slow
def test_what_cannot_be_put_back_is_said_and_stays(box: FakeNvml, energyopt: Program):
    hold()
    refused = energyopt("restore", **{fake_nvml.UNPRIVILEGED: "1"})
    assert refused.code == 1
    assert "could not be put back" in refused.text
    assert "root" in refused.text
    box.fail("nvmlDeviceGetHandleByIndex_v2", fake_nvml.GPU_IS_LOST, gpu=1)  # another one
    assert energyopt.ok("restore").out.count("in force again") == 1
    assert box.limit_w(0) == 250


@pytest.mark.slow
def test_what_a_run_holds_is_left_alone(box: FakeNvml, energyopt: Program):
    holder = hold(kill=False)
    with holder:
        ran = energyopt.ok("restore")
        assert "is what a run holds" in ran.text
        assert f"process {holder.pid}" in ran.text
        assert box.limit_w(0) == 150
        os.kill(holder.pid, signal.SIGTERM)
    assert box.limit_w(0) == 250
