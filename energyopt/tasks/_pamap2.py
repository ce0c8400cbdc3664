"""Reader of PAMAP2's files: one subject's recording, cleaned and cached."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from energyopt.errors import ConfigError
from energyopt.tasks._cache import Arrays, cached

RATE_HZ = 100
ACTIVITIES = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "Nordic walking",
    12: "ascending stairs",
    13: "descending stairs",
    16: "vacuum cleaning",
    17: "ironing",
    24: "rope jumping",
}
"""Activities of the protocol by their code in the files."""

SENSORS = ("hand", "chest", "ankle")
# Offsets within a sensor's columns. The four columns of orientation that follow are left out: the
# data set's page declares them invalid.
SIGNALS = {
    "temperature": (0,),
    "acc16": (1, 2, 3),
    "acc6": (4, 5, 6),
    "gyro": (7, 8, 9),
    "mag": (10, 11, 12),
}
_COLUMNS = 54  # time, activity, heart rate, and 17 of each sensor
_FIRST_COLUMN, _COLUMNS_PER_SENSOR = 3, 17
_HIGHEST_CODE = 24
_MAX_GAP_S = 0.1  # between samples of one stretch


class SubjectRecording(NamedTuple):
    """The recording of one subject."""

    samples: NDArray[np.float32]  # of shape (time, channels)
    activity: NDArray[np.int64]  # code, of shape (time,)
    bout: NDArray[np.int64]  # number of the uninterrupted stretch of one activity, of shape (time,)


def columns_of(sensors: Sequence[str], signals: Sequence[str]) -> list[int]:
    """Return the column numbers of each signal of each sensor."""
    return [
        _FIRST_COLUMN + _COLUMNS_PER_SENSOR * SENSORS.index(sensor) + offset
        for sensor in sensors
        for signal in signals
        for offset in SIGNALS[signal]
    ]


def read_recording(path: Path, columns: Sequence[int], rate_hz: int) -> SubjectRecording:
    """Read a subject's file or its cached recording.

    Gaps of the wireless sensors are interpolated linearly. Samples outside the protocol's
    activities are left out. The rate is lowered by averaging neighbouring samples.

    Args:
        path: A subject's file, such as `subject101.dat`.
        columns: Columns to use as channels.
        rate_hz: Samples per second; divides 100.

    Raises:
        ConfigError: If the file is damaged.
    """

    def make() -> Arrays:
        return _read_clean(path, columns, RATE_HZ // rate_hz)._asdict()

    options = {"version": 1, "columns": list(columns), "rate_hz": rate_hz}
    return SubjectRecording(**cached(f"pamap2-{path.stem}", make, options=options, sources=[path]))


def _read_clean(path: Path, columns: Sequence[int], factor: int) -> SubjectRecording:
    """Read and clean a file, and average each `factor` samples into one."""
    table = _read(path)
    codes = table[:, 1].astype(np.int64)
    has_gap = np.abs(np.diff(table[:, 0])) > _MAX_GAP_S
    ends = np.flatnonzero((np.diff(codes) != 0) | has_gap) + 1
    channels = np.stack([_fill_gaps(path, table[:, i], i) for i in columns], axis=1)
    bouts = []
    for begin, end in zip([0, *ends], [*ends, len(codes)], strict=True):
        count = (end - begin) // factor
        if codes[begin] in ACTIVITIES and count:
            samples = channels[begin : begin + count * factor]
            bouts.append((samples.reshape(count, factor, -1).mean(axis=1), codes[begin]))
    if not bouts:
        raise ConfigError(
            f"{path} holds no activity of the protocol: replace it by the subject's file in the "
            f"folder Protocol."
        )
    lengths = [len(samples) for samples, _ in bouts]
    return SubjectRecording(
        np.concatenate([samples for samples, _ in bouts]).astype(np.float32),
        np.repeat([code for _, code in bouts], lengths),
        np.repeat(np.arange(len(bouts)), lengths),
    )


def _read(path: Path) -> NDArray[np.float64]:
    """Read all rows, and check the number of columns, the times and the activity codes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of an empty file
            table: NDArray[Any] = np.loadtxt(path, ndmin=2)
    except (ValueError, OSError, UserWarning) as error:
        raise ConfigError(
            f"{path} cannot be read as a table of numbers ({error}); replace it by a whole copy."
        ) from error
    if table.shape[1] != _COLUMNS:
        raise ConfigError(
            f"{path} has {table.shape[1]} columns, but files of PAMAP2 have {_COLUMNS}: replace "
            f"it by a whole copy."
        )
    is_valid = np.isin(table[:, 1], np.arange(_HIGHEST_CODE + 1)) & np.isfinite(table[:, 0])
    if not is_valid.all():
        row = int(np.argmin(is_valid))
        raise ConfigError(
            f"{path}, row {row + 1}: time {table[row, 0]:g} and activity {table[row, 1]:g}, but "
            f"times are numbers and activities 0 to {_HIGHEST_CODE}: replace it by a whole copy."
        )
    return table


def _fill_gaps(path: Path, column: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """Interpolate gaps linearly, and extend the nearest value at the ends."""
    is_present = np.isfinite(column)
    if is_present.all():
        return column
    if not is_present.any():
        raise ConfigError(
            f"{path} has no number in column {index + 1}: leave that sensor or signal out, or "
            f"the subject."
        )
    times = np.arange(len(column))
    return np.interp(times, times[is_present], column[is_present])
