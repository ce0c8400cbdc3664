"""The loop: when it evaluates and ends, whose joules it books where, and what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.energy import total
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.journal import JournalReader, JournalWriter
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.protocols import TrainStep
from energyopt.core.trial_result import Purpose, TrialResult, TrialStart
from energyopt.errors import HardwareError, TrialError
from energyopt.stopping.rules import Rules
from energyopt.training.plan import Plan
from energyopt.training.trial import run_trial
from tests.toys import ESTIMATED, Counter, Scripted, ToyMeter

BIG = Plan(target=0.9, epochs=3)


def run(
    accuracies: Sequence[float | Exception],
    plan: Plan = BIG,
    *,
    journal: Path | None = None,
    factor: float = 1.0,
    rules: Rules | None = None,
    monitor: Monitor = ACCURACY,
    **script: Any,
) -> TrialResult:
    counter = Counter()
    return run_trial(
        lambda: Scripted(counter, accuracies, **script),
        ToyMeter(counter, factor),
        plan,
        TrialStart(plan.target, plan.epochs, seed=0, provenance=ESTIMATED, monitor=monitor),
        JournalWriter(journal),
        rules=rules,
    )


def marks(result: TrialResult) -> list[int]:
    return [checkpoint.samples or 0 for checkpoint in result.checkpoints]


# When it evaluates -------------------------------------------------------------------------


def test_it_evaluates_each_quarter_epoch_before_the_target_and_each_epoch_after():
    assert marks(run([0.5, 0.6, 0.9])) == [25, 50, 75, 100, 200, 300]


def test_it_evaluates_every_so_many_samples_if_told():
    result = run([0.5, 0.9], Plan(target=0.9, epochs=1, eval_every=40))
    assert marks(result) == [40, 80, 100]


@pytest.mark.parametrize("batch_size", [1, 5, 8, 10, 24])
def test_the_marks_are_the_same_for_all_batch_sizes(batch_size: int):
    """A batch that overshoots a mark does not shift the others."""
    result = run([0.5], Plan(target=0.9, epochs=2), batch_size=batch_size)
    for mark, samples in zip(range(25, 201, 25), marks(result), strict=True):
        assert mark <= samples < mark + batch_size


def test_a_batch_beyond_several_marks_is_evaluated_once():
    assert marks(run([0.5], Plan(target=0.9, epochs=1), batch_size=70)) == [70, 140]


PLANS = st.builds(
    Plan,
    target=st.just(0.9),
    epochs=st.floats(0.001, 50),
    eval_every=st.none() | st.integers(1, 5_000),
)


@given(PLANS, st.integers(1, 5_000), st.lists(st.booleans(), min_size=1), st.integers(1, 200))
def test_marks_increase_strictly_to_the_last_sample(
    plan: Plan, epoch_samples: int, reached: list[bool], jumps: int
):
    last = plan.last_sample(epoch_samples)
    samples = max(0, last - jumps * (plan.eval_every or math.ceil(epoch_samples / 4)))
    for hit in itertools.cycle(reached):
        mark = plan.next_evaluation(samples, epoch_samples, reached=hit)
        assert samples < mark <= last
        samples = mark
        if samples == last:
            break


@given(st.integers(1, 300), st.integers(1, 64), st.floats(0.01, 4))
def test_a_trial_ends_with_the_batch_of_its_last_sample(
    epoch_samples: int, batch_size: int, epochs: float
):
    plan = Plan(target=0.9, epochs=epochs)
    result = run([0.1], plan, batch_size=batch_size, epoch_samples=epoch_samples)
    last = plan.last_sample(epoch_samples)
    assert last <= marks(result)[-1] < last + batch_size
    assert all(samples < last for samples in marks(result)[:-1])
    assert result.end == "epochs"


# When it ends ------------------------------------------------------------------------------


def test_it_stops_at_the_target_if_told():
    result = run([0.5, 0.92, 0.95], Plan(target=0.9, epochs=3, stop_at_target=True))
    assert (result.end, marks(result)) == ("target", [25, 50])
    assert "0.92 reached the target 0.9" in result.reason


def test_the_target_on_the_last_sample_is_the_target():
    result = run([0.9], Plan(target=0.9, epochs=0.25, stop_at_target=True))
    assert result.end == "target"


def test_without_patience_it_trains_all_epochs():
    result = run([0.9], Plan(target=0.9, epochs=9, patience=None))
    assert (result.end, result.checkpoints[-1].epoch) == ("epochs", 9)


def test_patience_ends_a_plateau_after_the_target():
    result = run([0.9, 0.95, 0.95, 0.94, 0.96], Plan(target=0.9, epochs=9, patience=2))
    assert result.end == "plateau"
    assert [checkpoint.accuracy for checkpoint in result.checkpoints] == [0.9, 0.95, 0.95, 0.94]


def test_progress_after_the_target_restarts_patience():
    accuracies = [0.9, 0.9, 0.91, 0.91, 0.92, 0.92, 0.92]
    result = run(accuracies, Plan(target=0.9, epochs=99, patience=2))
    assert (result.end, len(result.checkpoints)) == ("plateau", 7)


def test_patience_waits_for_the_target():
    result = run([0.5], Plan(target=0.9, epochs=5, patience=1))
    assert (result.end, len(result.checkpoints)) == ("epochs", 20)


def test_a_loss_that_is_no_number_is_divergence():
    result = run([0.5, 0.1], losses=[1.0, math.nan])
    assert (result.end, len(result.checkpoints)) == ("diverged", 2)
    assert "nan" in result.reason
    assert not result.reached


@pytest.mark.parametrize(("loss", "end"), [(10.0, "epochs"), (10.1, "diverged")])
def test_a_growing_loss_is_divergence(loss: float, end: str):
    assert run([0.5], losses=[1.0, loss, 1.0]).end == end


def test_divergence_after_the_target_keeps_the_target():
    result = run([0.95, 0.1], losses=[1.0, math.inf])
    assert result.end == "diverged"
    assert result.energy_to_target_j == 25


class Watching:
    """A rule that stops at an evaluation, and keeps what it was told."""

    def __init__(self, at: int) -> None:
        self.told: list[tuple[TrialProgress, StudyHistory]] = []
        self._at = at

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        self.told.append((progress, rivals))
        return f"enough after {self._at}" if len(self.told) == self._at else None


KNOWN = StudyHistory(incumbent_j=10.0, incumbent=3)


def test_a_rule_is_asked_after_each_evaluation_and_its_words_are_kept():
    rule = Watching(3)
    result = run([0.5, 0.6, 0.4], rules=Rules({"watching": rule}, KNOWN))
    assert (result.end, result.reason) == ("stopped", "watching: enough after 3")
    assert (result.stopped_by, result.valid, marks(result)) == ("watching", True, [25, 50, 75])
    told = [progress for progress, _ in rule.told]
    assert told[-1] == TrialProgress((0.25, 0.5, 0.75), (25, 50, 75), (0.5, 0.6, 0.4), 0.9, 3.0)
    assert [len(progress.joules) for progress in told] == [1, 2, 3]
    assert all(rivals is KNOWN for _, rivals in rule.told)


def test_a_rule_may_stop_it_beyond_the_target_and_knows_whether_that_counts():
    rule = Watching(4)
    result = run([0.5, 0.9, 0.91, 0.92], rules=Rules({"watching": rule}, KNOWN))
    assert (result.end, result.reached, result.energy_to_target_j) == ("stopped", True, 50)
    assert rule.told[-1][0].beyond
    rule = Watching(9)
    run([0.5], Plan(target=0.9, epochs=1, stop_at_target=True), rules=Rules({"w": rule}, KNOWN))
    assert not rule.told[-1][0].beyond


def test_no_rule_is_asked_of_a_trial_that_is_over():
    for script in ({"losses": [math.inf]}, {"plan": Plan(target=0.9, epochs=0.25)}):
        rule = Watching(1)
        result = run([0.5], rules=Rules({"watching": rule}, KNOWN), **script)
        assert result.end in {"diverged", "epochs"}
        assert result.stopped_by is None
        assert rule.told == []


# Whose joules ------------------------------------------------------------------------------


def test_training_joules_are_those_of_training_alone():
    result = run([0.5, 0.9], Plan(target=0.9, epochs=1))
    assert [point.training_j for point in result.curve] == [25, 50, 100]
    assert result.energy_to_target_j == 50
    assert result.training_j == 100
    assert result.booked("evaluation").total_j == 3 * 16
    assert result.booked("warmup").total_j == 32
    assert result.booked("loading").total_j == 64
    assert result.spent_j == 100 + 3 * 16 + 32 + 64


def test_warming_up_is_voluntary():
    class Plain:
        epoch_samples = 4

        def __init__(self, counter: Counter) -> None:
            self._counter = counter

        def train(self, samples: int) -> TrainStep:
            self._counter.total_j += samples
            return TrainStep(samples, samples, 1.0)

        def evaluate(self) -> float:
            return 1.0

    counter = Counter()
    start = TrialStart(0.9, 1, 0, ESTIMATED)
    result = run_trial(
        lambda: Plain(counter),
        ToyMeter(counter),
        Plan(target=0.9, epochs=1),
        start,
        JournalWriter(None),
    )
    assert set(result.books) == {"loading", "training", "evaluation"}
    assert result.training_j == 4


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.integers(1, 64),
    st.floats(0.1, 5),
    st.booleans(),
)
def test_the_books_hold_every_joule_once(
    accuracies: list[float], batch_size: int, epochs: float, stop: bool
):
    counter = Counter()
    plan = Plan(target=0.5, epochs=epochs, patience=2, stop_at_target=stop)
    result = run_trial(
        lambda: Scripted(counter, accuracies, batch_size=batch_size),
        ToyMeter(counter),
        plan,
        TrialStart(0.5, epochs, 0, ESTIMATED),
        JournalWriter(None),
    )
    assert result.spent_j == counter.total_j
    assert total(checkpoint.training for checkpoint in result.checkpoints) == result.booked(
        "training"
    )
    assert total(checkpoint.evaluation for checkpoint in result.checkpoints) == result.booked(
        "evaluation"
    )
    assert result.training_j == result.checkpoints[-1].samples


# What is kept of a trial that breaks -------------------------------------------------------


def test_the_journal_holds_what_the_result_holds(tmp_path: Path):
    path = tmp_path / "progress.jsonl"
    result = run([0.5, 0.9], journal=path)
    assert JournalReader(path).read().result(result.end, result.reason) == result


BOOM = RuntimeError("boom")


@pytest.mark.parametrize(
    ("accuracies", "losses", "purpose", "booked_j"),
    [
        ([0.5], [1.0, BOOM], "training", 25 + 12.5),
        ([0.5, BOOM], [1.0], "evaluation", 16 + 16),
    ],
)
def test_the_joules_of_a_window_that_is_cut_are_kept(
    tmp_path: Path,
    accuracies: list[float | Exception],
    losses: list[float | Exception],
    purpose: Purpose,
    booked_j: float,
):
    path = tmp_path / "progress.jsonl"
    with pytest.raises(RuntimeError, match="boom"):
        run(accuracies, journal=path, losses=losses)
    remains = JournalReader(path).read().result("failed", "boom")
    assert remains is not None
    assert not remains.valid
    assert len(remains.checkpoints) == 1
    assert remains.booked(purpose).total_j == booked_j
    assert remains.booked("loading").total_j == 64


def test_a_paradigm_that_cannot_be_built_has_cost_something_too(tmp_path: Path):
    counter = Counter()

    def refuse() -> Scripted:
        counter.total_j += 8
        raise ValueError("no data")

    path = tmp_path / "progress.jsonl"
    start = TrialStart(0.9, 1, 0, ESTIMATED)
    with pytest.raises(ValueError, match="no data"):
        run_trial(refuse, ToyMeter(counter), BIG, start, JournalWriter(path))
    remains = JournalReader(path).read().result("failed", "no data")
    assert remains is not None
    assert remains.spent_j == 8


# What it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize("accuracy", [-0.01, 1.01, 93.0])
def test_an_accuracy_that_is_no_share_is_refused(accuracy: float):
    with pytest.raises(TrialError, match=r"in \[0, 1\].*such as monitor=val_loss mode=min"):
        run([accuracy])


# Another metric than the accuracy ----------------------------------------------------------

LOSS = Monitor("val_loss", "min")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("monitor", "target"), [(ACCURACY, 0.9), (LOSS, 0.1)])
def test_a_metric_that_is_not_finite_ends_the_trial_as_diverged(
    monitor: Monitor, target: float, value: float
):
    result = run([0.5, value], replace(BIG, target=target), monitor=monitor)
    assert (result.end, result.best_value, len(result.checkpoints)) == ("diverged", 0.5, 1)
    assert result.reason == f"the metric {monitor.name} is {value} at epoch 0.5"
    assert result.spent_j > run([0.5], Plan(target=0.9, epochs=0.25)).spent_j


def test_a_metric_that_was_never_finite_leaves_an_empty_curve():
    result = run([math.nan])
    assert (result.end, result.best_value, result.best_accuracy) == ("diverged", None, 0)
    assert result.spent_j > 0


def test_less_of_a_loss_is_better():
    plan = Plan(target=0.4, epochs=5, patience=2)
    result = run([2.5, 0.4, 0.3, 0.35, 0.3, 0.2], plan, monitor=LOSS)
    assert (result.end, result.best_value) == ("plateau", 0.3)
    assert result.reason == "no better val_loss in 2 evaluations"
    assert result.hit is not None
    assert (result.hit.accuracy, result.hit.index) == (0.4, 1)
    stopped = run([2.5, 0.3], replace(plan, stop_at_target=True), monitor=LOSS)
    assert stopped.reason == "val_loss 0.3 reached the target 0.4"


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(-5, 5), st.booleans())
def test_a_metric_and_its_mirror_image_train_alike(
    values: list[float], target: float, stop_at_target: bool
):
    plan = Plan(target, epochs=3, patience=1, stop_at_target=stop_at_target)
    gain = run(values, plan, monitor=Monitor("gain", "max"))
    loss = run(
        [-value for value in values], replace(plan, target=-target), monitor=Monitor("loss", "min")
    )
    assert (gain.end, gain.checkpoints.samples) == (loss.end, loss.checkpoints.samples)
    assert gain.books == loss.books
    assert gain.energy_to_target_j == loss.energy_to_target_j
    assert gain.flags == loss.flags


def test_a_target_at_the_first_evaluation_is_pointed_out():
    assert "target_at_first_evaluation" in run([0.95]).flags
    assert "target_at_first_evaluation" not in run([0.5, 0.95]).flags


class Lazy(Scripted):
    """Says that it trained nothing."""

    answer = TrainStep(0, 0, 1.0)

    def train(self, samples: int) -> TrainStep:
        super().train(samples)
        return self.answer


class Backwards(Lazy):
    answer = TrainStep(10, -1, 1.0)


@pytest.mark.parametrize("make", [Lazy, Backwards])
def test_training_nothing_is_refused(make: Callable[[Counter], Scripted]):
    counter = Counter()
    start = TrialStart(0.9, 1, 0, ESTIMATED)
    with pytest.raises(TrialError, match="at least one batch"):
        run_trial(lambda: make(counter), ToyMeter(counter), BIG, start, JournalWriter(None))


def test_an_empty_training_set_is_refused():
    with pytest.raises(TrialError, match="epoch_samples=0"):
        run([0.5], epoch_samples=0)


def test_training_that_costs_nothing_is_refused():
    with pytest.raises(HardwareError, match="which cannot be"):
        run([0.5], factor=0.0)


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_joules_that_cannot_be_are_refused(factor: float):
    with pytest.raises(HardwareError, match="cpu_j="):
        run([0.5], factor=factor)


def test_the_same_script_gives_the_same_result():
    script = [0.1, 0.7, 0.9, 0.95, 0.2]
    first, second = (
        replace(result, conditions=replace(result.conditions, disturbance=None))  # the machine's
        for result in (run(script), run(script))
    )
    assert first == second
