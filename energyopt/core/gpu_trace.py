"""The trace of a trial's GPUs: a sample of power, counter, limit and company about once a second.

Windows say how much energy a trial used; the trace says whether that can be believed. It is stored
as text: columns of whole numbers, as differences, compressed. `decode` names the units.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

MAX_STORED = 2000
"""Samples of a GPU that are stored with a trial; of more, those that differ and others evenly."""

_MAX_BYTES = 64 * 2**20  # of the decompressed text: an import may be hostile


@dataclass(frozen=True, slots=True)
class TraceSample:
    """One reading of a GPU; None where its driver does not report a value.

    Attributes:
        time_s: Time since the trace began, in s.
        gpu: Position of the GPU in `Machine.gpus`.
        counter_j: Its energy counter, which began with the driver, in J.
        power_w: Its power, in W; averaged over 1 s on most boards.
        limit_w: The power limit in force, in W.
        requested_w: The power limit that the driver was asked for, in W.
        held_w: The power limit that the trial set, in W; None if it set none.
        temperature_c: Its temperature, in degC.
        sm_clock_hz: Clock of its cores, in Hz.
        memory_clock_hz: Clock of its memory, in Hz.
        throttle: The reasons for its clocks, as NVML's bits.
        others: Number of other processes that compute on it.
    """

    time_s: float
    gpu: int
    counter_j: float
    power_w: float | None = None
    limit_w: float | None = None
    requested_w: float | None = None
    held_w: float | None = None
    temperature_c: float | None = None
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    throttle: int | None = None
    others: int | None = None

    @property
    def state(self) -> tuple[float | int | None, ...]:
        """The values that stay the same for most of a trial."""
        return (self.limit_w, self.requested_w, self.held_w, self.throttle, self.others)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TraceSample:
        """Read one from plain data."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that a trace shows, and when.

    Attributes:
        flag: The warning, as a short word.
        gpu: Position of the GPU in `Machine.gpus`.
        began_s: Its begin, in s since the trace began.
        ended_s: Its end.
        detail: What was read.
        wrong_j: Energy by which the counter is wrong because of it, in J.
    """

    flag: str
    gpu: int
    began_s: float
    ended_s: float
    detail: str
    wrong_j: float = 0.0


_UNITS: Mapping[str, float] = {
    "time_s": 1e-3,
    "counter_j": 1e-3,
    "power_w": 0.1,
    "limit_w": 0.1,
    "requested_w": 0.1,
    "held_w": 0.1,
    "temperature_c": 1.0,
    "sm_clock_hz": 1e6,
    "memory_clock_hz": 1e6,
}
"""Unit of the whole numbers in a stored column; columns without one hold plain numbers."""

_COLUMNS = tuple(field.name for field in fields(TraceSample) if field.name != "gpu")


@dataclass(frozen=True, slots=True)
class GpuTrace:
    """A stored trace.

    Attributes:
        text: The text that `of` made; empty without a trace.
    """

    text: str = ""

    @classmethod
    def of(cls, samples: Iterable[TraceSample]) -> GpuTrace:
        """Thin samples out, and compress them."""
        boards = [_encode(thinned(board)) for board in by_gpu(samples)]
        if not boards:
            return NO_TRACE
        raw = json.dumps(boards, separators=(",", ":")).encode()
        return cls(base64.urlsafe_b64encode(zlib.compress(raw, 9)).decode())

    def samples(self) -> tuple[TraceSample, ...]:
        """Return its samples, by GPU and time.

        Raises:
            ValueError: If the text is damaged.
        """
        return decode(self.text)

    def __bool__(self) -> bool:
        return bool(self.text)


NO_TRACE = GpuTrace()
"""The trace of a trial without one."""


def decode(text: str) -> tuple[TraceSample, ...]:
    """Return the samples of a stored trace.

    The text is base64 (URL-safe, so that no part of it looks like a path) of zlib of JSON: a list
    of GPUs, each an object of columns. A column is a list of differences from one known value to
    the next, in ms, mJ, 0.1 W, degC and MHz; null is a value that was not reported.

    Raises:
        ValueError: If it is no such text.
    """
    if not text:
        return ()
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.urlsafe_b64decode(text), _MAX_BYTES)
        if not unpacker.eof:
            raise ValueError("it is cut short, or too long")
        boards = json.loads(raw)
        return tuple(
            sample for gpu, columns in enumerate(boards) for sample in _decode(gpu, columns)
        )
    except (binascii.Error, zlib.error, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the trace of the GPUs is damaged: {error}") from error


def by_gpu(samples: Iterable[TraceSample]) -> list[list[TraceSample]]:
    """Return the samples of each GPU, by time; an empty list for one without any."""
    ordered = sorted(samples, key=lambda sample: (sample.gpu, sample.time_s))
    boards: list[list[TraceSample]] = []
    for sample in ordered:
        while len(boards) <= sample.gpu:
            boards.append([])
        boards[sample.gpu].append(sample)
    return boards


def thinned(samples: Sequence[TraceSample], max_samples: int = MAX_STORED) -> list[TraceSample]:
    """Return the samples of a GPU, at most about so many.

    The first and the last are kept, those around a change of limit, throttling or company, and
    others evenly.
    """
    if len(samples) <= max_samples:
        return list(samples)
    indices = {0, len(samples) - 1}
    for index, (sample, following) in enumerate(itertools.pairwise(samples)):
        if sample.state != following.state and len(indices) < max_samples // 2:
            indices |= {index, index + 1}
    step = -(-len(samples) // (max_samples - len(indices)))
    indices.update(range(0, len(samples), step))
    return [samples[index] for index in sorted(indices)]


def _encode(samples: Sequence[TraceSample]) -> dict[str, list[int | None]]:
    rows = [asdict(sample) for sample in samples]
    return {name: _differences([row[name] for row in rows], name) for name in _COLUMNS}


def _differences(values: Iterable[float | None], name: str) -> list[int | None]:
    last, differences = 0, list[int | None]()
    for value in values:
        if value is None:
            differences.append(None)
            continue
        whole = round(value / _UNITS.get(name, 1))
        differences.append(whole - last)
        last = whole
    return differences


def _decode(gpu: int, columns: Mapping[str, Sequence[int | None]]) -> list[TraceSample]:
    values = {name: _sums(columns[name], name) for name in _COLUMNS}
    if {len(column) for column in values.values()} != {len(values["time_s"])}:
        raise ValueError("the trace of the GPUs is damaged: its columns differ in length")
    rows = (dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True))
    return [TraceSample(gpu=gpu, **row) for row in rows]


def _sums(differences: Iterable[int | None], name: str) -> list[Any]:
    unit = _UNITS.get(name)
    last, values = 0, list[Any]()
    for difference in differences:
        if difference is None:
            values.append(None)
            continue
        last += difference
        values.append(last if unit is None else round(last * unit, 3))
    return values
