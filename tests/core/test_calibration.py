"""A study passes what it measured about its GPUs to later trials, as plain numbers."""

from __future__ import annotations

import dataclasses
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.calibration import (
    Calibration,
    digest,
    gpus_key,
    shape_of_work,
    unfinished_key,
)
from energyopt.core.conditions import Conditions, Gpu, Machine, PowerProfile, ProfilePoint
from energyopt.core.trial_result import TrialResult
from tests.toys import result

SHAPE = shape_of_work("Toy GPU", {"_target_": "net", "width": 8}, 64, {"_target_": "scratch"})
POINTS = (ProfilePoint(300, 10, 2.0, 0.1), ProfilePoint(200, 10, 1.5, 0.11))


def machine(uuid: str = "GPU-a", limit_w: float = 300) -> Machine:
    return Machine(gpus=(Gpu("Toy GPU", uuid, 0, limit_w=limit_w),))


def found(on: Machine | None, **conditions: object) -> TrialResult:
    plain = result([(100, 2, 0.95)])
    start = dataclasses.replace(plain.start, machine=on)
    given = Conditions(**conditions)  # type: ignore[arg-type]
    return dataclasses.replace(plain, start=start, conditions=given)


def test_a_trial_without_gpus_teaches_nothing():
    assert Calibration.of([result([(100, 2, 0.9)]), found(None), found(Machine())]) == Calibration()
    assert Calibration.from_json(Calibration().to_json()) == Calibration()


def test_profiles_idle_power_and_the_first_temperature_are_kept():
    calibration = Calibration.of(
        [
            found(machine(), idle_w=50, temperature_before_c=40),
            found(machine(limit_w=200), idle_w=48, temperature_before_c=55),
            found(machine(), idle_w=99, profile=PowerProfile(SHAPE, POINTS, 200)),
        ]
    )
    assert calibration.idle_w[gpus_key(machine(), limits=True)] == 50
    assert calibration.idle_w[gpus_key(machine(limit_w=200), limits=True)] == 48
    assert calibration.reference_c[gpus_key(machine())] == 40
    assert calibration.profiles[digest(SHAPE)] == POINTS
    assert gpus_key(machine("GPU-b")) not in calibration.reference_c


def test_a_profile_that_was_not_finished_is_continued_on_the_same_gpus_alone():
    started = tuple(dataclasses.replace(point, at_s=3.0) for point in POINTS)
    longer, shorter = (
        PowerProfile(SHAPE, POINTS[:n], 200, finished=False, measured=started[:n]) for n in (2, 1)
    )
    calibration = Calibration.of(
        [found(machine(), profile=longer), found(machine(), profile=shorter)]
    )
    assert calibration.profiles == {}
    assert calibration.unfinished == {unfinished_key(SHAPE, ["GPU-a"]): started}
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_a_profile_holds_for_the_same_shape_alone():
    for other in (
        shape_of_work("Other GPU", {"_target_": "net", "width": 8}, 64, {"_target_": "scratch"}),
        shape_of_work("Toy GPU", {"_target_": "net", "width": 9}, 64, {"_target_": "scratch"}),
        shape_of_work("Toy GPU", {"_target_": "net", "width": 8}, 32, {"_target_": "scratch"}),
        shape_of_work("Toy GPU", {"_target_": "net", "width": 8}, 64, {"precision": "bf16"}),
    ):
        assert digest(other) != digest(SHAPE)
    assert digest(SHAPE) == digest(json.loads(json.dumps(SHAPE)))


numbers = st.floats(0.001, 1000)


@given(
    st.lists(
        st.builds(
            lambda uuid, limit_w, idle_w, points, text: found(
                machine(uuid, limit_w),
                idle_w=idle_w,
                temperature_before_c=idle_w,
                profile=PowerProfile({"model": text}, tuple(points), limit_w),
            ),
            st.text(max_size=5),
            numbers,
            numbers,
            st.lists(st.builds(ProfilePoint, numbers, st.integers(1, 9), numbers, numbers)),
            st.text(),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_it_survives_its_journey_and_carries_nobodys_text(trials: list[TrialResult]):
    calibration = Calibration.of(trials)
    text = calibration.to_json()
    assert Calibration.from_json(text) == calibration
    words = set(re.findall(r"[^\W\d_]\w*", re.sub(r'"[0-9a-f]{16}"', "", text)))
    assert words <= {"profiles", "idle_w", "reference_c", "unfinished", "e"}


def test_what_is_new_is_kept_when_there_is_much():
    calibration = Calibration.of(found(machine(f"GPU-{i}"), idle_w=50.0) for i in range(60))
    assert gpus_key(machine("GPU-59"), limits=True) in calibration.idle_w
    assert gpus_key(machine("GPU-0"), limits=True) not in calibration.idle_w


def test_it_stays_short():
    calibration = Calibration.of(found(machine(f"GPU-{i}"), idle_w=50.0) for i in range(500))
    assert len(calibration.idle_w) == 50
    assert len(calibration.to_json()) < 5000
