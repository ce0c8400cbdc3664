"""A stored trace is small, and says what was sampled."""

from __future__ import annotations

import base64
import itertools
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.gpu_trace import (
    MAX_STORED,
    NO_TRACE,
    GpuTrace,
    TraceSample,
    by_gpu,
    thinned,
)


def tenths(high: int) -> st.SearchStrategy[float | None]:
    return st.none() | st.integers(0, high).map(lambda whole: whole / 10)


SAMPLES = st.builds(
    TraceSample,
    time_s=st.integers(0, 10**8).map(lambda ms: ms / 1000),
    gpu=st.integers(0, 2),
    counter_j=st.integers(0, 10**12).map(lambda mj: mj / 1000),
    power_w=tenths(10**5),
    limit_w=tenths(10**5),
    requested_w=tenths(10**5),
    held_w=tenths(10**5),
    temperature_c=st.none() | st.integers(0, 120).map(float),
    sm_clock_hz=st.none() | st.integers(0, 4000).map(lambda mhz: mhz * 1e6),
    memory_clock_hz=st.none() | st.integers(0, 4000).map(lambda mhz: mhz * 1e6),
    throttle=st.none() | st.integers(0, 0x7FF),
    others=st.none() | st.integers(0, 9),
)


@given(st.lists(SAMPLES, max_size=30))
def test_what_is_stored_is_read_back(samples: list[TraceSample]) -> None:
    stored = GpuTrace.of(samples).samples()
    assert by_gpu(stored) == by_gpu(samples)


def test_no_samples_are_no_trace() -> None:
    assert GpuTrace.of(()) == NO_TRACE
    assert not NO_TRACE
    assert NO_TRACE.samples() == ()


def hour() -> list[TraceSample]:
    """An hour of a board whose power varies, and whose limit another tool changes once."""
    samples = []
    counter_j = 123456.0
    for second in range(3600):
        power_w = 250 + (second * 7919 % 400) / 10
        counter_j += power_w
        limit_w = 300.0 if second != 1811 else 120.0
        clocks = {"sm_clock_hz": 1980e6, "memory_clock_hz": 3201e6}
        samples.append(
            TraceSample(
                second + 0.001 * (second % 3), 0, counter_j, power_w, limit_w, limit_w, None,
                60 + second // 600, throttle=4, others=0, **clocks,
            )
        )  # fmt: skip
    return samples


def test_a_long_trace_keeps_its_ends_and_what_was_short() -> None:
    samples = hour()
    kept = thinned(samples)
    assert len(kept) <= MAX_STORED + 4
    assert kept[0] == samples[0]
    assert kept[-1] == samples[-1]
    assert {1810, 1811, 1812} <= {round(sample.time_s) for sample in kept}
    assert kept == sorted(kept, key=lambda sample: sample.time_s)


def test_an_hour_takes_little_space() -> None:
    assert len(GpuTrace.of(hour()).text) < 16 * MAX_STORED


@given(st.integers(2, 60), st.integers(4, 40))
def test_thinning_keeps_some_of_all_parts(count: int, most: int) -> None:
    samples = [
        replace(hour_sample, time_s=float(i)) for i, hour_sample in enumerate([_ONE] * count)
    ]
    kept = thinned(samples, most)
    gaps = [b.time_s - a.time_s for a, b in itertools.pairwise(kept)]
    assert max(gaps, default=0) <= 2 * count / most + 1


_ONE = TraceSample(0.0, 0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "not base64 at all!",
        base64.urlsafe_b64encode(b"plain").decode(),
        base64.urlsafe_b64encode(zlib.compress(b"{}")[:-3]).decode(),
        base64.urlsafe_b64encode(zlib.compress(b'[{"time_s": 3}]')).decode(),
        base64.urlsafe_b64encode(zlib.compress(b"7")).decode(),
        base64.urlsafe_b64encode(zlib.compress(b'[{"time_s": [1]}]')).decode(),
    ],
)
def test_a_damaged_trace_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"damaged|cut short"):
        GpuTrace(text).samples()


def test_a_trace_that_unpacks_to_too_much_is_refused() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(bytes(70 * 2**20), 9)).decode()
    with pytest.raises(ValueError, match="too long"):
        GpuTrace(bomb).samples()


def test_a_trace_looks_like_no_path() -> None:
    """An export replaces paths in all texts."""
    assert "/" not in GpuTrace.of(hour()).text
