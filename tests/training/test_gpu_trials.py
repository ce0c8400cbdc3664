"""One trial on pretend GPUs, through real Zeus: what is measured around its training."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.calibration import Calibration, gpus_key
from energyopt.core.energy import total
from energyopt.core.journal import JournalReader, JournalWriter
from energyopt.core.protocols import TrainStep
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, HardwareError
from energyopt.jobs.job import check_readiness, ready_trial
from energyopt.training.run import Run
from energyopt.training.run_process import end_open_run
from tests import fake_nvml
from tests.composing import composed
from tests.fake_nvml import FakeNvml, working
from tests.training.runs import enter_study, record

WORDS = ("hardware=nvidia", "task=wine", "model=mlp", "batch_size=8", "epochs=3", "patience=null")
QUICK = ("hardware.idle_s=0.1", "hardware.cool_down_s=0.05", "hardware.cool_down_max_s=0.2")


@pytest.fixture
def gpu(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    """One GPU in this process, whose time is real."""
    with fake_nvml.installed(nvml_library, tmp_path, real_clock=True) as fake:
        yield fake


class Busy:
    """Trains nothing, but lets the GPU work for 5 ms a step."""

    epoch_samples = 100

    def __init__(self, gpu: FakeNvml, during: Any = None) -> None:
        self._gpu = gpu
        self._during = during

    def train(self, samples: int) -> TrainStep:
        steps = -(-samples // 10)
        with working():
            time.sleep(0.005 * steps)
        if self._during is not None:
            self._during()
        return TrainStep(10 * steps, steps, 1.0)

    def evaluate(self) -> float:
        return 0.5


NOTHING = Calibration()


class BusySetup(TrialFactory):
    """The setup of a trial that trains nothing."""

    gpu: FakeNvml
    during: Any

    def make_paradigm(self) -> Any:
        return Busy(self.gpu, self.during)


def run(
    gpu: FakeNvml,
    folder: Path,
    *words: str,
    known: Calibration | None = NOTHING,
    during: Any = None,
) -> TrialResult:
    """Run a trial of a study that has found out nothing yet, or what is given."""
    context = RunContext(calibration=known)
    with BusySetup(composed(*WORDS, *QUICK, *words), context=context) as setup:
        setup.gpu, setup.during = gpu, during
        with ready_trial(setup, JournalWriter(folder / "progress.jsonl")) as trial:
            return trial.train()


def test_conditions_are_on_record(gpu: FakeNvml, tmp_path: Path):
    gpu.state.gpu[0].temperature_c = 41
    result = run(gpu, tmp_path)
    found, machine = result.conditions, result.start.machine
    assert (found.temperature_before_c, found.temperature_after_c) == (41, 41)
    assert found.idle_w == pytest.approx(fake_nvml.IDLE_W, rel=0.05)
    assert found.limit_w == 300
    assert found.cool_down_s == 0
    assert machine is not None
    (board,) = machine.gpus
    assert (board.uuid, board.name, board.limit_w) == (gpu.uuid(0), fake_nvml.NAME, 300)
    assert board.sm_clock_hz is not None
    assert board.sm_clock_hz > 1e8
    assert machine.driver
    assert {"energyopt", "torch", "zeus", "python"} <= set(machine.packages)
    assert result.booked("idle").gpu_j == pytest.approx(0.1 * fake_nvml.IDLE_W, rel=0.2)
    # A fraction of a second of real time, whose ends a busy machine stretches.
    assert result.training_j == pytest.approx(280 * result.booked("training").time_s, rel=0.3)
    assert result.energy_net_j == pytest.approx(
        result.training_j - fake_nvml.IDLE_W * result.booked("training").time_s, rel=0.1
    )
    assert result.checkpoints[0].training.gpus_j == (result.checkpoints[0].training.gpu_j,)
    assert JournalReader(tmp_path / "progress.jsonl").read().conditions == found


def test_the_second_trial_cools_down_and_measures_rest_no_more(gpu: FakeNvml, tmp_path: Path):
    calibration = Calibration.of([run(gpu, tmp_path)])
    second = run(gpu, tmp_path, known=calibration)
    assert second.conditions.cool_down_s >= 0.05
    assert "warm_start" not in second.flags
    key = gpus_key(second.start.machine, limits=True)  # type: ignore[arg-type]
    assert second.conditions.idle_w == calibration.idle_w[key]
    gpu.state.gpu[0].temperature_c += 5
    hot = run(gpu, tmp_path, known=calibration)
    assert "warm_start" in hot.flags
    assert hot.conditions.cool_down_s > 0.15


def test_rest_is_not_measured_where_that_is_not_wanted(gpu: FakeNvml, tmp_path: Path):
    result = run(gpu, tmp_path, "hardware.idle_s=0")
    assert result.conditions.idle_w is None
    assert result.energy_net_j is None
    assert "idle" not in result.books


def test_a_training_by_itself_waits_for_nothing(gpu: FakeNvml, tmp_path: Path):
    result = run(gpu, tmp_path, known=None)
    assert result.conditions.idle_w is None
    assert "idle" not in result.books


def test_a_counter_that_is_reset_fails_the_trial(gpu: FakeNvml, tmp_path: Path):
    def reset() -> None:
        with gpu.locked():
            gpu.state.gpu[0].counter_mj = 1.0
            gpu.state.gpu[0].since_ns = time.monotonic_ns()

    with pytest.raises(HardwareError, match=r"gpu_j=-.*reset"):
        run(gpu, tmp_path, during=reset)


def test_a_power_that_cannot_be_fails_the_trial(gpu: FakeNvml, tmp_path: Path):
    def jump() -> None:
        with gpu.locked():
            gpu.state.gpu[0].counter_mj += 1e6

    with pytest.raises(HardwareError, match=r"above 1\.25 of the 300 W.*hardware\.power_ceiling"):
        run(gpu, tmp_path, during=jump)


def test_a_gpu_that_is_lost_fails_the_trial_and_keeps_its_joules(gpu: FakeNvml, tmp_path: Path):
    def lose() -> None:
        gpu.fail("nvmlDeviceGetTotalEnergyConsumption", fake_nvml.GPU_IS_LOST)

    with pytest.raises(HardwareError, match="lost"):
        run(gpu, tmp_path, during=lose)
    remains = JournalReader(tmp_path / "progress.jsonl").read().result("failed", "lost")
    assert remains is not None
    assert total(remains.books.values()).total_j > 0


# Its trace ----------------------------------------------------------------------------------


def after(step: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return what acts once, after so many calls of `train`."""
    steps = itertools.count(1)

    def count() -> None:
        if next(steps) == step:
            act()

    return count


