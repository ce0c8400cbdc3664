"""What is learnt before a trial's first step: trained once, kept with its joules, or read.

A source or a teacher is trained by the same loop and meter as a trial, and kept under a hash of
what determines it. A lock on its place makes two trials at once train it once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energyopt.core.protocols import EnergyMeter, Paradigm, SupportsSave
from energyopt.core.trial_result import TrialStart
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.errors import ConfigError, StorageError, TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.training.plan import Plan
from energyopt.training.recorder import Recorder
from energyopt.training.trial import run_trial
from energyopt.utils import failpoints
from energyopt.utils.files import private_files
from energyopt.utils.locks import locked_file

if TYPE_CHECKING:
    import torch

WEIGHTS, RECORD = "weights.safetensors", "record.json"
"""Files in a place of knowledge."""

_DIGEST_BYTES = 16

State = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class PretrainingSpec:
    """How something is learnt.

    Attributes:
        name: What for: "source" or "teacher".
        asked: All that determines what comes of it, as plain data.
        make_paradigm: Builds what is trained.
        meter: Meters it.
        plan: When it is over.
        start: What is known beforehand.
        rig: The GPUs that the trial holds.
    """

    name: str
    asked: Mapping[str, Any]
    make_paradigm: Callable[[], Paradigm]
    meter: EnergyMeter
    plan: Plan
    start: TrialStart
    rig: GpuAllocation


def learn(course: PretrainingSpec, folder: Path, recorder: Recorder) -> tuple[State, UpfrontCost]:
    """Take a course, or what an earlier trial has kept of it.

    Args:
        course: The course.
        folder: Where knowledge is kept.
        recorder: The trial's, which books what is burnt.

    Returns:
        The weights, and what they cost.

    Raises:
        TrialError: If it diverged.
        StorageError: If it cannot be kept.
    """
    asked = json.dumps(course.asked, sort_keys=True, default=str)
    place = folder / hashlib.blake2b(asked.encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def on_busy(_descriptor: int) -> None:
        recorder.began(f"waiting for another trial that trains the {course.name}")

    with ExitStack() as stack:
        with _storing(place):
            with private_files():
                folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_file(place.with_suffix(".lock"), on_busy))
        kept = _read(place, asked)
        return kept or _train(course, place, asked, recorder)


def read_weights(path: Path, key: str) -> tuple[State, str]:
    """Read a user's weights: a safetensors file, or a state_dict that torch has saved.

    Args:
        path: The file.
        key: The config key that names it.

    Returns:
        The weights, and a hash of the file.

    Raises:
        ConfigError: If it is none, or holds code.
    """
    if not path.is_file():
        raise ConfigError(f"{key}={path} is not a file; give a .safetensors file or a state_dict")
    import torch

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()[: 2 * _DIGEST_BYTES]
        if path.suffix == ".safetensors":
            return _weights(path), digest
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its readers raise what they like
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key}={path} cannot be read as weights: {first}; tensors by name are allowed, and no "
            "code: save model.state_dict(), or a .safetensors file"
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    named = isinstance(data, Mapping) and all(
        isinstance(name, str) and isinstance(of, torch.Tensor) for name, of in data.items()
    )
    if not named or not data:
        raise ConfigError(f"{key}={path} holds no tensors by name; save model.state_dict()")
    return dict(data), digest


def _train(
    course: PretrainingSpec, place: Path, asked: str, recorder: Recorder
) -> tuple[State, UpfrontCost]:
    made: list[Paradigm] = []

    def make_paradigm() -> Paradigm:
        made.append(course.make_paradigm())
        return made[0]

    part = recorder.part("pretraining")
    at = (course.meter, course.plan, course.start)
    result = run_trial(make_paradigm, *at, part, rig=course.rig)
    if result.end == "diverged":
        raise TrialError(
            f"the training of the {course.name} diverged ({result.reason}); lower "
            f"paradigm.{course.name}.lr"
        )
    failpoints.at("taught")
    last = result.checkpoints[-1]
    upfront = UpfrontCost(
        course.name,
        "trained",
        result.booked("training"),
        digest=place.name,
        samples=last.samples or 0,
        steps=last.steps or 0,
        accuracy=result.best_accuracy,
        target=course.plan.target,
        provenance=str(course.start.provenance),
        flags=result.flags,
    )
    assert isinstance(made[0], SupportsSave)  # noqa: S101  # it is one of ours
    with _storing(place):
        _keep(place, made[0], {"asked": json.loads(asked), "upfront": upfront.to_dict()})
    failpoints.at("learnt")
    return _weights(place / WEIGHTS), upfront


def _keep(place: Path, paradigm: SupportsSave, record: Mapping[str, Any]) -> None:
    """Make a place of knowledge, all of it or nothing."""
    with private_files():
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            paradigm.save(beside / WEIGHTS)
            with (beside / RECORD).open("w") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(place, ignore_errors=True)  # what was there could not be read
            beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _read(place: Path, asked: str) -> tuple[State, UpfrontCost] | None:
    """What is kept in a place; None where that is nothing, or damaged."""
    try:
        record = json.loads((place / RECORD).read_text())
        if record["asked"] != json.loads(asked):
            return None
        upfront = UpfrontCost.from_dict(record["upfront"])
        return _weights(place / WEIGHTS), replace(upfront, fresh=False)
    except Exception:  # whatever is wrong with it: it is learnt again
        return None


def _weights(path: Path) -> State:
    from safetensors.torch import load_file

    weights: State = load_file(path)
    return weights


@contextmanager
def _storing(place: Path) -> Iterator[None]:
    """Say where something cannot be kept."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StorageError(
            f"knowledge={place.parent}: what is learnt there cannot be kept: {why}"
        ) from error
