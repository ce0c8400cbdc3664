"""Put back what dead processes left of the GPUs' power limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from energyopt.errors import HardwareError
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import put_back
from energyopt.hardware.power_limit_journal import Entry, Limited, left_limits, not_ours

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a limit that a dead process left.

    Attributes:
        uuid: The GPU's.
        previous_w: The limit from before that process, in W; None where that is another's to say.
        refusal: Why it could not be set; None where it is in force.
        holder: Who holds the GPU and will put it back; None where nobody does.
    """

    uuid: str
    previous_w: float | None
    refusal: str | None = None
    holder: str | None = None

    def __str__(self) -> str:
        if self.holder is not None:
            return f"the power limit of {self.uuid} is what a run holds: {self.holder}"
        if self.previous_w is None:
            return f"the power limit of {self.uuid}: {self.refusal}"
        before = f"{self.previous_w:g} W, the power limit of {self.uuid}"
        if self.refusal is None:
            return f"{before} before a run that was killed, is in force again"
        return f"{before} before a run that was killed, could not be put back: {self.refusal}"


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


def restore_stale(
    find: Callable[[str], Limited], *, asked: bool = False, wait_s: float = 0.0
) -> list[Restored]:
    """Put back all limits that dead processes left.

    Args:
        find: The GPU of a UUID; raises `HardwareError` if it is not there.
        asked: Whether a person asked for it: root then takes other users' journals, too, and
            what cannot be done is answered.
        wait_s: How long to wait for GPUs whose trial is about to die, in s.

    Returns:
        What was found; unless asked, a GPU whose lease is held is not among it.
    """
    until_s = time.monotonic() + wait_s
    found = []
    for left in left_limits():
        entry = Entry.read(left.uuid, asked=asked)
        if entry is None:
            if asked:
                found.append(Restored(left.uuid, None, not_ours(left.user)))
            continue
        lease = Lease(left.uuid)
        while not (taken := lease.take()) and time.monotonic() < until_s:
            time.sleep(_POLL_S)
        if not taken:
            if asked:
                holder = str(lease.owner() or "it has ended meanwhile")
                found.append(Restored(left.uuid, entry.previous_w, holder=holder))
            continue
        try:
            put_back(find(left.uuid), entry)
        except HardwareError as refusal:
            found.append(Restored(left.uuid, entry.previous_w, str(refusal)))
        else:
            found.append(Restored(left.uuid, entry.previous_w))
        finally:
            lease.release()
    return found


def by_uuid(boards: Iterable[Limited]) -> Callable[[str], Limited]:
    """A way to find GPUs, for `restore_stale`."""
    known = {board.uuid: board for board in boards}

    def find(uuid: str) -> Limited:
        if uuid not in known:
            raise HardwareError(f"there is no GPU {uuid} on this machine (now)")
        return known[uuid]

    return find
