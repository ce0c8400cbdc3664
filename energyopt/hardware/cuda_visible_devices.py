"""Which GPUs CUDA_VISIBLE_DEVICES lets a process see, in all the forms that CUDA takes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence

from energyopt.errors import HardwareError

VARIABLE = "CUDA_VISIBLE_DEVICES"
_NUMBER = re.compile(r"[+-]?\d+")


def visible_positions(uuids: Sequence[str], variable: str | None) -> list[int]:
    """The GPUs that CUDA sees, in its order.

    As CUDA reads it: numbers or (abbreviated) UUIDs, never mixed; the list ends at the first
    entry that names no GPU; a GPU that is named twice hides all.

    Args:
        uuids: UUIDs of all GPUs that NVML lists, in its order.
        variable: The value of CUDA_VISIBLE_DEVICES; None where it is not set.

    Returns:
        Positions in `uuids`.

    Raises:
        HardwareError: If it names MIG slices, whose energy nothing counts.

    Source: CUDA Programming Guide, "CUDA Environment Variables".
    """
    if variable is None:
        return list(range(len(uuids)))
    if variable.strip().startswith("MIG"):
        raise HardwareError(
            f"{VARIABLE}={variable} names a MIG slice: NVML counts the energy of whole GPUs alone; "
            "name a whole GPU (MIG switched off), or choose hardware=estimate"
        )
    entries = variable.split(",")
    if variable.startswith("GPU-"):
        named = list(itertools.takewhile(lambda entry: entry.startswith("GPU-"), entries))
        if len(set(named)) < len(named):
            return []
        found = [_by_uuid(uuids, entry) for entry in named]
        positions = list(itertools.takewhile(lambda position: position >= 0, found))
        return positions if len(set(positions)) == len(positions) else []
    numbers = list(itertools.takewhile(lambda n: n >= 0, map(_number, entries)))
    if len(set(numbers)) < len(numbers):
        return []
    return list(itertools.takewhile(lambda number: number < len(uuids), numbers))


def _by_uuid(uuids: Sequence[str], entry: str) -> int:
    """The one that an abbreviated UUID fits; -1 if it fits none, or several."""
    fits = [position for position, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return fits[0] if len(fits) == 1 else -1


def _number(entry: str) -> int:
    """A leading number counts, as C's strtoul reads it: "1gpu" is 1; without one -1."""
    digits = _NUMBER.match(entry.strip())
    return int(digits[0]) if digits else -1


def set_visible(uuids: Sequence[str]) -> None:
    """Let CUDA, which must not have begun here yet, see these GPUs alone, as 0, 1, ..."""
    os.environ[VARIABLE] = ",".join(uuids)
