"""Save and restore the training state of a paused trial.

The record of a trial is its journal, where each pause is marked. Its training state (weights,
optimizer, random generators) is saved in a file next to it, which holds only tensors and plain data
and so runs no code when it is loaded. Its digest is at its end and in the journal, so that neither
a changed file nor that of another trial is resumed.
"""

from __future__ import annotations

import random
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from energyopt.core.journal import PausedRecord
from energyopt.core.protocols import SupportsPause
from energyopt.core.trial_result import PausePoint, TrialStart
from energyopt.errors import DamagedFileError, TrialError
from energyopt.utils.digests import check_seal, seal
from energyopt.utils.disk import as_disk_full
from energyopt.utils.files import written_whole

NAME = "paused.pt"
"""The file's name in a job's folder."""

PAUSE_FOLDER = "paused"
"""The folder next to it, for checkpoints that trainers of other packages write."""

State = Mapping[str, Any]
Keep = Callable[[State], AbstractContextManager[str]]
"""Saves a state: written when the context is entered, moved into place when it is left. The context
is the digest of the file."""


@dataclass(frozen=True, slots=True)
class ResumeState:
    """A paused trial that is resumed.

    Attributes:
        record: Its measurements up to the pause.
        state: Its training state, from `capture_state`.
    """

    record: PausedRecord
    state: State


def merge_resumed(start: TrialStart, resumed: ResumeState) -> tuple[TrialStart, ResumeState]:
    """Return the start of a resumed trial with its earlier flags, and the record to continue.

    Where the GPUs are others now, the trial gets the flag `moved`, and the record loses the energy
    of single GPUs.

    Raises:
        TrialError: If the energy comes from another kind of meter now.
    """
    record = resumed.record
    paused = record.start
    if start.provenance.binding != paused.provenance.binding:
        raise TrialError(
            f"the paused trial was {paused.provenance}, and would go on {start.provenance}; joules "
            "of two kinds do not mix: resume it where it was paused"
        )
    moved = _gpu_uuids(start) != _gpu_uuids(paused)
    flags = (*paused.flags, *start.flags, *(("moved",) if moved else ()))
    start = replace(start, flags=tuple(dict.fromkeys(flags)))
    return start, resumed if not moved else ResumeState(_without_gpus(record), resumed.state)


def capture_state(paradigm: object, samples: int | None, pause: int | None = None) -> State:
    """Return the training state of a paused trial.

    Args:
        paradigm: The paradigm that trains.
        samples: Samples trained so far; None where they are not counted.
        pause: Number of the pause.
    """
    assert isinstance(paradigm, SupportsPause)  # noqa: S101  # others never pause
    return {
        "pause": pause,
        "samples": samples,
        "paradigm": paradigm.state(),
        "random": random_state(),
    }


def restore(paradigm: object, state: State) -> None:
    """Restore a newly built paradigm, and the random generators, from the state of a pause.

    Raises:
        TrialError: If the paradigm cannot load a state.
    """
    if not isinstance(paradigm, SupportsPause):
        raise TrialError(f"{type(paradigm).__name__} has no load_state, so it cannot go on")
    paradigm.load_state(state["paradigm"])
    set_random_state(state["random"])


def save_to(path: Path) -> Keep:
    """Return a function that saves a state to a file, which is complete at any moment."""

    @contextmanager
    def save(state: State) -> Iterator[str]:
        import torch

        try:
            with written_whole(path, force=True) as fresh:
                with fresh.open("wb") as file:
                    torch.save(state, file)
                _check_no_code(fresh)
                yield seal(fresh)
        except (OSError, RuntimeError) as error:
            full = as_disk_full(error, path.parent)
            if full is None and not isinstance(error, OSError):
                raise
            raise full or TrialError(f"the paused trial cannot be kept: {path}: {error}") from error

    return save


def load(path: Path) -> State:
    """Load a state that `save_to` saved.

    Raises:
        DamagedFileError: If the file cannot be read, or is not as it was saved.
    """
    import torch

    try:
        check_archive(path)
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not document which errors loading raises
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"the paused trial cannot go on: {path}: {message}") from error
    return state


def check_archive(path: Path) -> None:
    """Check that the file of a state is as it was saved.

    One of an earlier version has no digest, but the checksums of its archive, which the readers of
    torch and NumPy do not look at.

    Raises:
        DamagedFileError: If it was changed.
        OSError: If it cannot be read.
        zipfile.BadZipFile: If it is no archive.
    """
    if check_seal(path) is not None:
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise DamagedFileError(f"{path} was changed on the disk: {damaged} has another checksum")


def check_same(path: Path, paused: PausePoint) -> None:
    """Check that a state is the one that the journal says was kept at a pause.

    Raises:
        DamagedFileError: If it is of another trial, or of another time.
    """
    digest = check_seal(path)
    if paused.state is not None and paused.state != digest:
        raise DamagedFileError(
            f"the paused trial cannot resume: {path} is not the state that it paused with"
        )


def _gpu_uuids(start: TrialStart) -> list[str]:
    return [gpu.uuid for gpu in start.machine.gpus] if start.machine else []


def _without_gpus(record: PausedRecord) -> PausedRecord:
    """Return a record without the energy of single GPUs, which are others now."""
    return replace(
        record,
        windows=tuple(
            replace(window, energy=replace(window.energy, gpus_j=())) for window in record.windows
        ),
        checkpoints=tuple(
            replace(
                checkpoint,
                training=replace(checkpoint.training, gpus_j=()),
                evaluation=replace(checkpoint.evaluation, gpus_j=()),
            )
            for checkpoint in record.checkpoints
        ),
    )


def _check_no_code(path: Path) -> None:
    """Raise if a saved state could not be loaded, while the trial can still report it."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    names = get_unsafe_globals_in_checkpoint(str(path))
    if names:
        raise TrialError(
            f"the paradigm's state() holds {names[0]}, and a paused trial is kept without code: "
            "tensors, numbers, texts, lists, tuples and dicts are allowed"
        )


def random_state() -> dict[str, Any]:
    """Return the states of the global generators of the imported libraries."""
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


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `random_state` returned."""
    random.setstate(state["python"])
    if "numpy" in state:
        import numpy as np

        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    if "torch" in state:
        import torch

        torch.set_rng_state(state["torch"])
        for device, cuda_state in enumerate(state.get("cuda", ())):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(cuda_state, device)
