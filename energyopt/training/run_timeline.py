"""The windows of a `Run`: they partition its time, one is open at any moment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Purpose
from energyopt.training.recorder import Recorder, TrainingInterval
from energyopt.training.run_profiling import StepProfiling


class Timeline:
    """Switches between the windows of a run.

    Args:
        recorder: Meters and records them.
        synchronize: Waits for pending work of the user's device; None for torch's devices.

    Attributes:
        purpose: Purpose of the open window; None while none is open.
        training: The training since the last report.
        evaluation: Energy of the evaluations since the last report.
        profiling: Tries power limits during the training; None if they are left alone.
    """

    def __init__(self, recorder: Recorder, synchronize: Callable[[], object] | None) -> None:
        self._recorder = recorder
        self._synchronize = synchronize or wait_for_torch
        self._window: AbstractContextManager[None] | None = None
        self._is_slice = False  # of training in which power limits are tried
        self.purpose: Purpose | None = None
        self.training = TrainingInterval()
        self.evaluation = Energy()
        self.profiling: StepProfiling | None = None

    def switch(self, purpose: Purpose, activity: str | None = None) -> None:
        """Close the open window, and open one."""
        self.close()
        is_slice = purpose == "training" and self.profiling is not None and self.profiling.is_active
        if is_slice and self.profiling is not None:
            self.profiling.begin_slice(self.training)
        window = self._recorder.window("profiling" if is_slice else purpose, activity)
        window.__enter__()
        self._window, self.purpose, self._is_slice = window, purpose, is_slice

    def close(self) -> None:
        """Close the open window, if there is one, after pending work of the device."""
        window, purpose = self._window, self.purpose
        if window is None:
            return
        self._window = self.purpose = None
        self._synchronize()
        window.__exit__(None, None, None)
        if self._is_slice and self.profiling is not None:
            self.profiling.end_slice(self.training, self._recorder.last())
        elif purpose == "training":
            self.training.unprofiled += self._recorder.last()
        elif purpose == "evaluation":
            self.evaluation += self._recorder.last()

    def take(self) -> tuple[Energy, Energy]:
        """Return the training and evaluation energy since the last report, and begin anew."""
        step = self.profiling.step if self.profiling else None
        taken = self.training.training(step), self.evaluation
        self.training, self.evaluation = TrainingInterval(), Energy()
        return taken


def wait_for_torch() -> None:
    """Wait for pending work on torch's CUDA or MPS device, if there is one in use."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif sys.platform == "darwin" and torch.backends.mps.is_available():
        torch.mps.synchronize()
