"""Recorded trainings are played back as they were recorded, through the same loop as real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from energyopt.core.journal import JournalWriter
from energyopt.core.protocols import EnergyMeter, Paradigm, SupportsPause
from energyopt.core.traces import AccuracyTrace, Clock, Costs, Pace
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.errors import ConfigError
from energyopt.hardware.recorded import RecordedMeter
from energyopt.paradigms.replay import EPOCH_SAMPLES, Playback, replay
from energyopt.tasks.replay import Replay, read_recorded
from energyopt.testing.pytest import CountingMeterContract
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import PowerProfiler
from energyopt.training.trial import run_trial
from tests.recorded_tables import (
    EPOCH_S,
    LIMITS_W,
    epoch_j,
    epoch_s,
    write_error_rates,
    write_tables,
)


@pytest.fixture
def task(tmp_path: Path) -> Replay:
    return Replay(str(write_tables(tmp_path)), "digits")


def played(
    task: Replay, size: int, *, seed: int = 0, profiler: PowerProfiler | None = None
) -> TrialResult:
    meter = RecordedMeter(task)
    recorded = task.recorded
    return run_trial(
        lambda: replay(task, size, seed),
        meter,
        Plan(recorded.target, recorded.max_epochs, eval_every=EPOCH_SAMPLES, stop_at_target=True),
        TrialStart(recorded.target, recorded.max_epochs, seed, meter.provenance),
        JournalWriter(None),
        profiler=profiler,
    )


def near(value: float | None) -> object:
    return pytest.approx(value, rel=1e-9)


# Tables ------------------------------------------------------------------------------------------


def test_a_workload_on_a_gpu_is_found_with_its_target_and_default(tmp_path: Path):
    write_tables(tmp_path, gpu="a40")
    (found,) = read_recorded(tmp_path)
    assert (found.workload, found.gpu) == ("digits", "a40")
    assert (found.target, found.max_epochs, found.default_batch_size) == (0.9, 30, 64)
    assert found.limits_w == LIMITS_W
    assert {size: len(runs) for size, runs in found.runs.items()} == {16: 2, 32: 2, 64: 2, 128: 2}
    assert [run.first_at(0.9) for run in found.runs[128]] == [20, None]


def test_a_default_that_was_not_recorded_is_clipped_to_the_largest_below(tmp_path: Path):
    problems = write_tables(tmp_path) / "problems.csv"
    problems.write_text(problems.read_text().replace(",64,", ",100,"))
    (found,) = read_recorded(tmp_path)
    assert found.default_batch_size == 64


def test_an_error_rate_in_percent_becomes_an_accuracy(tmp_path: Path):
    (found,) = read_recorded(write_error_rates(tmp_path))
    (run,) = found.runs[8]
    assert found.target == pytest.approx(0.6)
    assert run.accuracy == pytest.approx((0.0, 0.4, 0.6))
    assert run.first_at(found.target) == 3


@pytest.mark.parametrize(
    ("table", "before", "after", "says"),
    [
        ("summary_train.csv", ",0.5,1", ",0.5,soon", "line 2: target_epoch=soon is not a number"),
        ("summary_power_toy.csv", "average_power", "watts", "line 2: there is no average_power"),
        ("problems.csv", "digits", "squad", "holds no workload of problems.csv that"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, table: str, before: str, after: str, says: str):
    path = write_tables(tmp_path) / table
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=says):
        read_recorded(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path):
    (write_tables(tmp_path) / "summary_train.csv").unlink()
    with pytest.raises(ConfigError, match=r"summary_train\.csv cannot be read as a table"):
        read_recorded(tmp_path)


def test_a_workload_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path):
    write_tables(tmp_path)
    with pytest.raises(ConfigError, match=r"task\.workload=squad .* names 0 .*: digits on toy"):
        Replay(str(tmp_path), "squad")


# What is played ----------------------------------------------------------------------------------


def test_a_training_costs_what_its_epochs_were_recorded_to_cost(task: Replay):
    result = played(task, 64)
    assert result.end == "target"
    assert result.curve.epoch == tuple(range(1, 9))
    assert result.curve.accuracy == (0.5,) * 7 + (0.9,)
    assert result.energy_to_target_j == near(8 * epoch_j(64, 200))
    assert result.time_to_target_s == near(8 * EPOCH_S[64])
    assert result.spent_j == near(result.energy_to_target_j)


def test_a_run_that_misses_the_target_costs_all_epochs(task: Replay):
    missed = next(r for seed in range(9) if not (r := played(task, 128, seed=seed)).reached)
    assert missed.end == "epochs"
    assert missed.spent_j == near(30 * epoch_j(128, 200))


def test_a_power_limit_changes_time_and_energy_and_not_what_is_reached(task: Replay):
    task.clock.limit_w = 150
    result = played(task, 64)
    assert result.energy_to_target_j == near(8 * epoch_j(64, 150))
    assert result.time_to_target_s == near(8 * epoch_s(64, 150))
    assert result.curve.epoch[-1] == 8


def test_profiling_finds_the_best_limit_in_the_first_epoch(task: Replay):
    def set_limit(limit_w: float) -> None:
        task.clock.limit_w = limit_w

    profiler = PowerProfiler(
        set_limit_w=set_limit,
        limits_w=LIMITS_W[::-1],
        select=lambda points: min(points, key=lambda at: at.step_j).limit_w,
        slice_s=5.0,
        settle_s=0.0,
        shape={},
        original_w=LIMITS_W[-1],
    )
    result = played(task, 64, profiler=profiler)
    profile = result.conditions.profile
    assert profile is not None
    assert [point.limit_w for point in profile.points] == [200, 150, 100]
    assert profile.chosen_w == task.clock.limit_w == 150
    assert result.energy_to_target_j == near(8 * epoch_j(64, 150))
    assert result.spent_j == near(task.clock.energy_j)
    assert 0 < result.booked("profiling").total_j < 0.5 * epoch_j(64, 150)


def test_between_recorded_limits_costs_lie_on_a_straight_line():
    costs = Costs({100.0: Pace.steady(20.0, 90.0), 200.0: Pace.steady(10.0, 150.0)})
    assert costs.pace(150.0).until(2.0) == pytest.approx((30.0, 2 * (1800 + 1500) / 2))
    assert costs.pace(None) == costs.pace(300.0) == costs.pace(200.0)
    assert costs.pace(50.0) == costs.pace(100.0)


def test_a_pace_may_change_from_epoch_to_epoch():
    pace = Pace((0.0, 1.0, 5.0), (0.0, 2.0, 4.0), (0.0, 10.0, 50.0))
    assert pace.until(0.5) == (1.0, 5.0)
    assert pace.until(3.0) == (3.0, 30.0)
    assert pace.until(9.0) == (6.0, 90.0)  # as in its last stretch


def test_it_can_be_paused_and_goes_on_where_it_was(task: Replay):
    curve, costs = task.runs[64][0], task.costs[64]
    whole, clock = Playback(curve, costs, Clock()), Clock()
    first = Playback(curve, costs, clock)
    assert isinstance(first, Paradigm)
    assert isinstance(first, SupportsPause)
    first.train(EPOCH_SAMPLES // 3)
    rest = Playback(curve, costs, clock)
    rest.load_state(first.state())
    rest.train(8 * EPOCH_SAMPLES - EPOCH_SAMPLES // 3)
    whole.train(8 * EPOCH_SAMPLES)
    assert rest.evaluate() == whole.evaluate() == 0.9
    assert clock.energy_j == near(8 * epoch_j(64, 200))


def test_the_seed_draws_the_run(task: Replay):
    hits = [played(task, 32, seed=seed).curve.epoch[-1] for seed in range(12)]
    assert set(hits) == {4, 6}
    assert played(task, 32, seed=3) == played(task, 32, seed=3)


# The meter ---------------------------------------------------------------------------------------


class TestRecordedMeter(CountingMeterContract):
    @pytest.fixture
    def meter(self, task: Replay) -> EnergyMeter:
        self.clock = task.clock
        self.clock.pass_by(1.0, 1.0)
        return RecordedMeter(task)

    def work(self, amount: int) -> None:
        self.clock.pass_by(0.1 * amount or 1e-6, 10.0 * amount)


def test_it_says_what_is_played(task: Replay):
    provenance = RecordedMeter(task).provenance
    assert provenance.kind == "replayed"
    assert provenance.meter == "recorded trainings of digits on toy"


def test_a_processor_s_energy_is_booked_as_such(task: Replay):
    meter = RecordedMeter(task, "cpu_j")
    meter.start()
    task.clock.pass_by(1.0, 2.0)
    energy = meter.stop()
    assert (energy.cpu_j, energy.gpu_j) == (2.0, None)


# The command -------------------------------------------------------------------------------------


def test_a_study_of_recorded_trainings_runs_as_any_other(energyopt, tmp_path: Path):
    folder = write_tables(tmp_path / "tables")
    ran = energyopt(
        "-m", "task=replay", f"task.folder={folder}", "task.workload=digits", "paradigm=replay",
        "hardware=recorded", "objective=energy_to_target", "target=0.9", "epochs=30",
        f"eval_every={EPOCH_SAMPLES}", "batch_size=choice(16,32,64)",
        "paradigm.power_limit_w=150", "sampler=grid", "study=played",
    )  # fmt: skip
    assert ran.code == 0, ran.text
    assert "REPLAYED by recorded trainings of digits on toy" in ran.out
    assert "J to 0.9 validation accuracy, replayed" in ran.out


@pytest.mark.mostly_slow(every=10)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("batch_size=48",), "batch_size=48: no such training of digits on toy was recorded"),
        (("task=wine",), "choose task=replay"),
        (("task.workload=squad",), "names 0 of the recorded trainings"),
    ],
)
def test_what_was_not_recorded_is_no_traceback(energyopt, tmp_path: Path, words, says):
    folder = write_tables(tmp_path / "tables")
    given = [] if words == ("task=wine",) else [
        "task=replay", f"task.folder={folder}", "task.workload=digits",
    ]  # fmt: skip
    ran = energyopt(*given, "paradigm=replay", "hardware=recorded", "batch_size=16", *words)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.text


def test_it_needs_no_torch():
    code = "import sys, energyopt.paradigms.replay, energyopt.tasks.replay; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "energyopt.paradigms.replay" in imported
    assert "torch" not in imported


def test_a_thousand_epochs_take_no_time(task: Replay):
    curve = AccuracyTrace((1000.0,), (0.9,))
    meter = RecordedMeter(task)
    result = run_trial(
        lambda: Playback(curve, task.costs[16], task.clock),
        meter,
        Plan(0.9, 1000, eval_every=EPOCH_SAMPLES, stop_at_target=True),
        TrialStart(0.9, 1000, 0, meter.provenance),
        JournalWriter(None),
    )
    assert result.energy_to_target_j == near(1000 * epoch_j(16, 200))
