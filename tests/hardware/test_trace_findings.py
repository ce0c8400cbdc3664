"""Judge traces of made-up boards that draw what they should, and on faulty ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.gpu_trace import TraceEvent, TraceSample
from energyopt.hardware.trace_findings import (
    BRAKED,
    COMPANY,
    DISAGREES,
    HOT,
    LEAP,
    LIMIT_CHANGED,
    LIMIT_NOT_ENFORCED,
    STILL,
    WENT_BACK,
    TraceRules,
    events_of,
    limit_in_force_w,
    wrong_counters,
)

PERIOD_S = 0.1
HIGHEST_W = 300.0
RULES = TraceRules(PERIOD_S, 1.25, (HIGHEST_W, HIGHEST_W))


def trace(
    times_s: Sequence[float],
    power_w: Callable[[float], float] = lambda _: 280.0,
    *,
    gpu: int = 0,
    counted: Callable[[float], float] | None = None,
) -> list[TraceSample]:
    """Sample a board whose counter moves every 100 ms.

    Args:
        times_s: When it is sampled.
        power_w: What it draws, by time.
        gpu: Its position.
        counted: What its counter sees of that; the same if not given.
    """
    seen_w = counted or power_w
    samples, counter_j, tick = [], 5000.0, 0
    for time_s in sorted(times_s):
        while (tick + 1) * PERIOD_S <= time_s + 1e-9:
            counter_j += PERIOD_S * seen_w((tick + 0.5) * PERIOD_S)
            tick += 1
        samples.append(
            TraceSample(
                time_s, gpu, counter_j, power_w(time_s), HIGHEST_W, HIGHEST_W, None, 60.0,
                1980e6, 3201e6, 0, 0,
            )
        )  # fmt: skip
    return samples


def flags(samples: Sequence[TraceSample]) -> list[str]:
    return [event.flag for event in events_of(samples, RULES)]


def seconds(until_s: float) -> list[float]:
    return [float(second) for second in range(int(until_s) + 1)]


TIMES = st.lists(
    st.floats(0, 200, allow_nan=False).map(lambda s: round(s, 3)),
    min_size=2,
    max_size=120,
    unique=True,
)


# A board that does what it should ------------------------------------------------------------


@given(TIMES, st.floats(20, HIGHEST_W), st.floats(20, HIGHEST_W), st.floats(0, 200))
def test_a_board_within_its_limit_is_never_flagged(
    times_s: list[float], before_w: float, after_w: float, change_s: float
) -> None:
    """Whenever it is sampled, and whenever its load changes."""
    samples = trace(times_s, lambda s: before_w if s < change_s else after_w)
    assert set(flags(samples)) <= {DISAGREES}  # rare samples integrate badly


@given(st.floats(20, HIGHEST_W), st.floats(20, HIGHEST_W), st.integers(1, 250))
def test_nor_is_one_that_is_sampled_every_second(low_w: float, high_w: float, every: int) -> None:
    samples = trace(seconds(300), lambda s: low_w if int(s) // every % 2 else high_w)
    assert flags(samples) == []


@given(TIMES)
def test_a_board_may_average_a_fifth_above_a_limit(times_s: list[float]) -> None:
    """As in the traces of Zeus."""
    assert LEAP not in flags(trace(times_s, lambda _: 1.2 * HIGHEST_W))


def test_one_sample_shows_nothing() -> None:
    assert flags(trace([3.0])) == []
    assert flags([]) == []


# Faulty counters -----------------------------------------------------------------------------


@given(st.floats(1.2, 60), st.floats(5, 100))
def test_a_counter_that_stands_still_is_found_with_its_time(
    length_s: float, begin_s: float
) -> None:
    end_s = begin_s + length_s
    times_s = sorted({*seconds(180), *(0.4 * i for i in range(450))})
    samples = trace(times_s, counted=lambda s: 0.0 if begin_s <= s < end_s else 280.0)
    (event,) = [event for event in events_of(samples, RULES) if event.flag == STILL]
    assert event.began_s == pytest.approx(begin_s, abs=1.1)
    assert event.ended_s == pytest.approx(end_s, abs=1.1)
    assert event.wrong_j == pytest.approx(280 * length_s, abs=280 * 1.0)
    assert "280 W were drawn" in event.detail
    share = length_s / (180 - length_s)
    if abs(share - 0.05) > 0.01:
        assert bool(wrong_counters(samples, [event])) is (share > 0.05)


def test_a_power_reading_of_zero_does_not_hide_it() -> None:
    samples = trace(seconds(60), lambda s: 0.0 if 20 <= s < 40 else 280.0)
    (event,) = [event for event in events_of(samples, RULES) if event.flag == STILL]
    assert wrong_counters(samples, [event]) == [event]
    assert event.wrong_j == pytest.approx(20 * 280, rel=0.1)


def test_a_counter_that_never_moves_is_wrong() -> None:
    samples = trace(seconds(10), counted=lambda _: 0.0)
    assert wrong_counters(samples, events_of(samples, RULES))
    samples = trace(seconds(10), lambda _: 0.0)
    assert wrong_counters(samples, events_of(samples, RULES))


@given(st.floats(0.7, 20), st.floats(5, 60))
def test_a_counter_that_makes_up_for_its_stand_is_late_and_not_wrong(
    length_s: float, begin_s: float
) -> None:
    begin, end = round(begin_s / PERIOD_S), round((begin_s + length_s) / PERIOD_S)

    def counted(time_s: float) -> float:
        tick = int(time_s / PERIOD_S)
        return 280.0 * (0 if begin <= tick < end else 1 + (end - begin) * (tick == end))

    samples = trace([0.25 * i for i in range(400)], counted=counted)
    events = events_of(samples, RULES)
    assert {event.flag for event in events} <= {STILL}
    assert wrong_counters(samples, events) == []


@given(st.floats(150, 1e5), st.floats(2, 28))
def test_a_leap_beyond_what_the_board_draws_is_found(leap_j: float, at_s: float) -> None:
    samples = trace([0.4 * i for i in range(76)])
    leapt = [
        replace(sample, counter_j=sample.counter_j + (leap_j if sample.time_s > at_s else 0))
        for sample in samples
    ]
    events = [event for event in events_of(leapt, RULES) if event.flag == LEAP]
    if leap_j > 400:
        (event,) = events
        assert event.began_s <= at_s + 0.4
        assert event.ended_s >= at_s
        assert event.wrong_j == pytest.approx(leap_j, abs=150)
    for event in events:
        assert event.wrong_j <= leap_j + 1
    if leap_j > 1000:
        assert wrong_counters(leapt, events)


def test_a_fifth_of_a_short_trial_in_one_step_is_wrong() -> None:
    """1.2 kW for 0.4 s are 335 W on average, which the board may draw."""
    samples = trace(
        [0.4 * i for i in range(17)],
        counted=lambda s: 280.0 + (358.4 / 0.4 if 2.8 <= s < 3.2 else 0),
    )
    assert wrong_counters(samples, events_of(samples, RULES))


def test_a_counter_that_goes_back_is_wrong() -> None:
    samples = trace(seconds(20))
    samples[7:] = [replace(sample, counter_j=sample.counter_j - 5000) for sample in samples[7:]]
    (event,) = events_of(samples, RULES)
    assert (event.flag, event.began_s, event.ended_s) == (WENT_BACK, 6, 7)
    assert wrong_counters(samples, [event]) == [event]


@pytest.mark.parametrize(
    ("factor", "is_found"), [(1.0, False), (0.97, False), (0.9, True), (1.1, True)]
)
def test_counter_and_power_are_compared_over_a_minute(factor: float, is_found: bool) -> None:
    samples = trace(seconds(200), lambda _: 200.0, counted=lambda _: 200.0 * factor)
    events = events_of(samples, RULES)
    assert {event.flag for event in events} == ({DISAGREES} if is_found else set())
    assert all(event.ended_s - event.began_s >= 60 for event in events)
    assert wrong_counters(samples, events) == []


def test_they_are_not_compared_over_less() -> None:
    assert flags(trace(seconds(59), lambda _: 200.0, counted=lambda _: 100.0)) == []


# Limits --------------------------------------------------------------------------------------


def limited(
    samples: Sequence[TraceSample], begin: int, end: int, **values: Any
) -> list[TraceSample]:
    return [
        replace(sample, **values) if begin <= i < end else sample
        for i, sample in enumerate(samples)
    ]


@given(st.integers(1, 20), st.integers(1, 20), st.floats(100, 240), st.booleans())
def test_a_limit_that_another_sets_is_found_with_its_time(
    begin: int, length: int, limit_w: float, is_held: bool
) -> None:
    end = min(begin + length, 21)
    held = [replace(sample, held_w=HIGHEST_W if is_held else None) for sample in trace(seconds(20))]
    samples = limited(held, begin, end, limit_w=limit_w, requested_w=limit_w)
    (event,) = events_of(samples, RULES)
    assert event.flag == LIMIT_CHANGED
    assert (event.began_s, event.ended_s) == (begin - 1, min(end, 20))
    assert f"{limit_w:g} W in force, 300 W" in event.detail
    assert limit_in_force_w(samples) is None


def test_limits_that_the_trial_sets_are_its_own() -> None:
    samples = limited(trace(seconds(20)), 5, 10, limit_w=200, requested_w=200, held_w=200)
    samples = limited(samples, 10, 21, limit_w=250, requested_w=250, held_w=250)
    assert flags(samples) == []
    assert limit_in_force_w(samples) == 250


def test_a_limit_that_is_not_enforced_is_found() -> None:
    held = [
        replace(sample, held_w=250.0, requested_w=250.0, limit_w=200.0)
        for sample in trace(seconds(20), lambda _: 190.0)
    ]
    (event,) = events_of(held, RULES)
    assert (event.flag, event.detail) == (
        LIMIT_NOT_ENFORCED,
        "200 W in force, 250 W set by the trial",
    )
    assert limit_in_force_w(held) == 200


def test_a_board_may_take_a_moment_to_follow_its_limit() -> None:
    held = [replace(sample, held_w=250.0, requested_w=250.0) for sample in trace(seconds(20))]
    assert flags(limited(held, 1, 21, limit_w=250)) == []


def test_a_board_that_is_capped_throughout_keeps_its_limit() -> None:
    samples = limited(trace(seconds(20), lambda _: 190.0), 0, 21, limit_w=200)
    assert flags(samples) == []
    assert limit_in_force_w(samples) == 200


# Company and clocks --------------------------------------------------------------------------


@given(st.integers(0, 19), st.integers(1, 20))
def test_company_is_found_with_its_time(begin: int, length: int) -> None:
    samples = limited(trace(seconds(20)), begin, begin + length, others=1)
    (event,) = events_of(samples, RULES)
    assert event.flag == COMPANY
    assert event.began_s == max(begin - 1, 0)
    assert event.ended_s == min(begin + length, 20)


@pytest.mark.parametrize(
    ("throttle", "flag"),
    [(0x20, HOT), (0x40, HOT), (0x48, HOT), (0x80, BRAKED), (0x4, None), (1, None)],
)
def test_lowered_clocks_are_found(throttle: int, flag: str | None) -> None:
    samples = limited(trace(seconds(20)), 5, 9, throttle=throttle, temperature_c=91)
    assert flags(samples) == ([] if flag is None else [flag])
    for event in events_of(samples, RULES):
        assert "91 degC" in event.detail


def test_each_board_is_judged_by_itself() -> None:
    samples = trace(seconds(30)) + limited(trace(seconds(30), gpu=1), 3, 5, others=2)
    (event,) = events_of(samples, RULES)
    assert (event.gpu, event.flag) == (1, COMPANY)


def test_values_that_a_driver_does_not_report_show_nothing() -> None:
    bare = [TraceSample(s.time_s, 0, s.counter_j) for s in trace(seconds(90))]
    assert events_of(bare, TraceRules(PERIOD_S)) == ()
    assert limit_in_force_w(bare) is None


def test_wrong_events_of_another_board_are_its_own() -> None:
    samples = trace(seconds(30))
    assert wrong_counters(samples, [TraceEvent(STILL, 1, 0, 30, "", 1e9)]) == []
