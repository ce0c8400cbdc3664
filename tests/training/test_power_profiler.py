"""Power limits are tried inside the training, and each joule is booked once."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.conditions import ProfilePoint
from energyopt.core.energy import Energy, total
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.journal import JournalReader, JournalWriter
from energyopt.core.protocols import TrainStep
from energyopt.core.trial_result import TrialResult, TrialStart
from energyopt.errors import HardwareError
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.power_limit_policy import selector
from energyopt.stopping.rules import Rules
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import ResumeState, load, save_to
from energyopt.training.plan import Plan
from energyopt.training.power_profiler import PowerProfiler, limits_to_try
from energyopt.training.trial import run_trial
from tests.toys import ESTIMATED

GPU = dataclasses.replace(ESTIMATED, kind="measured", meter="toy", resolution_s=0.0)
START = TrialStart(target=0.9, epochs=100, seed=0, provenance=GPU)


class ToyGpu:
    """A GPU with a virtual clock whose step costs what a table says for its limit.

    It is the meter, too: joules and seconds of what was trained since `start`.
    """

    provenance = GPU

    def __init__(self, step_j: Callable[[float], float], step_s: Callable[[float], float]) -> None:
        self.limit_w = 300.0
        self.limits: list[float] = []
        self.step_j, self.step_s = step_j, step_s
        self.spent = Energy()
        self._began = Energy()

    def set_limit_w(self, limit_w: float) -> None:
        self.limit_w = limit_w
        self.limits.append(limit_w)

    def work(self, steps: int) -> None:
        joules = steps * self.step_j(self.limit_w)
        self.spent += Energy(steps * self.step_s(self.limit_w), joules, gpus_j=(joules,))

    def start(self) -> None:
        self._began = self.spent

    def stop(self) -> Energy:
        return self.spent - self._began


class Trainee:
    """Trains on a `ToyGpu`, ten samples a step; its accuracy follows a script."""

    epoch_samples = 1000

    def __init__(self, gpu: ToyGpu, accuracies: Sequence[float] = ()) -> None:
        self._gpu = gpu
        self._accuracies = iter(accuracies)

    def train(self, samples: int) -> TrainStep:
        steps = -(-samples // 10)
        self._gpu.work(steps)
        return TrainStep(10 * steps, steps, 1.0)

    def evaluate(self) -> float:
        self._gpu.work(1)
        return next(self._accuracies, 0.5)


def bowl(limit_w: float) -> float:
    """J a step, least at 200 W."""
    return 1 + ((limit_w - 200) / 100) ** 2


def slower(limit_w: float) -> float:
    """s a step."""
    return 0.01 * 300 / limit_w


def profiler(gpu: ToyGpu, **options: object) -> PowerProfiler:
    given = {"slice_s": 1.0, "settle_s": 0.2, "limits_w": limits_to_try(100, 300, 25)} | options
    policy = given.pop("policy", "energy")
    return PowerProfiler(
        set_limit_w=gpu.set_limit_w,
        select=selector(GpuOptions(power_policy=policy), 1),  # type: ignore[arg-type]
        shape={"model": "toy"},
        original_w=300,
        **given,  # type: ignore[arg-type]
    )


def trained(
    gpu: ToyGpu,
    of: PowerProfiler,
    folder: Path | None = None,
    accuracies: Sequence[float] = (),
    *,
    epochs: float = 20,
    stop_at_target: bool = False,
    rules: Rules | None = None,
) -> TrialResult:
    journal = JournalWriter(folder / "progress.jsonl" if folder else None)
    plan = Plan(0.9, epochs, stop_at_target=stop_at_target)
    return run_trial(
        lambda: Trainee(gpu, accuracies), gpu, plan, START, journal, profiler=of, rules=rules
    )


def assert_books_hold(result: TrialResult, gpu: ToyGpu) -> None:
    """All energy of the counter is accounted for, and the curve has that of training."""
    booked = total(result.books.values())
    assert booked.total_j == pytest.approx(gpu.spent.total_j)
    assert booked.time_s == pytest.approx(gpu.spent.time_s)
    assert booked.gpus_j == pytest.approx(gpu.spent.gpus_j)
    curve = total(checkpoint.training for checkpoint in result.checkpoints)
    assert curve.total_j == pytest.approx(result.training_j)
    assert curve.time_s == pytest.approx(result.booked("training").time_s)


class Resumable(Trainee):
    """One that can be paused: nothing but its script moves on."""

    def state(self) -> dict[str, Any]:
        return {"left": list(self._accuracies)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._accuracies = iter(state["left"])


def paused_after_profile(
    gpu: ToyGpu, folder: Path, of: PowerProfiler | None, pause_at_j: float | None = 0.0
) -> TrialResult:
    """Begin, or resume if the folder has a pause, without a profiler."""
    state = load(folder / PAUSED) if of is None else None
    samples = None if state is None else state["samples"]
    journal = JournalWriter(folder / "progress.jsonl", is_rerun=True, samples=samples)
    return run_trial(
        lambda: Resumable(gpu, [0.5, 0.6, 0.7]),
        *(gpu, Plan(0.9, 20, pause_at_j=pause_at_j), START, journal),
        profiler=of,
        keep=save_to(folder / PAUSED),
        resumed=ResumeState(journal.resumed, state) if state and journal.resumed else None,
    )


@pytest.mark.parametrize("slice_s", [0.2, 1.0])  # shorter and longer than to an evaluation
def test_a_trial_pauses_as_soon_as_its_power_limit_is_chosen(tmp_path: Path, slice_s: float):
    gpu = ToyGpu(bowl, slower)
    first = paused_after_profile(gpu, tmp_path, profiler(gpu, slice_s=slice_s, settle_s=0.0))
    assert first.end == "paused"
    assert gpu.limit_w == 200
    assert first.conditions.limit_w == 200
    assert first.epoch_j == pytest.approx(100)  # of 100 steps at 200 W, on which it is 1 J each
    samples = first.checkpoints.samples
    assert not samples or samples[-1] < load(tmp_path / PAUSED)["samples"]
    assert total(first.books.values()).total_j == pytest.approx(gpu.spent.total_j)
    second = paused_after_profile(gpu, tmp_path, None, 1000.0)
    assert second.end == "paused"
    assert second.training_j >= 1000
    assert_books_hold(second, gpu)
    last = paused_after_profile(gpu, tmp_path, None, None)
    assert last.end == "epochs"
    assert_books_hold(last, gpu)
    assert last.conditions.profile == first.conditions.profile
    assert last.training_j == pytest.approx(20 * 100)
    assert last.checkpoints.samples == tuple(range(250, 20_001, 250))
    assert last.booked("profiling") == first.booked("profiling")


def test_a_rung_that_is_passed_while_limits_are_tried_pauses_it_when_one_is_chosen(tmp_path: Path):
    gpu = ToyGpu(bowl, slower)
    result = paused_after_profile(gpu, tmp_path, profiler(gpu), 1.0)
    assert (result.end, result.conditions.limit_w) == ("paused", 200)


# The search --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low_w", "high_w", "step_w", "limits"),
    [
        (100, 300, 50, [300, 250, 200, 150, 100]),
        (100, 310, 50, [310, 260, 210, 160, 110]),
        (100, 300, 200, [300, 100]),
        (100, 300, 500, [300]),
        (300, 300, 25, [300]),
    ],
)
def test_limits_go_from_the_highest_downward(low_w, high_w, step_w, limits):
    assert limits_to_try(low_w, high_w, step_w) == limits


def test_the_best_limit_is_found_and_held(tmp_path: Path):
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), tmp_path)
    profile = result.conditions.profile
    assert profile is not None
    assert profile.chosen_w == result.conditions.limit_w == gpu.limit_w == 200
    # Two that are worse end it: 125 and 100 W are not tried.
    assert [point.limit_w for point in profile.points] == [300, 275, 250, 225, 200, 175, 150]
    for at in profile.points:
        assert at.step_j == pytest.approx(bowl(at.limit_w))
        assert at.step_s == pytest.approx(slower(at.limit_w))
        assert at.power_w == pytest.approx(bowl(at.limit_w) / slower(at.limit_w))
        assert at.steps * at.step_s >= 1
    # The first is measured again before the scan ends.
    assert gpu.limits == [300, 275, 250, 225, 200, 175, 150, 300, 200]
    assert [point.limit_w for point in profile.measured].count(300) == 3
    assert profile.drift == pytest.approx(1)
    assert profile.finished
    assert result.flags == ("partly_imputed",)


def test_steps_count_as_training_at_the_chosen_limit_and_the_rest_as_profiling(tmp_path: Path):
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), tmp_path)
    assert_books_hold(result, gpu)
    steps = result.checkpoints[-1].steps or 0
    assert result.training_j == pytest.approx(steps * bowl(200))
    assert result.booked("training").time_s == pytest.approx(steps * slower(200))
    assert result.booked("profiling").total_j > 0
    for before, at in itertools.pairwise(result.curve):
        made = (at.steps or 0) - (before.steps or 0)
        assert (at.training_j - before.training_j) / made == pytest.approx(1)


def test_a_stopping_rule_is_told_joules_at_the_chosen_limit_alone(tmp_path: Path):
    class AtOnce:
        def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
            told.append(progress)
            return "at once"

    gpu = ToyGpu(bowl, slower)
    told: list[TrialProgress] = []
    tries = profiler(gpu)
    result = trained(gpu, tries, tmp_path, rules=Rules({"rule": AtOnce()}, StudyHistory()))
    assert (result.end, len(told)) == ("stopped", 1)
    assert tries.over
    assert len(result.checkpoints) > 10  # no pause was requested while limits were tried
    assert told[0].joules == pytest.approx(
        [25 * (index + 1) for index in range(len(told[0].joules))]
    )
    assert_books_hold(result, gpu)


def test_the_curve_is_that_of_a_trial_at_the_chosen_limit(tmp_path: Path):
    gpu, fixed = ToyGpu(bowl, slower), ToyGpu(bowl, slower)
    fixed.set_limit_w(200)
    script = [0.5] * 60 + [0.95]
    profiled = trained(gpu, profiler(gpu), accuracies=script)
    plain = run_trial(
        lambda: Trainee(fixed, script), fixed, Plan(0.9, 20), START, JournalWriter(None)
    )
    assert [checkpoint.samples for checkpoint in profiled.checkpoints] == [
        checkpoint.samples for checkpoint in plain.checkpoints
    ]
    assert profiled.energy_to_target_j == pytest.approx(plain.energy_to_target_j)
    assert profiled.time_to_target_s == pytest.approx(plain.time_to_target_s)


def test_the_journal_says_the_same(tmp_path: Path):
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), tmp_path)
    journal = JournalReader(tmp_path / "progress.jsonl").read()
    assert journal.result(result.end, result.reason) == result
    assert TrialResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_trial_that_dies_while_limits_are_tried_has_its_joules_as_profiling(tmp_path: Path):
    gpu = ToyGpu(bowl, slower)

    class Dying(Trainee):
        def train(self, samples: int) -> TrainStep:
            if gpu.limit_w < 250:
                raise RuntimeError("dead")
            return super().train(samples)

    with pytest.raises(RuntimeError, match="dead"):
        run_trial(
            lambda: Dying(gpu), gpu, Plan(0.9, 20), START,
            JournalWriter(tmp_path / "progress.jsonl"), profiler=profiler(gpu),
        )  # fmt: skip
    remains = JournalReader(tmp_path / "progress.jsonl").read().result("failed", "dead")
    assert remains is not None
    assert total(remains.books.values()).total_j == pytest.approx(gpu.spent.total_j)
    assert remains.booked("profiling").total_j > 0
    assert remains.training_j == 0
    profile = remains.conditions.profile
    assert profile is not None  # a later trial continues it
    assert not profile.finished
    assert [point.limit_w for point in profile.measured] == [300, 300, 275, 250]


# Policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "chosen_w"),
    [("energy", 200), ("time", 300), ("max_slowdown", 275), ("zeus_cost", 275)],
)
def test_a_policy_decides(policy: str, chosen_w: float):
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu, policy=policy))
    assert result.conditions.limit_w == chosen_w
    assert_books_hold(result, gpu)


def test_a_choice_that_is_not_the_cheapest_has_a_surplus_below_zero():
    """Steps at cheaper limits are booked with more than they cost; the sum is the counter's."""
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu, policy="time"))
    assert result.booked("profiling").total_j < 0
    assert_books_hold(result, gpu)


