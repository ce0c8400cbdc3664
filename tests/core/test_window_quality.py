"""The window behind a number is long enough for its meter, and undisturbed."""

from __future__ import annotations

import dataclasses

import pytest

from energyopt.core.conditions import Conditions, CpuDisturbance
from energyopt.core.window_quality import energy_unit, length_quality, watts_per_core, window_flags
from energyopt.report.sentences import source, source_text
from tests.toys import ESTIMATED, result

NVML = dataclasses.replace(ESTIMATED, kind="measured", resolution_s=0.1)
CPU_TIME = dataclasses.replace(ESTIMATED, meter="cpu-time x 2.5 W/core")
"""10 CPU-seconds are 25 J."""


@pytest.mark.parametrize(
    ("training_s", "quality"),
    [
        (4.9, "invalid"),
        (5.0, "poor"),
        (9.9, "poor"),
        (10.0, "short"),
        (59.9, "short"),
        (60.0, "ok"),
    ],
)
def test_a_short_training_is_flagged_by_the_sensors_period(training_s: float, quality: str):
    assert length_quality(training_s, NVML) == quality
    record = result([(100, 2 * training_s, 0.5)], provenance=NVML, flags=("hot",))
    assert record.flags == (("hot",) if quality == "ok" else ("hot", f"{quality}_window"))


def test_without_a_period_no_training_is_too_short():
    assert length_quality(0.001, ESTIMATED) == "ok"
    assert result([(100, 2, 0.5)]).flags == ()


def test_the_window_to_the_target_is_judged_not_the_whole_training():
    record = result([(100, 6, 0.5), (200, 14, 0.95), (300, 200, 0.99)], provenance=NVML)
    assert record.flags == ("poor_window",)  # 7 s to the target, 100 s in all
    assert record.flags_at(record.first_at(0.5)) == ("invalid_window",)
    assert record.flags_at(record.first_at(0.99)) == ()
    assert record.flags_at(None) == ()


def test_an_estimate_is_short_below_ten_cpu_seconds_to_the_target():
    record = result([(100, 24.9, 0.95), (200, 99, 0.97)], provenance=CPU_TIME)
    assert record.flags == ("short_estimate",)
    assert record.flags_at(record.first_at(0.97)) == ()
    assert window_flags(1.0, 25.0, CPU_TIME, record.start.quality_periods) == ()


def test_the_constant_of_an_estimate_is_in_the_name_of_its_meter():
    assert watts_per_core(CPU_TIME) == 2.5
    assert watts_per_core(dataclasses.replace(CPU_TIME, meter="cpu-time x 1e+02 W/core")) == 100
    assert watts_per_core(NVML) is None
    assert watts_per_core(dataclasses.replace(CPU_TIME, kind="measured")) is None


@pytest.mark.parametrize(
    ("disturbance", "flags"),
    [
        (CpuDisturbance(10, 50, 100, 1), ()),
        (CpuDisturbance(10, 5000, 100, 1), ("cpu_crowded",)),
        (CpuDisturbance(10, 50, 100, 20), ("cpu_stolen",)),
        (CpuDisturbance(10, 5000, 100, 20), ("cpu_stolen", "cpu_crowded")),
        (CpuDisturbance(10, 50), ()),  # a system without steal
        (CpuDisturbance(0, 0, 0, 0), ()),
        (CpuDisturbance(0.01, 3, 0.02, 0.01), ()),  # too short to tell a rate
    ],
)
def test_what_took_cpu_time_from_a_training_is_flagged(
    disturbance: CpuDisturbance, flags: tuple[str, ...]
):
    record = dataclasses.replace(
        result([(100, 99, 0.95)]), conditions=Conditions(disturbance=disturbance)
    )
    assert record.flags == flags
    assert type(record).from_dict(record.to_dict()).conditions == record.conditions


def test_disturbance_adds_up_over_pauses():
    first, second = CpuDisturbance(2, 10, 4, 1), CpuDisturbance(3, 20, 6, 0)
    assert first + second == CpuDisturbance(5, 30, 10, 1)
    assert first + second - second == first
    assert (first + CpuDisturbance(3, 20)).steal_share is None


def test_the_unit_of_an_estimate_is_named_with_its_constant():
    assert energy_unit(CPU_TIME) == "CPU-seconds x 2.5 W"
    assert energy_unit(NVML) is None
    assert source(CPU_TIME) == "estimated as CPU-seconds x 2.5 W"
    assert source(NVML) == "measured by cpu-time 4 W/core"
    assert source_text(CPU_TIME).endswith(" on Toy CPU, as CPU-seconds x 2.5 W")
