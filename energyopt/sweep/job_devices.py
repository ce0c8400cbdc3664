"""The GPUs whose counters a job of another app reads, leased before its process starts.

A counter belongs to a GPU or to the CPU packages: two jobs that read the same one would each count
the energy of both. The job's code may begin CUDA as soon as it is imported, so the coordinator
leases GPUs for it, and the job's `Run` meters what its context names. The CPU packages it leases
by itself, on the host that it runs on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from typing import Any

from energyopt.errors import HardwareError
from energyopt.hardware.cuda_visible_devices import VARIABLE, set_visible
from energyopt.hardware.gpu_options import GpuOptions
from energyopt.hardware.host import cuda_has_begun
from energyopt.hardware.lease import take_some
from energyopt.hardware.nvml import Board, all_boards, visible_boards
from energyopt.hardware.rapl import are_readable

_RANK_OPTIONS = ("--nproc-per-node", "--num-processes")
_OF_METERS = ("meter", "system")
_RAPL = "energyopt.hardware.zeus.RaplMeter"
_AUTO = "energyopt.hardware.auto.choose_meter"  # reads them if no GPU trains


class JobDevices:
    """Leases the GPUs of one job at a time.

    Args:
        hardware: The group `hardware`, resolved.
        ranks: Number of processes of a job's training: each has a GPU of its own.
    """

    def __init__(self, hardware: Mapping[str, Any], ranks: int = 1) -> None:
        self._ranks = ranks
        self._meter = str((hardware.get("meter") or {}).get("_target_"))
        options = {key: value for key, value in hardware.items() if key not in _OF_METERS}
        self._options = GpuOptions(**options)
        self._held: tuple[str, ...] | None = None

    @property
    def max_parallel(self) -> int:
        """Number of jobs that can hold counters at the same time."""
        if self.reads_cpu:
            return 1
        return max(len(self._boards) // self._count, 1) if self._boards else sys.maxsize

    @contextmanager
    def lease(self) -> Iterator[tuple[str, ...]]:
        """Hold the GPUs of a job; wait until they are free.

        Yields:
            The UUIDs of its GPUs; empty where it has none.

        Raises:
            HardwareError: If they cannot be leased.
        """
        if self._held is not None:
            yield self._held
            return
        names = {board.uuid: str(board) for board in self._boards}
        if names and len(names) < self._count:
            raise HardwareError(
                f"a trial needs {self._count} GPUs, and {len(names)} are there: "
                f"{', '.join(names.values())}; start fewer ranks, or set hardware.gpus to fewer"
            )
        with ExitStack() as stack:
            leases = take_some(names, self._count, float("inf")) if names else []
            for lease in leases:
                stack.callback(lease.release)
            yield tuple(lease.uuid for lease in leases)

    @contextmanager
    def hold(self, *, is_metered: bool) -> Iterator[None]:
        """Hold the same GPUs for all jobs, which run in this process.

        CUDA sees what it saw when it began, so they are chosen before.

        Args:
            is_metered: Whether jobs are known to report; else a `Run` in one leases for itself.
        """
        with self.lease() if is_metered else nullcontext(()) as gpus:
            if gpus and not cuda_has_begun():
                set_visible(gpus)
            self._held = gpus
            yield

    @cached_property
    def _boards(self) -> list[Board]:
        """The GPUs that jobs may hold; empty where none is to be metered, or can be."""
        gpus = self._options.gpus
        if gpus is None:
            return []
        try:
            boards = visible_boards(all_boards())
        except HardwareError:
            if gpus != "auto":
                raise
            return []
        if not isinstance(gpus, str | int):
            boards = [b for b in boards if b.index in gpus or b.uuid in gpus]
        return [board for board in boards if self._options.fits(board.name)]

    @property
    def _count(self) -> int:
        """Number of GPUs of a job."""
        gpus = self._options.gpus
        if isinstance(gpus, int):
            return max(gpus, self._ranks)
        return self._ranks if gpus is None or isinstance(gpus, str) else len(gpus)

    @property
    def reads_gpus(self) -> bool:
        """True if jobs read the counters of GPUs."""
        return bool(self._boards)

    @cached_property
    def reads_cpu(self) -> bool:
        """True if jobs read the counters of the CPU packages, which are those of all jobs."""
        if self._options.cpu:
            return True
        is_auto = self._meter == _AUTO and not self._boards
        return (is_auto or self._meter == _RAPL) and are_readable()


def launched_ranks(command: Sequence[str]) -> int:
    """Return how many ranks the words of a command start, by torchrun or accelerate; 1 if none."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        option, _, value = word.partition("=")
        number = value or following
        if option.replace("_", "-") in _RANK_OPTIONS and number.isdecimal():
            return max(int(number), 1)
    return 1


def visible_to(gpus: tuple[str, ...]) -> dict[str, str]:
    """Return the environment variables that let a job see its GPUs alone."""
    if not gpus:
        return {}
    order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return {VARIABLE: ",".join(gpus), "CUDA_DEVICE_ORDER": order}
