"""The thread that samples GPUs: what it sees, and that nothing of it reaches the training."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from energyopt.core.gpu_trace import TraceSample
from energyopt.errors import TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.gpu_tracer import GpuTracer
from energyopt.hardware.nvml import all_boards
from tests import fake_nvml
from tests.fake_nvml import FakeNvml

COUNTER = "nvmlDeviceGetTotalEnergyConsumption"
NEVER_S = 1000.0
PATIENCE_S = 30.0


@pytest.fixture
def fake(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    """Two GPUs in this process, whose time is real."""
    with fake_nvml.installed(nvml_library, tmp_path, gpus=2, real_clock=True) as made:
        yield made


def allocation(**options: float) -> GpuAllocation:
    gpus = GpuAllocation(GpuOptions(**options), "cpu", all_boards())  # type: ignore[arg-type]
    gpus.record_processes()
    return gpus


def wait_for(happened: Callable[[], object]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def ignore(_: TraceSample) -> None:
    """Keep nothing."""


def test_each_board_is_sampled_at_once_and_at_the_end(fake: FakeNvml):
    fake.demand(1, 200)
    kept: list[TraceSample] = []
    tracer = GpuTracer(allocation(), NEVER_S, 0.1, kept.append)
    tracer.start()
    tracer.stop()
    assert [sample.gpu for sample in kept] == [0, 1, 0, 1]
    assert [sample.power_w for sample in kept] == [fake_nvml.IDLE_W, 200] * 2
    assert kept == tracer.samples
    tracer.stop()  # a second time changes nothing
    assert len(kept) == 4


def test_it_follows_at_its_period(fake: FakeNvml):
    tracer = GpuTracer(allocation(), 0.01, 0.1, ignore)
    tracer.start()
    wait_for(lambda: len(tracer.samples) > 10)
    tracer.stop()
    times_s = [sample.time_s for sample in tracer.samples if sample.gpu == 0]
    assert times_s == sorted(times_s)
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu-trace"]


def test_a_window_that_opens_late_enough_is_sampled(fake: FakeNvml):
    tracer = GpuTracer(allocation(), NEVER_S, 0.001, ignore)
    tracer.start()

    def sampled() -> bool:
        tracer.mark()
        return len(tracer.samples) > 4

    wait_for(sampled)
    tracer.stop()


def test_windows_do_not_sample_more_often_than_the_counter_moves(fake: FakeNvml):
    tracer = GpuTracer(allocation(), NEVER_S, NEVER_S, ignore)
    tracer.start()
    for _ in range(1000):
        tracer.mark()
    tracer.stop()
    assert len(tracer.samples) == 4


def test_a_lost_gpu_ends_the_trace_in_words(fake: FakeNvml):
    tracer = GpuTracer(allocation(), 0.01, 0.1, ignore)
    tracer.start()
    fake.fail(COUNTER, fake_nvml.GPU_IS_LOST)
    wait_for(lambda: tracer.problem)
    assert "GPU is lost" in str(tracer.problem)
    tracer.mark()
    tracer.stop()


def test_a_gpu_that_is_lost_at_once_has_no_trace(fake: FakeNvml):
    gpus = allocation()
    fake.fail(COUNTER, fake_nvml.GPU_IS_LOST)
    tracer = GpuTracer(gpus, 0.01, 0.1, ignore)
    tracer.start()
    tracer.stop()
    assert "GPU is lost" in str(tracer.problem)
    assert tracer.samples == []


@pytest.mark.parametrize(
    "error", [TrialError("the disk is full"), RuntimeError("the disk is full")]
)
def test_a_record_that_cannot_be_written_ends_it_as_well(fake: FakeNvml, error: Exception):
    def refuse(_: TraceSample) -> None:
        raise error

    tracer = GpuTracer(allocation(), 0.01, 0.1, refuse)
    tracer.start()
    tracer.stop()
    assert "the disk is full" in str(tracer.problem)


def test_values_that_a_driver_does_not_know_are_missing(fake: FakeNvml):
    for call in (
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetPowerUsage",
    ):
        fake.fail(call, fake_nvml.NOT_SUPPORTED)
    tracer = GpuTracer(allocation(), NEVER_S, 0.1, ignore)
    tracer.start()
    tracer.stop()
    (sample, *_) = tracer.samples
    assert (sample.limit_w, sample.requested_w) == (300, 300)
    assert (sample.throttle, sample.temperature_c, sample.power_w) == (None, None, None)


def test_older_drivers_say_why_clocks_are_low_under_another_name(fake: FakeNvml):
    fake.state.gpu[0].throttle = 4
    fake.fail("nvmlDeviceGetCurrentClocksEventReasons", fake_nvml.FUNCTION_NOT_FOUND)
    tracer = GpuTracer(allocation(), NEVER_S, 0.1, ignore)
    tracer.start()
    tracer.stop()
    assert tracer.samples[0].throttle == 4


def test_the_limit_that_the_trial_holds_is_told_with_that_in_force(fake: FakeNvml):
    gpus = allocation(power_limit_w=200)
    with gpus.limited() as limit:
        assert limit is not None
        tracer = GpuTracer(gpus, 0.005, 0.1, ignore)
        tracer.start()
        for limit_w in (150, 250, 180):
            limit.set(limit_w)
            n_before = len(tracer.samples)
            wait_for(lambda: len(tracer.samples) > n_before + 2)  # noqa: B023  # called at once
        tracer.stop()
    pairs = {(sample.held_w, sample.limit_w) for sample in tracer.samples}
    assert pairs == {(limit_w, limit_w) for limit_w in (200, 150, 250, 180)}


def test_company_is_counted_and_named(fake: FakeNvml):
    gpus = allocation()
    fake.processes(1, os.getppid(), os.getpid())
    tracer = GpuTracer(gpus, NEVER_S, 0.1, ignore)
    tracer.start()
    tracer.stop()
    assert [sample.others for sample in tracer.samples] == [0, 1, 0, 1]
    (name,) = tracer.company
    assert str(os.getppid()) in name


def test_a_fork_leaves_the_trace_to_its_parent(fake: FakeNvml):
    tracer = GpuTracer(allocation(), 0.001, 0.001, ignore)
    tracer.start()
    for _ in range(20):  # while the thread holds locks, too
        pid = os.fork()
        if not pid:
            tracer.mark()
            tracer.stop()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    n_before = len(tracer.samples)
    wait_for(lambda: len(tracer.samples) > n_before)
    tracer.stop()
    assert tracer.problem is None


def test_a_resumed_trace_goes_on_where_it_was(fake: FakeNvml):
    tracer = GpuTracer(allocation(), NEVER_S, 0.1, ignore, origin_s=500.0)
    tracer.start()
    tracer.stop()
    assert min(sample.time_s for sample in tracer.samples) >= 500
