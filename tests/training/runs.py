"""Help for tests of `Run`: a study's context, and a run that works with a toy meter."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from energyopt.core.journal import read_result
from energyopt.core.run_context import VARIABLE, RunContext
from energyopt.core.trial_result import TrialResult
from energyopt.training.run import Run
from energyopt.training.run_process import call_task
from tests.toys import Counter, ToyMeter

LOADING_J, EPOCH_J, EVALUATION_J = 64.0, 100.0, 16.0

Job = Callable[[int], Any]


def enter_study(patch: pytest.MonkeyPatch, folder: Path, **context: Any) -> None:
    """Be a job of a study from here on."""
    given = {"metric": "loss", "mode": "min", "target": 0.1, "folder": folder, **context}
    patch.setenv(VARIABLE, RunContext(**given).to_json())


def record(folder: Path) -> TrialResult:
    """The record that a journal holds."""
    result = read_result(folder)
    assert result is not None
    return result


def ranked(job: Job, size: int = 2) -> list[str]:
    """Run a job in forked ranks. Returns what each returned, as JSON, or its error."""
    readers = []
    for rank in range(size):
        end, writer = os.pipe()
        if not os.fork():
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
            os.environ.update({name: str(number) for name, number in names.items()})
            try:
                told = json.dumps(call_task(job, rank))
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
                if not isinstance(error, Exception):
                    traceback.print_exc()
            os.write(writer, told.encode())
            os._exit(0)
        os.close(writer)
        readers.append(os.fdopen(end))
    ends = [reader.read() for reader in readers]
    for reader in readers:
        reader.close()
        os.wait()
    return ends


class ToyTraining:
    """A training whose state is how often it was trained; its loss falls with that.

    Attributes:
        counter: Its work is counted there.
        trained: How many epochs.
    """

    def __init__(self) -> None:
        self.counter = Counter()
        self.trained = 0

    def run(self, **more: Any) -> Run:
        """Load, with a meter of its counter."""
        run = Run(**{"monitor": "loss", "mode": "min", "target": 0.3, **more}, meter=self.meter)
        self.counter.total_j += LOADING_J
        return run

    @property
    def meter(self) -> ToyMeter:
        """Reads the counter."""
        return ToyMeter(self.counter)

    def epoch(self) -> None:
        """Train an epoch."""
        self.counter.total_j += EPOCH_J
        self.trained += 1

    def evaluate(self) -> float:
        """Return the loss."""
        self.counter.total_j += EVALUATION_J
        return 1.0 / self.trained

    def state_dict(self) -> dict[str, int]:
        """Return how often it was trained."""
        return {"trained": self.trained}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore that."""
        self.trained = state["trained"]
