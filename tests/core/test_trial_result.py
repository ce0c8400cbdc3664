"""Records add up, survive JSON, and know what they are worth."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.curve import Checkpoint, Checkpoints
from energyopt.core.energy import Energies, Energy, total
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import (
    BROKEN,
    RAN_ITS_COURSE,
    End,
    Kind,
    Provenance,
    Purpose,
    TrialResult,
    TrialStart,
    Window,
)
from energyopt.core.upfront_cost import Origin, UpfrontCost
from tests.toys import ESTIMATED, result, study, trial

JOULES = st.floats(0, 1e9)
ENERGIES = st.builds(
    Energy,
    time_s=st.floats(0, 1e6),
    gpu_j=st.none() | JOULES,
    cpu_j=st.none() | JOULES,
    dram_j=st.none() | JOULES,
    gpus_j=st.lists(JOULES, max_size=3).map(tuple),
)
SHARES = st.floats(0, 1)
# As floats go to JSON and back exactly, the losses of diverged trials included.
LOSSES = st.floats(allow_nan=False)
COUNTS = st.none() | st.integers(1, 10**9)  # of a training that does not count: None
CHECKPOINTS = st.builds(
    Checkpoint,
    samples=COUNTS,
    steps=COUNTS,
    epoch=st.floats(0, 1e4),
    accuracy=SHARES,
    loss=st.none() | LOSSES,
    training=ENERGIES,
    evaluation=ENERGIES,
)
# All evaluations of a trial have the same heads, or none.
HEADED = st.lists(
    st.builds(
        dataclasses.replace,
        CHECKPOINTS,
        heads=st.fixed_dictionaries({"digit": SHARES, "odd": SHARES}),
    ),
    max_size=6,
)
UPFRONT = st.builds(
    UpfrontCost,
    name=st.text(),
    origin=st.sampled_from(get_args(Origin)),
    energy=ENERGIES,
    given_j=JOULES,
    reuse=st.floats(1, 1e6),
    fresh=st.booleans(),
    accuracy=st.none() | SHARES,
    target=st.none() | SHARES,
)
WINDOWS = st.builds(Window, st.sampled_from(get_args(Purpose)), ENERGIES)
PROVENANCES = st.builds(
    Provenance,
    kind=st.sampled_from(get_args(Kind)),
    meter=st.text(),
    version=st.text(),
    scope=st.text(),
    device=st.text(),
    host=st.text(),
    uncertainty=st.text(),
    resolution_s=st.floats(0, 10),
)
STARTS = st.builds(
    TrialStart,
    target=SHARES,
    epochs=st.floats(0, 1e4),
    seed=st.integers(),
    provenance=PROVENANCES,
    flags=st.lists(st.text(), max_size=3).map(tuple),
)
RESULTS = st.builds(
    TrialResult.assemble,
    STARTS,
    st.lists(WINDOWS, max_size=6),
    st.lists(CHECKPOINTS, max_size=6) | HEADED,
    st.sampled_from(get_args(End)),
    st.text(),
    upfront=st.lists(UPFRONT, max_size=2).map(tuple),
    head_targets=st.dictionaries(st.text(), SHARES, max_size=2),
    inference_j_per_1000=st.dictionaries(st.text(), JOULES, max_size=2),
)


@given(RESULTS)
def test_a_result_survives_json(record: TrialResult):
    assert TrialResult.from_dict(record.to_dict()) == record
    assert TrialResult.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@given(RESULTS)
def test_a_record_of_old_is_read_that_has_a_dict_for_each_checkpoint(record: TrialResult):
    old = {
        **record.to_dict(),
        "checkpoints": [dataclasses.asdict(checkpoint) for checkpoint in record.checkpoints],
    }
    assert TrialResult.from_dict(json.loads(json.dumps(old))) == record


@given(st.lists(CHECKPOINTS, max_size=6) | HEADED)
def test_checkpoints_are_kept_as_columns_and_come_back_one_by_one(checkpoints: list[Checkpoint]):
    kept = Checkpoints.of(checkpoints)
    assert list(kept) == checkpoints
    assert len(kept) == len(checkpoints)
    assert [kept[-index] for index in range(1, len(kept) + 1)] == checkpoints[::-1]


def test_a_single_board_is_not_written_twice():
    window = Energy(1, gpu_j=2.5, gpus_j=(2.5,))
    columns = Energies.of([window, window])
    assert columns.to_dict()["gpus_j"] == ["gpu_j"]
    assert Energies.from_dict(json.loads(json.dumps(columns.to_dict()))) == columns


def test_a_loss_that_is_no_number_survives_json():
    record = result([(100, 2, math.nan)])
    back = TrialResult.from_dict(json.loads(json.dumps(record.to_dict())))
    (loss,) = back.checkpoints.loss
    assert loss is not None
    assert math.isnan(loss)


# Energy ------------------------------------------------------------------------------------


def test_parts_add_up_and_what_was_not_metered_stays_unknown():
    both = Energy(1, gpu_j=2, cpu_j=3) + Energy(4, cpu_j=5)
    assert both == Energy(5, gpu_j=2, cpu_j=8, dram_j=None)
    assert both.total_j == 10


def test_a_measured_zero_is_not_an_unknown():
    assert (Energy(gpu_j=0.0) + Energy()).gpu_j == 0.0
    assert (Energy() + Energy()).gpu_j is None


def test_the_sum_of_nothing_is_nothing():
    assert total([]) == Energy(0.0, None, None, None)
    assert total([]).total_j == 0


@given(st.lists(ENERGIES, max_size=8))
def test_the_total_is_the_sum_of_totals(energies: list[Energy]):
    summed = total(energies)
    assert summed.total_j == pytest.approx(sum(energy.total_j for energy in energies))
    assert summed.time_s == pytest.approx(sum(energy.time_s for energy in energies))


@given(ENERGIES, ENERGIES)
def test_adding_does_not_care_for_the_order(one: Energy, other: Energy):
    assert one + other == other + one


# Results -----------------------------------------------------------------------------------


@given(st.lists(WINDOWS, max_size=12))
def test_the_books_hold_every_window_once(windows: list[Window]):
    record = TrialResult.assemble(TrialStart(0.9, 1, 0, ESTIMATED), windows, [], "epochs", "")
    assert record.spent_j == pytest.approx(sum(window.energy.total_j for window in windows))
    for purpose in get_args(Purpose):
        same = [window.energy for window in windows if window.purpose == purpose]
        assert record.booked(purpose) == total(same)


@given(st.lists(CHECKPOINTS, max_size=8))
def test_a_curve_sums_its_training(checkpoints: list[Checkpoint]):
    start = TrialStart(0.9, 1, 0, ESTIMATED)
    curve = TrialResult.assemble(start, [], checkpoints, "epochs", "").curve
    # A model whose loss is not finite is no point of it, but its energy was spent; and before a
    # coarse counter has moved there is none.
    ends = [
        end
        for end, checkpoint in enumerate(checkpoints, start=1)
        if (checkpoint.loss is None or math.isfinite(checkpoint.loss))
        and any(c.training.total_j > 0 for c in checkpoints[:end])
    ]
    assert [point.accuracy for point in curve] == [checkpoints[end - 1].accuracy for end in ends]
    for end, point in zip(ends, curve, strict=True):
        trained = total(checkpoint.training for checkpoint in checkpoints[:end])
        assert point.training_j == pytest.approx(trained.total_j)
        assert point.training_s == pytest.approx(trained.time_s)


def test_one_curve_answers_every_target():
    record = result([(100, 2, 0.5), (200, 4, 0.8), (300, 8, 0.7)], target=0.75)
    first = record.first_at(0.5)
    assert first is not None
    assert first.training_j == 2
    assert record.hit == record.first_at(0.6) == record.curve[1]
    assert record.first_at(0.81) is None
    assert (record.energy_to_target_j, record.time_to_target_s) == (4, 2)
    assert record.reached
    assert record.best_accuracy == 0.8
    assert record.training_j == 8


def test_a_missed_target_has_no_energy():
    record = result([(100, 2, 0.5)])
    assert (record.hit, record.energy_to_target_j, record.time_to_target_s) == (None, None, None)
    assert not record.reached


def test_a_trial_without_evaluations_has_reached_nothing():
    assert result([]).best_accuracy == 0
    assert list(result([]).curve) == []


def test_every_ending_is_of_one_kind():
    assert not RAN_ITS_COURSE & BROKEN
    for end in get_args(End):
        assert result([(100, 2, 0.5)], end=end).valid == (end not in BROKEN)


# Provenance, outcomes and studies ----------------------------------------------------------


def test_provenance_binds_a_study_to_the_meter_not_to_the_host():
    elsewhere = dataclasses.replace(ESTIMATED, host="other", version="2")
    assert elsewhere.binding == ESTIMATED.binding
    assert dataclasses.replace(ESTIMATED, device="GPU").binding != ESTIMATED.binding
    assert str(ESTIMATED) == "estimated by cpu-time 4 W/core (CPU package) on Toy CPU"


def test_a_value_may_be_infinite_but_not_nan():
    assert Outcome("complete", (1.0, math.inf)).values == (1.0, math.inf)
    with pytest.raises(ValueError, match="hold NaN"):
        Outcome("complete", (1.0, math.nan))


def test_a_study_counts_every_joule():
    toy = study(
        [
            trial(0, result([(100, 2, 0.95)], evaluation_j=1, warmup_j=4)),
            trial(1, result([(100, 8, 0.5)], end="failed")),
            trial(2),
        ]
    )
    assert toy.search_energy_j == 2 + 1 + 4 + 8
    assert [trial.number for trial, _ in toy.results] == [0]
    assert toy.provenance == ESTIMATED
    assert study().provenance is None
