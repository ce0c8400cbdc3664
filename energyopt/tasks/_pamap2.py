"""The files of PAMAP2: one subject's recording, cleaned and kept."""

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
"""What the protocol asked all subjects to do, by its code in the files."""

SENSORS = ("hand", "chest", "ankle")
# The four columns of orientation, which follow, are invalid in these files, as their page says.
SIGNALS = {
    "temperature": (0,),
    "acc16": (1, 2, 3),
    "acc6": (4, 5, 6),
    "gyro": (7, 8, 9),
    "mag": (10, 11, 12),
}
_COLUMNS = 54  # time, activity, heart rate, and 17 of each sensor
_FIRST, _OF_A_SENSOR = 3, 17
_HIGHEST_CODE = 24
_LONGEST_JUMP_S = 0.1


class Recording(NamedTuple):
    """What one subject did.

    Attributes:
        samples: Of shape (time, channels).
        activity: Code of what was done, of shape (time,).
        bout: Number of the uninterrupted stretch of one activity, of shape (time,).
    """

    samples: NDArray[np.float32]
    activity: NDArray[np.int64]
    bout: NDArray[np.int64]


def columns_of(sensors: Sequence[str], signals: Sequence[str]) -> list[int]:
    """Numbers of the columns of each signal of each sensor."""
    return [
        _FIRST + _OF_A_SENSOR * SENSORS.index(sensor) + offset
        for sensor in sensors
        for signal in signals
        for offset in SIGNALS[signal]
    ]


def read_recording(path: Path, columns: Sequence[int], rate_hz: int) -> Recording:
    """Read a subject's file, or what an earlier call kept of it.

    Gaps of the wireless sensors are filled by straight lines. What belongs to no activity of the
    protocol is left out. The mean of neighbouring samples makes one of the lower rate.

    Args:
        path: `subject101.dat` or another.
        columns: Which columns are channels.
        rate_hz: Samples a second; divides 100.

    Raises:
        ConfigError: If the file is damaged.
    """

    def make() -> Arrays:
        return _clean(path, columns, RATE_HZ // rate_hz)._asdict()

    options = {"version": 1, "columns": list(columns), "rate_hz": rate_hz}
    return Recording(**cached(f"pamap2-{path.stem}", make, options=options, sources=[path]))


def _clean(path: Path, columns: Sequence[int], by: int) -> Recording:
    """Read and clean a file; `by` samples become one."""
    table = _read(path)
    codes = table[:, 1].astype(np.int64)
    jumps = np.abs(np.diff(table[:, 0])) > _LONGEST_JUMP_S
    ends = np.flatnonzero((np.diff(codes) != 0) | jumps) + 1
    channels = np.stack([_filled(path, table[:, column], column) for column in columns], axis=1)
    bouts = []
    for begin, end in zip([0, *ends], [*ends, len(codes)], strict=True):
        count = (end - begin) // by
        if codes[begin] in ACTIVITIES and count:
            whole = channels[begin : begin + count * by]
            bouts.append((whole.reshape(count, by, -1).mean(axis=1), codes[begin]))
    if not bouts:
        raise ConfigError(
            f"{path} holds no activity of the protocol: replace it by the subject's file in the "
            f"folder Protocol."
        )
    lengths = [len(samples) for samples, _ in bouts]
    return Recording(
        np.concatenate([samples for samples, _ in bouts]).astype(np.float32),
        np.repeat([code for _, code in bouts], lengths),
        np.repeat(np.arange(len(bouts)), lengths),
    )


def _read(path: Path) -> NDArray[np.float64]:
    """Read all rows and check what can be checked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of an empty file
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
    known = np.isin(table[:, 1], np.arange(_HIGHEST_CODE + 1)) & np.isfinite(table[:, 0])
    if not known.all():
        row = int(np.argmin(known))
        raise ConfigError(
            f"{path}, row {row + 1}: time {table[row, 0]:g} and activity {table[row, 1]:g}, but "
            f"times are numbers and activities 0 to {_HIGHEST_CODE}: replace it by a whole copy."
        )
    return table


def _filled(path: Path, column: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Fill gaps by straight lines, and by the nearest value at the ends."""
    there = np.isfinite(column)
    if there.all():
        return column
    if not there.any():
        raise ConfigError(
            f"{path} has no number in column {number + 1}: leave that sensor or signal out, or "
            f"the subject."
        )
    times = np.arange(len(column))
    return np.interp(times, times[there], column[there])