def test_zeus_weighs_energy_against_time():
    points = [ProfilePoint(300, 10, 3.0, 0.010), ProfilePoint(200, 10, 2.0, 0.012)]
    for eta, chosen_w in ((1.0, 200), (0.0, 300)):
        options = GpuOptions(power_policy="zeus_cost", power_eta=eta)
        assert selector(options, 1)(points) == chosen_w


# Trials that are too short -----------------------------------------------------------------


def test_a_trial_that_cannot_hold_two_limits_keeps_its_own_and_says_so():
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), epochs=1.5)
    assert result.flags == ("power_profile_too_short",)
    profile = result.conditions.profile
    assert profile is not None  # for a later trial
    assert [point.limit_w for point in profile.measured] == [300]
    assert not profile.finished
    assert result.conditions.limit_w == 300
    assert gpu.limits == [300, 300]
    assert result.booked("profiling").total_j == pytest.approx(0)
    assert result.training_j == pytest.approx((result.checkpoints[-1].steps or 0) * bowl(300))
    assert_books_hold(result, gpu)


def test_a_trial_that_ends_before_its_first_slice_says_so_too():
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), epochs=0.5)
    assert result.flags == ("power_profile_too_short",)
    assert_books_hold(result, gpu)


def test_a_trial_that_reaches_its_target_meanwhile_takes_the_best_so_far():
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), accuracies=[0.5] * 14 + [0.95], stop_at_target=True)
    profile = result.conditions.profile
    assert result.flags == ("power_profile_unfinished", "partly_imputed")
    assert profile is not None
    assert not profile.finished
    assert profile.chosen_w == min(point.limit_w for point in profile.points)
    steps = result.checkpoints[-1].steps or 0
    assert result.training_j == pytest.approx(steps * bowl(profile.chosen_w))
    assert_books_hold(result, gpu)


