"""GPUs that CUDA_VISIBLE_DEVICES lets a process see, in all forms that CUDA accepts."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence

from energyopt.errors import HardwareError
from energyopt.hardware.driver_remedies import CPU_REMEDY

VARIABLE = "CUDA_VISIBLE_DEVICES"
_NUMBER = re.compile(r"[+-]?\d+")


def visible_positions(uuids: Sequence[str], variable: str | None) -> list[int]:
    """Return the positions of the GPUs that CUDA sees, in its order.

    CUDA accepts numbers or (abbreviated) UUIDs, never mixed. The list ends at the first entry
    that names no GPU; naming a GPU twice hides all of them.

    Args:
        uuids: UUIDs of all GPUs that NVML lists, in its order.
        variable: The value of CUDA_VISIBLE_DEVICES; None if it is not set.

    Raises:
        HardwareError: If it names MIG slices, which have no energy counter of their own.

    Source: CUDA Programming Guide, "CUDA Environment Variables".
    """
    if variable is None:
        return list(range(len(uuids)))
    if variable.strip().startswith("MIG"):
        raise HardwareError(
            f"{VARIABLE}={variable} names a MIG slice: NVML counts the energy of whole GPUs alone; "
            f"name a whole GPU (MIG switched off), or {CPU_REMEDY}"
        )
    entries = variable.split(",")
    if variable.startswith("GPU-"):
        prefixes = list(itertools.takewhile(lambda entry: entry.startswith("GPU-"), entries))
        if len(set(prefixes)) < len(prefixes):
            return []
        matches = [_position_of(uuids, prefix) for prefix in prefixes]
        positions = list(itertools.takewhile(lambda position: position >= 0, matches))
        return positions if len(set(positions)) == len(positions) else []
    numbers = list(itertools.takewhile(lambda n: n >= 0, map(_leading_number, entries)))
    if len(set(numbers)) < len(numbers):
        return []
    return list(itertools.takewhile(lambda number: number < len(uuids), numbers))


def _position_of(uuids: Sequence[str], prefix: str) -> int:
    """Return the position of the UUID with this prefix; -1 if none or several have it."""
    positions = [position for position, uuid in enumerate(uuids) if uuid.startswith(prefix)]
    return positions[0] if len(positions) == 1 else -1


def _leading_number(entry: str) -> int:
    """Read a leading number as C's strtoul does: "1gpu" is 1. Returns -1 without one."""
    digits = _NUMBER.match(entry.strip())
    return int(digits[0]) if digits else -1


def set_visible(uuids: Sequence[str]) -> None:
    """Let CUDA, not yet initialised in this process, see only these GPUs, as 0, 1, ..."""
    os.environ[VARIABLE] = ",".join(uuids)
