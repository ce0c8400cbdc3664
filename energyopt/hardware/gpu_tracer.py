"""Samples the GPUs of a trial about once a second, in a thread of the process that trains."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from energyopt.core.gpu_trace import TraceSample
from energyopt.errors import EnergyoptError
from energyopt.hardware.board_sampler import BoardSampler
from energyopt.hardware.nvml import Board, GpuProcess

_JOIN_S = 5.0  # a driver that hangs must not hang the trial
_EDGE_PERIODS = 2  # of the counter, between samples that windows ask for
_EDGE_SHARE = 0.01  # of the trace so far: in a long trial windows get no samples of their own


class TracedGpus(Protocol):
    """The part of a trial's GPUs that the tracer needs."""

    @property
    def boards(self) -> tuple[Board, ...]:
        """The boards."""

    @property
    def held_w(self) -> float | None:
        """The power limit that the trial set, in W; None if it set none."""

    @property
    def is_limit_changing(self) -> bool:
        """True while the trial sets another limit."""

    def company_of(self, board: Board) -> list[GpuProcess] | None:
        """Return other processes that compute on a board; None if they cannot be told."""


class GpuTracer:
    """A thread that samples GPUs until it is stopped.

    Nothing that goes wrong in it reaches the training: a board that cannot be read any more, or a
    record that cannot be written, ends the trace, and `problem` says why. In a forked child, which
    has no such thread, it does nothing.

    Args:
        gpus: The GPUs of the trial.
        period_s: Time between samples, in s.
        counter_s: Update period of their energy counters, in s.
        keep: Called with each sample, in the thread.
        origin_s: Time of the first sample: that of the last one before a pause, in s.

    Attributes:
        samples: The samples so far.
        company: Names of the other processes that were seen on the GPUs.
        problem: Why the trace ended before the trial; None if it did not.
    """

    def __init__(
        self,
        gpus: TracedGpus,
        period_s: float,
        counter_s: float,
        keep: Callable[[TraceSample], None],
        origin_s: float = 0.0,
    ) -> None:
        self.samples: list[TraceSample] = []
        self.company: dict[str, None] = {}
        self.problem: str | None = None
        self._gpus = gpus
        self._period_s = period_s
        self._edge_s = _EDGE_PERIODS * counter_s
        self._keep = keep
        self._pid = os.getpid()
        self._began_s = time.perf_counter() - origin_s
        self._sampled_s = self._first_s = time.perf_counter()
        self._samplers: Sequence[BoardSampler] = ()
        self._wake = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._follow, name="gpu-trace", daemon=True)

    def start(self) -> None:
        """Take the first sample, and follow with others."""
        self._take()
        if self.problem is None:
            self._thread.start()

    def mark(self) -> None:
        """Sample the edge of a window soon, unless it was sampled a moment ago."""
        if os.getpid() != self._pid or self._is_stopped:
            return
        now_s = time.perf_counter()
        gap_s = max(self._edge_s, _EDGE_SHARE * (now_s - self._first_s))
        if now_s - self._sampled_s >= min(gap_s, self._period_s):
            self._wake.set()

    def stop(self) -> None:
        """Take a last sample, and end the thread."""
        if os.getpid() != self._pid or self._is_stopped:
            return
        self._is_stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _follow(self) -> None:
        while self.problem is None:
            self._wake.wait(self._period_s)
            self._wake.clear()  # first: a stop that comes now wakes it again
            is_last = self._is_stopped
            self._take()
            if is_last:
                return

    def _take(self) -> None:
        try:
            if not self._samplers:
                self._samplers = [BoardSampler(board) for board in self._gpus.boards]
            for gpu in range(len(self._samplers)):
                self._take_of(gpu)
        except EnergyoptError as error:
            self.problem = str(error)
        except Exception as error:  # of any kind: the training continues
            self.problem = f"{type(error).__name__}: {error}"
        self._sampled_s = time.perf_counter()

    def _take_of(self, gpu: int) -> None:
        held_w = self._gpus.held_w
        sample = self._samplers[gpu].read(lambda: time.perf_counter() - self._began_s, gpu)
        company = self._gpus.company_of(self._gpus.boards[gpu])
        if self._gpus.is_limit_changing or held_w != self._gpus.held_w:
            return  # the limit of before may have been read with the one of after
        self.company |= dict.fromkeys(map(str, company or ()))
        n_others = None if company is None else len(company)
        sample = replace(sample, held_w=held_w, others=n_others)
        self.samples.append(sample)
        self._keep(sample)
