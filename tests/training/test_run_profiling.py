"""Power limits are tried in the steps that a `Run` counts, as our own loop tries them."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.calibration import Calibration
from energyopt.core.energy import Energy, total
from energyopt.core.history import StudyHistory
from energyopt.core.journal import JournalWriter
from energyopt.core.protocols import TrainStep
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.errors import ConfigError, RunPaused, RunStopped
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.gpu_selection import claim
from energyopt.hardware.nvml import Board, all_boards
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import profiler_for
from energyopt.training.run import Run
from energyopt.training.run_process import end_open_run
from energyopt.training.trial import run_trial
from tests import fake_nvml
from tests.fake_nvml import FakeNvml
from tests.toys import ESTIMATED
from tests.training.runs import enter_study, record

STEP_SAMPLES, EPOCH_STEPS, EPOCHS = 10, 100, 20
PROFILE = {
    "gpus": 1,
    "power_limit_w": "profile",
    "power_step_w": 50.0,
    "profile_slice_s": 1.0,
    "profile_settle_s": 0.2,
    "lease_wait_s": 0.0,
    "trace_s": 0,  # its clock is real, that of the GPU is not
}


class CounterMeter:
    """Reads the energy counter of a pretend GPU and its virtual clock."""

    fake: FakeNvml
    provenance = dataclasses.replace(ESTIMATED, kind="measured", meter="fake", resolution_s=0.0)

    def __init__(self, gpus: tuple[Board, ...]) -> None:
        (self._board,) = gpus
        self._began = Energy()

    def read(self) -> Energy:
        """Return what was used until now."""
        gpu_j = self._board.counter_j()
        return Energy(self.fake.state.now_ns / 1e9, gpu_j, gpus_j=(gpu_j,))

    def start(self) -> None:
        self._began = self.read()

    def stop(self) -> Energy:
        return self.read() - self._began


class EstimatingMeter(CounterMeter):
    """Says that it estimates."""

    provenance = ESTIMATED


class Work:
    """A training whose step takes 10 ms at full speed, and least energy at 200 W."""

    def __init__(self, fake: FakeNvml) -> None:
        self._fake = fake
        self.epoch_samples = STEP_SAMPLES * EPOCH_STEPS
        self.n_steps = 0

    def step(self) -> None:
        """Make a step."""
        self._fake.physics(demand_w=280, static_w=130)
        self._fake.advance(0.01 / fake_nvml.speed())
        self._fake.demand(0, 0)
        self.n_steps += 1

    def train(self, samples: int) -> TrainStep:
        steps = -(-samples // STEP_SAMPLES)
        for _ in range(steps):
            self.step()
        return TrainStep(STEP_SAMPLES * steps, steps, 1.0)

    def evaluate(self) -> float:
        self._fake.advance(0.05)
        return 0.5

    def state_dict(self) -> dict[str, int]:
        return {"n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n_steps = state["n_steps"]


@pytest.fixture(autouse=True)
def gpu(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """One GPU in this process, with a virtual clock."""
    folder = tmp_path / "nvml"
    folder.mkdir()
    with fake_nvml.installed(nvml_library, folder) as fake:
        monkeypatch.setattr(CounterMeter, "fake", fake, raising=False)
        yield fake
        end_open_run()


def enter(patch: pytest.MonkeyPatch, folder: Path, *, meter: str = "CounterMeter", **more: Any):
    """Be a job of a study that profiles power limits."""
    hardware = {**PROFILE, "meter": {"_target_": f"{__name__}.{meter}"}}
    enter_study(patch, folder, hardware=hardware, device="cpu", **more)


def train(work: Work, epochs: int = EPOCHS, *, counts: bool = True, **options: Any) -> None:
    """Train as a program of a user does."""
    run = Run(**options)
    run.begin(work=work)
    for _ in run.epochs(epochs):
        for _ in range(EPOCH_STEPS):
            work.step()
            if counts:
                run.step(STEP_SAMPLES)
        with run.evaluation():
            loss = work.evaluate()
        run.report(loss)


def pulled(fake: FakeNvml) -> TrialResult:
    """Return the record of the same training in our own loop."""
    options = GpuOptions(**PROFILE)  # type: ignore[arg-type]
    gpus = claim(options, "cpu")
    meter = CounterMeter(gpus.boards)
    with gpus.limited() as limit:
        assert limit is not None
        start = TrialStart(0.9, EPOCHS, 0, meter.provenance, machine=gpus.machine())
        work = Work(fake)
        plan = Plan(0.9, EPOCHS, eval_every=work.epoch_samples)
        profiler = profiler_for(gpus, options, limit, {}, None)
        result = run_trial(
            lambda: work, meter, plan, start, JournalWriter(None), gpus=gpus, profiler=profiler
        )
    gpus.close()
    return result


def assert_joules_are_counted_once(result: TrialResult, spent: Energy) -> None:
    """All energy of the counter is accounted for, and the curve has that of training."""
    booked = total(result.books.values())
    assert booked.total_j == pytest.approx(spent.total_j)
    assert booked.time_s == pytest.approx(spent.time_s)
    curve = total(checkpoint.training for checkpoint in result.checkpoints)
    assert curve.total_j == pytest.approx(result.training_j)


def used() -> Energy:
    """Return what the counter of the GPU reads."""
    return CounterMeter((all_boards()[0],)).read()


def test_the_profile_is_that_of_our_own_loop(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = pulled(gpu)
    enter(monkeypatch, tmp_path)
    before = used()
    train(Work(gpu))
    result = record(tmp_path)
    assert_joules_are_counted_once(result, used() - before)
    own, ours = result.conditions.profile, expected.conditions.profile
    assert own is not None
    assert ours is not None
    assert own.finished
    assert own.chosen_w == ours.chosen_w == result.conditions.limit_w == 200
    assert [p.limit_w for p in own.points] == [p.limit_w for p in ours.points]
    assert [p.step_j for p in own.points] == pytest.approx(
        [p.step_j for p in ours.points], rel=0.02
    )
    assert own.shape["batch_size"] == STEP_SAMPLES
    assert result.training_j == pytest.approx(expected.training_j, rel=0.02)
    assert result.curve.training_j == pytest.approx(expected.curve.training_j, rel=0.02)
    assert [p.steps for p in own.points] == pytest.approx([p.steps for p in ours.points], abs=1)
    # Each limit was settled and measured for a step more or less, which costs 20 J at 100 W.
    assert result.booked("profiling").total_j == pytest.approx(
        expected.booked("profiling").total_j, abs=80
    )
    assert "no_power_profile" not in result.flags
    assert gpu.limit_w() == 300  # restored


@pytest.mark.parametrize(("epochs", "counts"), [(EPOCHS, False), (1, True)])
def test_limits_are_left_alone_where_steps_or_epochs_are_not_known(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, epochs: int, counts: bool
) -> None:
    enter(monkeypatch, tmp_path)
    train(Work(gpu), epochs, counts=counts)
    result = record(tmp_path)
    assert "no_power_profile" in result.flags
    assert result.conditions.profile is None
    assert result.conditions.limit_w == 300
    assert set(gpu.limits_set()) <= {300}
    assert "profiling" not in result.books


def test_the_second_of_two_epochs_is_profiled_once_the_first_is_counted(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(f"{__name__}.EPOCH_STEPS", 1000)
    enter(monkeypatch, tmp_path)
    before = used()
    train(Work(gpu), 2)
    result = record(tmp_path)
    assert result.conditions.limit_w == 200
    assert_joules_are_counted_once(result, used() - before)
    first, second = result.curve.training_j
    assert first == pytest.approx(280 * 10, rel=0.01)  # at the limit in force, 10 s
    assert 0.9 * first < second - first < first  # at 200 W


def test_a_training_that_is_too_short_keeps_its_limit_and_says_so(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(monkeypatch, tmp_path)
    before = used()
    monkeypatch.setattr(f"{__name__}.EPOCH_STEPS", 75)
    train(Work(gpu), 2)
    result = record(tmp_path)
    assert "power_profile_too_short" in result.flags
    assert result.conditions.limit_w == 300
    assert_joules_are_counted_once(result, used() - before)
    assert result.booked("profiling").total_j == pytest.approx(0)


def test_a_pause_waits_for_the_profile_and_the_resumed_run_keeps_its_limit(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = used()
    enter(monkeypatch, tmp_path, pause_at_j=0.0)
    with pytest.raises(RunPaused):
        train(Work(gpu))
    paused = record(tmp_path)
    assert paused.conditions.limit_w == 200
    assert paused.conditions.profile is not None
    assert 3 < len(paused.checkpoints) < EPOCHS
    assert gpu.limit_w() == 300
    enter(monkeypatch, tmp_path, resume=True)
    n_set = len(gpu.limits_set())
    train(Work(gpu))
    result = record(tmp_path)
    assert set(gpu.limits_set()[n_set:]) == {200, 300}
    assert result.conditions.limit_w == 200
    assert result.conditions.profile == paused.conditions.profile
    assert "moved" not in result.flags
    assert_joules_are_counted_once(result, used() - before)
    per_epoch = [point.training.total_j for point in result.checkpoints]
    assert per_epoch == pytest.approx([per_epoch[-1]] * EPOCHS, rel=0.01)


def test_the_limit_is_restored_and_the_joules_kept_where_the_loop_raises(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class FailingWork(Work):
        def evaluate(self) -> float:
            if gpu.limit_w() < 300:
                raise RuntimeError("no")
            return super().evaluate()

    enter(monkeypatch, tmp_path)
    before = used()
    with pytest.raises(RuntimeError, match="no") as raised:
        train(FailingWork(gpu))
    end_open_run(raised.value)
    result = record(tmp_path)
    assert result.end == "failed"
    assert result.training_j == pytest.approx(2.8)  # the step before the first slice
    assert result.booked("profiling").total_j > 300
    assert total(result.books.values()).total_j == pytest.approx((used() - before).total_j)
    assert gpu.limit_w() == 300


@pytest.mark.parametrize("limit_w", [150.0, "profile"])
def test_a_signal_restores_the_limit_and_ends_the_record(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit_w: float | str
) -> None:
    class KilledError(Exception):
        pass

    class SignalledWork(Work):
        def evaluate(self) -> float:
            if gpu.limit_w() < 200:
                signal.raise_signal(signal.SIGTERM)
            return super().evaluate()

    def kill(_pid: int, number: int) -> None:
        assert signal.getsignal(number) is signal.SIG_DFL
        raise KilledError

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setitem(PROFILE, "power_limit_w", limit_w)
    enter(monkeypatch, tmp_path)
    with pytest.raises(KilledError) as killed:
        train(SignalledWork(gpu))
    assert killed.value.__context__ is None  # its end was written without an error
    assert (record(tmp_path).end, record(tmp_path).reason) == ("interrupted", "ended by SIGTERM")
    assert gpu.limit_w() == 300


def test_a_later_run_with_the_same_work_takes_the_limit_of_the_profile(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    enter(monkeypatch, first, params={"lr": 0.1, "width": 8})
    train(Work(gpu))
    calibration = Calibration.of([record(first)])
    monkeypatch.setitem(PROFILE, "idle_s", 0.0)
    monkeypatch.setitem(PROFILE, "cool_down_s", 0.0)
    enter(monkeypatch, second, params={"lr": 0.2, "width": 8}, calibration=calibration)
    train(Work(gpu))
    assert record(second).conditions.profile is None
    assert record(second).conditions.limit_w == 200
    assert "no_power_profile" not in record(second).flags
    enter(monkeypatch, third, params={"lr": 0.1, "width": 16}, calibration=calibration)
    train(Work(gpu))
    assert record(third).conditions.profile is not None


def test_a_later_run_continues_an_unfinished_profile(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    enter(monkeypatch, first)
    train(Work(gpu), 4)
    started = record(first).conditions.profile
    assert started is not None
    assert not started.finished
    assert "power_profile_unfinished" in record(first).flags
    assert record(first).conditions.limit_w == started.chosen_w
    monkeypatch.setitem(PROFILE, "idle_s", 0.0)
    monkeypatch.setitem(PROFILE, "cool_down_s", 0.0)
    enter(monkeypatch, second, calibration=Calibration.of([record(first)]))
    train(Work(gpu))
    profile = record(second).conditions.profile
    assert profile is not None
    assert profile.finished
    assert profile.measured[: len(started.measured)] == started.measured
    assert profile.measured[len(started.measured)].limit_w < started.points[-1].limit_w
    assert profile.chosen_w == record(second).conditions.limit_w == 200


def test_rules_are_asked_once_a_limit_is_chosen(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rules = {"at_once": {"_target_": f"{__name__}.StopsAtOnce"}}
    enter(monkeypatch, tmp_path, history=StudyHistory(), rules=rules)
    with pytest.raises(RunStopped, match="at once"):
        train(Work(gpu))
    result = record(tmp_path)
    assert result.conditions.limit_w == 200
    assert len(result.checkpoints) > 3


class StopsAtOnce:
    """A rule that stops at the first evaluation that it is asked about."""

    def decide(self, _progress: object, _rivals: object) -> str:
        return "at once"


def test_the_points_of_a_run_have_the_energy_of_what_was_profiled(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    joules: list[float] = []
    enter(monkeypatch, tmp_path)
    train(Work(gpu), on_report=lambda point: joules.append(point.training_j))
    assert joules[0] == pytest.approx(280, rel=0.01)
    assert joules[-1] == pytest.approx(record(tmp_path).training_j)


def test_an_estimate_sees_no_power_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    enter(monkeypatch, tmp_path, meter="EstimatingMeter")
    with pytest.raises(ConfigError, match="sees no effect"):
        Run()