def test_a_trial_that_cannot_hold_three_limits_takes_the_better_of_two():
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu), epochs=3.0)
    assert result.flags == ("power_profile_unfinished", "partly_imputed")
    assert gpu.limits == [300, 275, 275]
    assert result.conditions.limit_w == 275
    assert_books_hold(result, gpu)


def test_short_trials_continue_a_profile_until_it_is_finished():
    earlier: Sequence[ProfilePoint] = ()
    n_trials = 0
    while True:
        n_trials += 1
        gpu = ToyGpu(bowl, slower)
        result = trained(gpu, profiler(gpu, earlier=earlier), epochs=4.0)
        assert_books_hold(result, gpu)
        profile = result.conditions.profile
        assert profile is not None
        if profile.finished:
            break
        assert len(profile.measured) > len(earlier)
        assert profile.measured[: len(earlier)] == earlier
        earlier = profile.measured
    assert 2 < n_trials < 8
    assert profile.chosen_w == gpu.limit_w == 200
    assert [point.limit_w for point in profile.points] == [300, 275, 250, 225, 200, 175, 150]


# Boards that warm up -----------------------------------------------------------------------


class WarmingGpu(ToyGpu):
    """A GPU of which each step costs up to `rise` more as it warms, with a time constant."""

    def __init__(
        self,
        step_j: Callable[[float], float],
        *,
        rise: float = 0.1,
        tau_s: float = 5.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(step_j, slower)
        self._rise, self._tau_s, self._noise = rise, tau_s, noise
        self._random = random.Random(seed)

    def work(self, steps: int) -> None:
        for _ in range(steps):
            heat = 1 - math.exp(-self.spent.time_s / self._tau_s)
            step_s = self.step_s(self.limit_w)
            # By time, so that a slice of few long steps is as noisy as one of many short ones.
            noise = self._random.gauss(0, self._noise) / math.sqrt(step_s)
            joules = (1 + self._rise * heat) * (1 + noise) * self.step_j(self.limit_w)
            self.spent += Energy(step_s, joules, gpus_j=(joules,))


@pytest.mark.parametrize("tau_s", [1.0, 3.0, 10.0, 100.0])
def test_the_warming_of_a_board_is_told_from_its_limits(tau_s: float):
    """Equal costs look equal, though the counter read less for the limits that came first."""
    gpu = WarmingGpu(lambda _: 1.0, tau_s=tau_s)
    result = trained(gpu, profiler(gpu), epochs=40)
    profile = result.conditions.profile
    assert profile is not None
    assert len(profile.points) == 9
    costs_j = [point.step_j for point in profile.points]
    assert max(costs_j) / min(costs_j) < 1.003
    readings_j = [point.step_j for point in profile.measured]
    assert max(readings_j) / min(readings_j) == pytest.approx(profile.drift, rel=0.01)
    assert profile.drift > 1.01
    assert_books_hold(result, gpu)


def test_equal_limits_are_chosen_by_chance_and_not_by_their_order():
    chosen = []
    for seed in range(30):
        gpu = WarmingGpu(lambda _: 1.0, noise=0.01, seed=seed)  # 1 % over a second
        profile = trained(gpu, profiler(gpu), epochs=40).conditions.profile
        assert profile is not None
        chosen.append(profile.chosen_w)
    assert chosen.count(300.0) <= 6  # 30 / 9 are expected
    assert chosen.count(100.0) <= 8
    assert len(set(chosen)) >= 6


@pytest.mark.parametrize("tau_s", [1.0, 5.0, 30.0])
def test_the_best_limit_is_found_while_a_board_warms_up(tau_s: float):
    def shallow(limit_w: float) -> float:
        return 1 + 0.1 * ((limit_w - 200) / 100) ** 2  # the whole gain is that of the warming

    gpu = WarmingGpu(shallow, tau_s=tau_s)
    result = trained(gpu, profiler(gpu), epochs=40)
    assert result.conditions.limit_w == 200
    assert_books_hold(result, gpu)


def test_slices_in_which_the_counter_does_not_move_are_an_error():
    gpu = ToyGpu(lambda _: 0.0, slower)
    with pytest.raises(HardwareError, match=r"0 J over .* raise hardware\.profile_slice_s=1"):
        trained(gpu, profiler(gpu))


def test_one_limit_alone_is_chosen():
    gpu = ToyGpu(bowl, slower)
    result = trained(gpu, profiler(gpu, limits_w=[300.0]))
    assert result.conditions.limit_w == 300
    assert_books_hold(result, gpu)


costs = st.lists(st.floats(0.1, 10), min_size=1, max_size=9)


@given(
    step_j=costs,
    step_s=st.floats(0.001, 0.5),
    slice_s=st.floats(0.001, 3),
    settle_s=st.floats(0, 1),
    epochs=st.floats(0.1, 30),
    policy=st.sampled_from(["energy", "time", "max_slowdown"]),
)
def test_each_joule_and_second_is_booked_once_whatever_happens(
    *,
    step_j: list[float],
    step_s: float,
    slice_s: float,
    settle_s: float,
    epochs: float,
    policy: str,
):
    limits_w = [300.0 - 25 * i for i in range(len(step_j))]
    table = dict(zip(limits_w, step_j, strict=True))
    gpu = ToyGpu(lambda w: table[w], lambda w: step_s * 300 / w)
    of = profiler(gpu, limits_w=limits_w, slice_s=slice_s, settle_s=settle_s, policy=policy)
    result = trained(gpu, of, epochs=epochs)
    assert_books_hold(result, gpu)
    assert of.over
    if result.conditions.profile is not None:
        chosen_w = result.conditions.profile.chosen_w
        assert gpu.limit_w == result.conditions.limit_w
        steps = result.checkpoints[-1].steps or 0
        if "partly_imputed" in result.flags:
            assert result.training_j == pytest.approx(steps * table[chosen_w])
