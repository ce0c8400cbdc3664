"""Put back what dead processes left of the GPUs' power limits."""

from __future__ import annotations

from energyopt.errors import HardwareError
from energyopt.hardware.nvidia import all_boards
from energyopt.hardware.power import Restored, by_uuid, left_limits, restore_stale


def restore_all(*, asked: bool = False, wait_s: float = 0.0) -> list[Restored]:
    """Put back all power limits that dead processes left; what is held is left alone.

    Looks at a folder first: where nothing is left, no driver is asked.

    Args:
        asked: Whether a person asked for it: root then follows other users' journals, too.
        wait_s: How long to wait for GPUs whose trial is about to die, in s.
    """
    if not left_limits():
        return []
    try:
        boards = all_boards()
    except HardwareError:  # each journal is answered with that
        boards = []
    return restore_stale(by_uuid(boards), asked=asked, wait_s=wait_s)
