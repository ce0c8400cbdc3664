"""Choose the GPUs of a trial and lease them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import set_visible
from energyopt.hardware.driver_remedies import OTHER_GPU_REMEDY, SOC_REMEDY, is_jetson
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
    ranks: Sequence[int] = (),
) -> GpuAllocation:
    """Choose the GPUs of a trial and lease them.

    Where CUDA is not initialised yet, it will see only these GPUs: user code that says "cuda"
    trains on what is metered.

    Args:
        options: Which GPUs, and how they are treated.
        device: From `resolve_device`: "cpu", "cuda" (any one), "cuda:N" or "mps".
        repair: Restore a power limit that a dead process changed.
        on_wait: Called once with the holders of the GPUs if the trial has to wait.
        ranks: Numbers of the other processes that train on them.

    Raises:
        HardwareError: If no GPU can be metered, or all are held.
    """
    requested = options.gpus
    if requested == "auto":
        # A Jetson module trains on cuda, too, and its GPU is metered with the rest of its chip.
        is_board = device.startswith("cuda") and not _is_rocm() and not is_jetson()
        requested = 1 if is_board else None
    if requested is None:
        return GpuAllocation(options, "cuda:0" if device == "cuda" else device)
    if not cuda_has_begun():  # NVML's order; CUDA's default puts the fastest first
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    boards = visible_boards(all_boards())
    candidates = _candidates(options, boards, device, requested)
    n_gpus = requested if isinstance(requested, int) else len(candidates)
    names = {board.uuid: str(board) for board in candidates}
    leases = take_some(names, n_gpus, options.lease_wait_s, on_wait)
    try:
        uuids = {lease.uuid for lease in leases}
        selection = [board for board in candidates if board.uuid in uuids]
        gpus = GpuAllocation(
            options,
            _training_device(device, selection, boards),
            selection,
            leases=leases,
            max_parallel=len(candidates) // n_gpus,
            ranks=ranks,
        )
        gpus.prepare(repair=repair)
    except BaseException:
        for lease in leases:
            lease.release()
        raise
    return gpus


def _candidates(
    options: GpuOptions,
    boards: Sequence[Board],
    device: str,
    requested: str | int | Sequence[int | str],
) -> list[Board]:
    """Return the acceptable GPUs, the best first."""
    name, _, index = device.partition(":")
    if not isinstance(requested, int | str):
        eligible = [_find_board(boards, gpu) for gpu in requested]
    elif name == "cuda" and index:
        eligible = [boards[int(index)]] if int(index) < len(boards) else []
    else:
        eligible = list(boards)
    listing = ", ".join(map(str, eligible)) or "none"
    kind = "GPU" if options.gpu_name is None else str(options.gpu_name).removesuffix("$")
    if not any(options.fits(board.name) for board in eligible):
        raise HardwareError(
            f"no {kind} is among the GPUs to choose from: {listing}; choose hardware=nvidia for "
            "any, or another hardware=..."
        )
    problems = {
        board.uuid: board.meter_problem() if options.fits(board.name) else f"it is no {kind}"
        for board in eligible
    }
    metered = [board for board in eligible if problems[board.uuid] is None]
    n_gpus = requested if isinstance(requested, int) else len(eligible)
    if len(metered) < n_gpus:
        reasons = "; ".join(f"{b}: {problems[b.uuid]}" for b in eligible if problems[b.uuid])
        raise HardwareError(
            f"{n_gpus} of the GPUs {listing} are to be metered, but {len(metered)} can be"
            f"{' (' + reasons + ')' if reasons else ''}; "
            f"{SOC_REMEDY if any(is_jetson(b.name) for b in eligible) else OTHER_GPU_REMEDY}"
        )
    if isinstance(requested, int):
        metered.sort(key=lambda board: bool(board.processes()))  # free ones first; sort() is stable
    return metered


def _find_board(boards: Sequence[Board], gpu: int | str) -> Board:
    """Return the GPU of an index or of the beginning of a UUID."""
    if isinstance(gpu, int):
        matches = list(boards[gpu : gpu + 1])
    else:
        matches = [board for board in boards if gpu and board.uuid.startswith(gpu)]
    if len(matches) != 1:
        visible = ", ".join(f"{i} {board.uuid}" for i, board in enumerate(boards))
        raise HardwareError(f"hardware.gpus: {gpu} is not one of the visible GPUs: {visible}")
    return matches[0]


def _training_device(device: str, selection: Sequence[Board], boards: Sequence[Board]) -> str:
    """Return the torch device that is the first of the selected GPUs."""
    if device != "cuda":
        return device
    if cuda_has_begun():
        return f"cuda:{[board.uuid for board in boards].index(selection[0].uuid)}"
    if len(selection) < len(boards):
        set_visible([board.uuid for board in selection])
    return "cuda:0"


def _is_rocm() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.version.hip is not None
