"""Choose the GPUs of a trial, and hold them for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import set_visible
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.host import cuda_has_begun
from energyopt.hardware.lease import take_some
from energyopt.hardware.nvml import Board, all_boards, visible_boards


def claim(
    options: GpuOptions,
    device: str,
    *,
    repair: bool = True,
    on_wait: Callable[[str], None] | None = None,
) -> GpuAllocation:
    """Choose the GPUs of a trial and lease them.

    Where CUDA has not begun yet, it will see them alone: user code that says "cuda" trains on
    what is metered.

    Args:
        options: Which, and how they are treated.
        device: From `resolve_device`: "cpu", "cuda" (any one), "cuda:N" or "mps".
        repair: Put back a power limit that a dead process left on them.
        on_wait: Is told once who is waited for.

    Raises:
        HardwareError: If there are none that can be metered, or they are taken.
    """
    count = options.gpus
    if count == "auto":
        count = 1 if device.startswith("cuda") and not _is_rocm() else None
    if count is None:
        return GpuAllocation(options, "cuda:0" if device == "cuda" else device)
    if not cuda_has_begun():  # as NVML counts; by itself CUDA puts the fastest first
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    boards = visible_boards(all_boards())
    candidates = _candidates(options, boards, device, count)
    needed = count if isinstance(count, int) else len(candidates)
    names = {board.uuid: str(board) for board in candidates}
    leases = take_some(names, needed, options.lease_wait_s, on_wait)
    try:
        taken = {lease.uuid for lease in leases}
        chosen = [board for board in candidates if board.uuid in taken]
        rig = GpuAllocation(
            options,
            _device_of(device, chosen, boards),
            chosen,
            leases=leases,
            rivals=len(candidates) // needed,
        )
        rig.take_over(repair=repair)
    except BaseException:
        for lease in leases:
            lease.release()
        raise
    return rig


def _candidates(
    options: GpuOptions,
    boards: Sequence[Board],
    device: str,
    count: str | int | Sequence[int | str],
) -> list[Board]:
    """The GPUs that will do, the best first."""
    name, _, index = device.partition(":")
    if not isinstance(count, int | str):
        wanted = [_named(boards, each) for each in count]
    elif name == "cuda" and index:
        wanted = [boards[int(index)]] if int(index) < len(boards) else []
    else:
        wanted = list(boards)
    there = ", ".join(map(str, wanted)) or "none"
    kind = "GPU" if options.gpu_name is None else str(options.gpu_name).removesuffix("$")
    if not any(options.fits(board.name) for board in wanted):
        raise HardwareError(
            f"no {kind} is among the GPUs to choose from: {there}; choose hardware=nvidia for "
            "any, or another hardware=..."
        )
    why_not = {
        board.uuid: board.why_not_metered() if options.fits(board.name) else f"it is no {kind}"
        for board in wanted
    }
    metered = [board for board in wanted if why_not[board.uuid] is None]
    needed = count if isinstance(count, int) else len(wanted)
    if len(metered) < needed:
        reasons = "; ".join(f"{b}: {why_not[b.uuid]}" for b in wanted if why_not[b.uuid])
        raise HardwareError(
            f"{needed} of the GPUs {there} are to be metered, but {len(metered)} can be"
            f"{' (' + reasons + ')' if reasons else ''}; choose hardware=estimate, or others with "
            "hardware.gpus=..."
        )
    if isinstance(count, int):
        metered.sort(key=lambda board: bool(board.processes()))  # free ones first; stable
    return metered


def _named(boards: Sequence[Board], which: int | str) -> Board:
    if isinstance(which, int):
        found = list(boards[which : which + 1])
    else:
        found = [board for board in boards if which and board.uuid.startswith(which)]
    if len(found) != 1:
        there = ", ".join(f"{i} {board.uuid}" for i, board in enumerate(boards))
        raise HardwareError(f"hardware.gpus: {which} is not one of the visible GPUs: {there}")
    return found[0]


def _device_of(device: str, chosen: Sequence[Board], boards: Sequence[Board]) -> str:
    """Where to train, so that it is on the chosen GPUs."""
    if device != "cuda":
        return device
    if cuda_has_begun():
        return f"cuda:{[board.uuid for board in boards].index(chosen[0].uuid)}"
    if len(chosen) < len(boards):
        set_visible([board.uuid for board in chosen])
    return "cuda:0"


def _is_rocm() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.version.hip is not None
