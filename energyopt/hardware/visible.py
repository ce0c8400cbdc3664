"""Which GPUs CUDA_VISIBLE_DEVICES lets a process see, in all the forms that CUDA takes."""

from __future__ import annotations

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
    by_uuid = variable.startswith("GPU-")
    named: list[int] = []
    for entry in variable.split(","):
        found = _by_uuid(uuids, entry) if by_uuid else _by_number(len(uuids), entry)
        if found is None:
            break
        if found in named:
            return []
        named.append(found)
    return named


def _by_uuid(uuids: Sequence[str], entry: str) -> int | None:
    if not entry.startswith("GPU-"):
        return None
    fits = [position for position, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return fits[0] if len(fits) == 1 else None


def _by_number(count: int, entry: str) -> int | None:
    """A leading number counts, as C's strtoul reads it: "1gpu" is 1."""
    digits = _NUMBER.match(entry.strip())
    number = int(digits[0]) if digits else -1
    return number if 0 <= number < count else None


def set_visible(uuids: Sequence[str]) -> None:
    """Let CUDA, which must not have begun here yet, see these GPUs alone, as 0, 1, ..."""
    os.environ[VARIABLE] = ",".join(uuids)
