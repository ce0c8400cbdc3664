"""The windows of a `Run`: they partition its time, one is open at any moment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from energyopt.core.energy import Energy
from energyopt.core.trial_result import Purpose
from energyopt.training.recorder import Recorder


class Timeline:
    """Switches between the windows of a run.

    Args:
        recorder: Meters and records them.
        synchronize: Waits for pending work of the user's device; None for torch's devices.

    Attributes:
        purpose: Purpose of the open window; None while none is open.
        training: Energy of the training since the last report.
        evaluation: Energy of the evaluations since the last report.
    """

    def __init__(self, recorder: Recorder, synchronize: Callable[[], object] | None) -> None:
        self._recorder = recorder
        self._synchronize = synchronize or wait_for_torch
        self._window: AbstractContextManager[None] | None = None
        self.purpose: Purpose | None = None
        self.training = Energy()
        self.evaluation = Energy()

    def switch(self, purpose: Purpose, activity: str | None = None) -> None:
        """Close the open window, and open one."""
        self.close()
        window = self._recorder.window(purpose, activity)
        window.__enter__()
        self._window, self.purpose = window, purpose

    def close(self) -> None:
        """Close the open window, if there is one, after pending work of the device."""
        window, purpose = self._window, self.purpose
        if window is None:
            return
        self._window = self.purpose = None
        self._synchronize()
        window.__exit__(None, None, None)
        if purpose == "training":
            self.training += self._recorder.last()
        elif purpose == "evaluation":
            self.evaluation += self._recorder.last()

    def take(self) -> tuple[Energy, Energy]:
        """Return the training and evaluation energy since the last report, and begin anew."""
        taken = self.training, self.evaluation
        self.training, self.evaluation = Energy(), Energy()
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
