"""The benchmark of stopping rules: what it reads, and which stops it calls false."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.false_stops import Played, judge, play, read_curves
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.training.plan import Plan
from tests.curves import TARGET, steady
from tests.end_to_end.test_benchmarks import benchmark

QUICK = steady([0.5, 0.8, 0.91, 0.92])
SLOW = steady([0.1, 0.2, 0.3, 0.4, 0.97])
POOR = steady([0.1, 0.2, 0.2, 0.2, 0.2])
PLAN = Plan(TARGET, epochs=5)


class AfterTwo:
    """Stops each trial but the first after two evaluations."""

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        return "two are enough" if len(progress.epochs) == 2 and rivals.curves else None


def test_a_rule_sees_what_it_let_the_earlier_trials_train():
    first, *others = play([QUICK, SLOW, POOR], {"two": AfterTwo()}, PLAN)
    assert not first.stopped
    assert [trial.seen for trial in others] == [2, 2]
    assert others[0].shown == steady([0.1, 0.2])
    assert others[0].missed.accuracy == (0.3, 0.4, 0.97)


def test_a_stop_is_false_where_the_whole_curve_would_have_been_on_a_front():
    verdict = judge(play([QUICK, SLOW, POOR], {"two": AfterTwo()}, PLAN), TARGET)
    assert verdict.stopped == pytest.approx(2 / 3)
    assert verdict.saved == pytest.approx(6 / 14)
    assert (verdict.false_target, verdict.regret) == (0, 1)  # the quick one had the least energy
    assert verdict.false_end == 1 / 2  # the slow one ends with the best accuracy
    assert verdict.false_all == 1 / 2


def test_a_stopped_winner_is_a_false_stop_for_the_target():
    verdict = judge([Played(SLOW, 5), Played(QUICK, 1)], TARGET)
    assert verdict.false_target == 1
    assert verdict.regret == pytest.approx(5 / 3)
    assert math.isinf(judge([Played(QUICK, 1), Played(POOR, 5)], TARGET).regret)
    assert judge([Played(POOR, 1)], TARGET).regret == 1  # there was nothing to lose


def test_trials_that_nobody_stopped_save_nothing():
    verdict = judge(play([QUICK, SLOW], {}, PLAN), TARGET)
    assert (verdict.stopped, verdict.saved, verdict.false_all) == (0, 0, 0)


def write(folder: Path) -> None:
    (folder / "curves").mkdir(parents=True)
    lines = ["workload,optimizer,lr,batch_size,seed,epoch,step,wall_s,cpu_s,accuracy"]
    for lr in (1, 2, 3, 4):
        lines += [f"toy,sgd,{lr},8,0,{e},{e},{e},{2 * e * lr},{0.3 * e}" for e in (1, 3, 2)]
    (folder / "curves" / "toy.csv").write_text("\n".join(lines))
    (folder / "curves" / "other.csv").write_text("a,b\n1,2\n")


def test_curves_are_read_by_workload_in_the_order_of_their_epochs(tmp_path: Path):
    write(tmp_path)
    curves = read_curves(tmp_path)
    assert list(curves) == ["toy"]
    assert curves["toy"] == read_curves(tmp_path / "curves")["toy"]
    assert [curve.training_j for curve in curves["toy"]][:2] == [(8, 16, 24), (16, 32, 48)]
    assert curves["toy"][0].accuracy == pytest.approx((0.3, 0.6, 0.9))


def test_it_prints_a_row_for_each_rule_the_same_each_time(tmp_path: Path):
    write(tmp_path)
    words = ("--data", tmp_path, "--orders", 3, "--target", 0.8)
    ran = benchmark("false_stops.py", *words)
    assert ran.code == 0, ran.text
    assert "toy: 4 curves, target 0.8, 3 orders of 4" in ran.out
    for rule in ("energy_cap 2", "dominance k=2", "extrapolate 0.05", "all three"):
        assert f"| {rule} | " in ran.out
    assert benchmark("false_stops.py", *words).out == ran.out
    nothing = benchmark("false_stops.py", "--data", tmp_path / "gone")
    assert nothing.code == 2
    assert "holds no curves" in nothing.err
