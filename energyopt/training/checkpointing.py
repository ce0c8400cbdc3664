"""Keep what it takes to go on with a paused trial, and go on.

The record of a trial is its journal, where each pause is marked. What it trains is kept beside,
in a file that runs no code when it is read: tensors and plain data alone.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from energyopt.core.journal import PausedRecord
from energyopt.core.protocols import SupportsPause
from energyopt.core.trial_result import TrialStart
from energyopt.errors import TrialError
from energyopt.utils.files import written_whole

NAME = "paused.pt"
"""The file's name in a job's folder."""

State = Mapping[str, Any]
Keep = Callable[[State], AbstractContextManager[None]]
"""Keeps a state: written when it is entered, in its place when it is left."""


@dataclass(frozen=True, slots=True)
class ResumeState:
    """A paused trial that goes on.

    Attributes:
        record: What it measured until then.
        state: What `state_of` returned.
    """

    record: PausedRecord
    state: State


def joined(start: TrialStart, resumed: ResumeState) -> tuple[TrialStart, ResumeState]:
    """What a trial that goes on knows beforehand, and the record that it goes on with.

    Raises:
        TrialError: If its joules come from elsewhere now.
    """
    record = resumed.record
    before = record.start
    if start.provenance.binding != before.provenance.binding:
        raise TrialError(
            f"the paused trial was {before.provenance}, and would go on {start.provenance}; joules "
            "of two kinds do not mix: resume it where it was paused"
        )
    moved = _boards(start) != _boards(before)
    flags = (*before.flags, *start.flags, *(("moved",) if moved else ()))
    start = replace(start, flags=tuple(dict.fromkeys(flags)))
    return start, resumed if not moved else ResumeState(_without_boards(record), resumed.state)


def state_of(paradigm: object, samples: int | None, pause: int | None = None) -> State:
    """All that a trial goes on with from a pause.

    Args:
        paradigm: What is trained.
        samples: How many it has trained; None where they are not counted.
        pause: Number of the pause.
    """
    assert isinstance(paradigm, SupportsPause)  # noqa: S101  # others never pause
    place = {"pause": pause, "samples": samples}
    return {**place, "paradigm": paradigm.state(), "random": _random_state()}


def go_on(paradigm: object, state: State) -> None:
    """Put a paradigm that was just built, and the random generators, where a pause left them.

    Raises:
        TrialError: If it cannot go on.
    """
    if not isinstance(paradigm, SupportsPause):
        raise TrialError(f"{type(paradigm).__name__} has no load_state, so it cannot go on")
    paradigm.load_state(state["paradigm"])
    _set_random_state(state["random"])


def keep_in(path: Path) -> Keep:
    """What keeps a state in a file, in which it is whole at each moment."""

    @contextmanager
    def keep(state: State) -> Iterator[None]:
        import torch

        try:
            with written_whole(path, force=True) as fresh:
                with fresh.open("wb") as file:
                    torch.save(state, file)
                    file.flush()
                    os.fsync(file.fileno())
                _refuse_code(fresh)
                yield
        except OSError as error:
            raise TrialError(f"the paused trial cannot be kept: {path}: {error}") from error

    return keep


def load(path: Path) -> State:
    """Read what `keep_in` wrote.

    Raises:
        TrialError: If it cannot be read.
    """
    import torch

    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its readers raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrialError(f"the paused trial cannot go on: {path}: {first}") from error
    return state


def _boards(start: TrialStart) -> list[str]:
    return [gpu.uuid for gpu in start.machine.gpus] if start.machine else []


def _without_boards(record: PausedRecord) -> PausedRecord:
    """A record without the parts of single boards, which are others now."""
    return replace(
        record,
        windows=tuple(
            replace(each, energy=replace(each.energy, gpus_j=())) for each in record.windows
        ),
        checkpoints=tuple(
            replace(
                each,
                training=replace(each.training, gpus_j=()),
                evaluation=replace(each.evaluation, gpus_j=()),
            )
            for each in record.checkpoints
        ),
    )


def _refuse_code(path: Path) -> None:
    """Refuse what could not be read back, while the trial can still say so."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    names = get_unsafe_globals_in_checkpoint(str(path))
    if names:
        raise TrialError(
            f"the paradigm's state() holds {names[0]}, and a paused trial is kept without code: "
            "tensors, numbers, texts, lists, tuples and dicts are allowed"
        )


def _random_state() -> dict[str, Any]:
    """The global generators of the libraries that are there."""
    state: dict[str, Any] = {"python": random.getstate()}
    if "numpy" in sys.modules:
        import numpy as np

        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        state["numpy"] = (str(name), [int(key) for key in keys], *rest)
    if "torch" in sys.modules:
        import torch

        state["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    if "numpy" in state:
        import numpy as np

        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    if "torch" in state:
        import torch

        torch.set_rng_state(state["torch"])
        for device, one in enumerate(state.get("cuda", ())):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(one, device)
