"""Restore the power limits that dead processes changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from energyopt.errors import HardwareError
from energyopt.hardware.lease import Lease
from energyopt.hardware.nvml import all_boards
from energyopt.hardware.power_limit import restore_from
from energyopt.hardware.power_limit_journal import (
    PowerLimitedGpu,
    PowerLimitEntry,
    changed_limits,
)

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Restored:
    """Outcome of restoring a limit that a dead process changed."""

    uuid: str
    previous_w: float | None  # before that process; None if only another user may restore it
    refusal: str | None = None  # why it could not be set
    holder: str | None = None  # of the GPU, whose run will restore it

    def __str__(self) -> str:
        if self.holder is not None:
            return f"the power limit of {self.uuid} is what a run holds: {self.holder}"
        if self.previous_w is None:
            return f"the power limit of {self.uuid}: {self.refusal}"
        limit = f"{self.previous_w:g} W, the power limit of {self.uuid}"
        if self.refusal is None:
            return f"{limit} before a run that was killed, is in force again"
        return f"{limit} before a run that was killed, could not be put back: {self.refusal}"


def restore_all(*, requested: bool = False, wait_s: float = 0.0) -> list[Restored]:
    """Restore all power limits that dead processes changed; GPUs that are held are left alone.

    Looks into the folder of journals first: without any, the driver is not loaded. Arguments and
    outcomes are those of `restore_stale`.
    """
    if not changed_limits():
        return []
    try:
        boards = all_boards()
    except HardwareError:  # reported below for each journal
        boards = []
    return restore_stale(boards, requested=requested, wait_s=wait_s)


def restore_stale(
    boards: Iterable[PowerLimitedGpu], *, requested: bool = False, wait_s: float = 0.0
) -> list[Restored]:
    """Restore all limits that dead processes changed.

    Args:
        boards: The GPUs of this machine.
        requested: The user requested it: root then follows other users' journals, too, and
            limits that cannot be restored are reported.
        wait_s: How long to wait for GPUs whose trial is about to end, in s.

    Returns:
        An outcome for each limit; GPUs whose lease is held are left out unless requested.
    """
    gpus = {board.uuid: board for board in boards}
    deadline_s = time.monotonic() + wait_s
    outcomes = []
    for limit in changed_limits():
        uuid = limit.uuid
        entry = PowerLimitEntry.read(uuid, requested=requested)
        if entry is None:
            if requested:
                outcomes.append(Restored(uuid, None, str(limit)))
            continue
        lease = Lease(uuid)
        while not (is_taken := lease.take()) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        if not is_taken:
            if requested:
                holder = str(lease.owner() or "it has ended meanwhile")
                outcomes.append(Restored(uuid, entry.previous_w, holder=holder))
            continue
        refusal = None if uuid in gpus else f"there is no GPU {uuid} on this machine (now)"
        try:
            if uuid in gpus:
                restore_from(entry, gpus[uuid])
        except HardwareError as error:
            refusal = str(error)
        finally:
            lease.release()
        outcomes.append(Restored(uuid, entry.previous_w, refusal))
    return outcomes