def wait_for(happened: Callable[[], object]) -> None:
    until_s = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.01)


LONG = ("epochs=8", "hardware.trace_s=0.05")  # seconds, in windows of a tenth and less
PATIENT = ("patience=null", "hardware.idle_s=0", *LONG)


def test_a_trace_is_on_record(gpu: FakeNvml, tmp_path: Path):
    gpu.state.gpu[0].period_ns = 100_000_000
    seen: list[int] = []
    path = tmp_path / "progress.jsonl"
    result = run(
        gpu, tmp_path, *PATIENT, during=lambda: seen.append(len(JournalReader(path).read().trace))
    )
    samples = result.trace.samples()
    assert seen[-1] > 1  # a kill would have left these
    assert len(samples) >= seen[-1] + 1
    assert samples[-1].time_s > samples[0].time_s
    assert {sample.limit_w for sample in samples} == {300}
    assert {sample.sm_clock_hz for sample in samples} == {1980e6}
    assert {sample.temperature_c for sample in samples} == {40}
    assert {sample.power_w for sample in samples} == {fake_nvml.IDLE_W, 280}
    assert result.conditions.events == ()
    assert TrialResult.from_dict(result.to_dict()).trace == result.trace
    assert JournalReader(path).read().result("target", "") is not None


def test_a_short_trial_is_sampled_at_both_ends(gpu: FakeNvml, tmp_path: Path):
    samples = run(gpu, tmp_path, "epochs=1", "hardware.idle_s=0", "hardware.trace_s=3600").trace
    assert len(samples.samples()) >= 2


def test_the_loop_of_a_user_is_traced_as_well(
    gpu: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    meter = {"_target_": "energyopt.hardware.zeus.NvmlMeter"}
    hardware = {"gpus": 1, "power_limit_w": 250, "idle_s": 0, "trace_s": 0.05, "meter": meter}
    enter_study(monkeypatch, tmp_path, hardware=hardware, device="cpu")
    run = Run()
    run.begin()
    for epoch in run.epochs(4):
        with working():
            time.sleep(0.1)
        if epoch == 2:
            gpu.state.gpu[0].limit_mw = 120_000
        with run.evaluation():
            loss = 0.5
        run.report(loss)
    end_open_run()
    result = record(tmp_path)
    assert {sample.held_w for sample in result.trace.samples()} == {250}
    assert "power_limit_changed" in result.flags
    assert result.conditions.limit_w is None
    assert gpu.limit_w() == 120  # another's is left alone
    assert all(thread.name != "gpu-trace" for thread in threading.enumerate())


def test_a_wrong_counter_does_not_fail_what_it_does_not_meter(gpu: FakeNvml, tmp_path: Path):
    def leap() -> None:
        with gpu.locked():
            gpu.state.gpu[0].counter_mj += 1e7

    words = ("hardware=estimate", "hardware.gpus=1")
    result = run(gpu, tmp_path, *PATIENT, *words, during=after(16, leap))
    assert "counter_leapt" in result.flags


def test_no_trace_is_taken_where_none_is_wanted(gpu: FakeNvml, tmp_path: Path):
    assert not run(gpu, tmp_path, "hardware.trace_s=0").trace


def test_a_limit_that_another_sets_is_flagged_and_not_on_record(gpu: FakeNvml, tmp_path: Path):
    def cap() -> None:
        gpu.state.gpu[0].limit_mw = 120_000

    word = "hardware.power_limit_w=250"
    result = run(gpu, tmp_path, *PATIENT, word, during=after(10, cap))
    assert "power_limit_changed" in result.flags
    assert result.conditions.limit_w is None
    (event,) = result.conditions.events
    assert event.detail == "120 W in force, 250 W set by the trial"
    last_s = result.trace.samples()[-1].time_s
    assert 0 < event.began_s < event.ended_s == pytest.approx(last_s, abs=0.001)


def test_a_limit_that_is_not_enforced_is_on_record_as_it_is(gpu: FakeNvml, tmp_path: Path):
    gpu.state.gpu[0].told_mw = 250_000
    gpu.state.gpu[0].limit_mw = 200_000
    result = run(gpu, tmp_path, *PATIENT)
    assert result.start.machine is not None
    (board,) = result.start.machine.gpus
    assert (board.limit_w, board.requested_limit_w) == (200, 250)
    assert result.conditions.limit_w == 200
    assert not {"power_limit_changed", "power_limit_not_enforced"} & {*result.flags}


def test_company_that_comes_and_goes_is_flagged(gpu: FakeNvml, tmp_path: Path):
    path = tmp_path / "progress.jsonl"

    def visit() -> None:
        gpu.processes(0, 4711)
        wait_for(lambda: JournalReader(path).read().trace[-1].others)
        gpu.processes(0)

    result = run(gpu, tmp_path, *PATIENT, during=after(10, visit))
    assert "company_in_between" in result.flags
    (event,) = result.conditions.events
    assert "another process computed on it: process 4711" in event.detail


def test_a_counter_that_stands_still_within_a_trial_fails_it(gpu: FakeNvml, tmp_path: Path):
    def freeze() -> None:
        gpu.state.gpu[0].limit_mw = 0  # it draws nothing, whatever its load demands

    with pytest.raises(HardwareError, match=r"counter of GPU 0 .* stood still from .*wrong"):
        run(gpu, tmp_path, *PATIENT, "epochs=20", during=after(8, freeze))


def test_a_board_that_gets_too_hot_is_flagged(gpu: FakeNvml, tmp_path: Path):
    def heat() -> None:
        gpu.state.gpu[0].throttle = 0x40

    result = run(gpu, tmp_path, *PATIENT, during=after(8, heat))
    assert "thermal_throttling" in result.flags


def test_a_trace_that_cannot_go_on_leaves_the_training_alone(gpu: FakeNvml, tmp_path: Path):
    call = "nvmlDeviceGetComputeRunningProcesses_v3"

    def break_it() -> None:
        gpu.fail(call, fake_nvml.UNKNOWN)
        wait_for(lambda: all(thread.name != "gpu-trace" for thread in threading.enumerate()))
        gpu.fail(call, 0)

    result = run(gpu, tmp_path, *PATIENT, during=after(8, break_it))
    assert "trace_ended" in result.flags
    (event,) = result.conditions.events
    assert "processes on GPU 0" in event.detail


# Company, and its limit -----------------------------------------------------------------


@pytest.mark.parametrize("shared", ["refuse", "flag"])
def test_a_process_that_joins_is_refused_or_flagged(gpu: FakeNvml, tmp_path: Path, shared: str):
    def join() -> None:
        gpu.processes(0, 4711)

    word = f"hardware.shared={shared}"
    if shared == "refuse":
        with pytest.raises(HardwareError, match="4711"):
            run(gpu, tmp_path, word, during=join)
        return
    result = run(gpu, tmp_path, word, during=join)
    assert "shared_gpu" in result.flags


def test_a_training_too_short_for_the_counter_is_flagged(gpu: FakeNvml, tmp_path: Path):
    assert "invalid_window" in run(gpu, tmp_path).flags
    longer = run(gpu, tmp_path, "hardware.quality_periods=[0,0,0.5]")
    assert "window" not in " ".join(longer.flags)


def test_a_limit_is_held_for_the_trial_alone(gpu: FakeNvml, tmp_path: Path):
    result = run(gpu, tmp_path, "hardware.power_limit_w=150")
    assert result.conditions.limit_w == 150
    assert result.training_j == pytest.approx(150 * result.booked("training").time_s, rel=0.1)
    assert gpu.limits_set() == [300, 150, 300]  # the first asks whether it may


def test_the_gpu_is_free_afterwards(gpu: FakeNvml, tmp_path: Path):
    run(gpu, tmp_path, "hardware.lease_wait_s=0")
    run(gpu, tmp_path, "hardware.lease_wait_s=0")


def test_a_preflight_says_what_there_is(gpu: FakeNvml):
    with TrialFactory(composed(*WORDS)) as setup:
        ready = check_readiness(setup)
    assert (ready.max_parallel, ready.limit_w, ready.limits_w) == (1, 300, (100, 300))
    assert ready.provenance.scope == "GPU board"


def test_a_counter_that_stands_still_ends_a_study_before_its_first_trial(gpu: FakeNvml):
    gpu.state.gpu[0].idle_mw = 0
    with (
        TrialFactory(composed(*WORDS)) as setup,
        pytest.raises(HardwareError, match=r"no energy of the GPUs.*stands still"),
    ):
        check_readiness(setup)


def test_a_trial_of_a_study_is_replayed_as_a_training_by_itself(gpu: FakeNvml, tmp_path: Path):
    (tmp_path / "recorded").mkdir()
    recorded = run(gpu, tmp_path / "recorded")
    assert recorded.booked("idle").total_j > 0
    words = ("hardware=replay", f"hardware.meter.path={tmp_path}/recorded")
    with BusySetup(composed(*WORDS[1:], *words)) as setup:
        setup.gpu, setup.during = gpu, None
        with ready_trial(setup, JournalWriter(None)) as trial:
            again = trial.train()
    assert again.start.provenance.kind == "replayed"
    assert [checkpoint.training for checkpoint in again.checkpoints] == [
        checkpoint.training for checkpoint in recorded.checkpoints
    ]
    assert again.booked("loading") == recorded.booked("loading")


def test_an_estimate_sees_no_power_limit(gpu: FakeNvml):
    words = ("hardware=estimate", "hardware.gpus=1", "hardware.power_limit_w=profile")
    with (
        TrialFactory(composed(*words)) as setup,
        pytest.raises(ConfigError, match="sees no effect"),
    ):
        setup.check_limit()


@pytest.mark.parametrize("key", ["colour", "power_limit"])
def test_unknown_keys_are_named(key: str):
    with (
        TrialFactory(composed(f"+hardware.{key}=1")) as setup,
        pytest.raises(ConfigError, match=rf"hardware\.{key}: there is no such key.*power_limit_w"),
    ):
        setup.check_limit()
