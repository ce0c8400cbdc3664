"""Pretraining of sources and teachers: trained once, cached with their energy, or loaded.

A source or a teacher is trained by the same loop and meter as a trial, and cached under a hash of
everything that its weights depend on. A lock on the cache entry ensures that of two concurrent
trials only one trains it.
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
from energyopt.errors import ConfigError, DamagedFileError, StorageError, TrialError
from energyopt.hardware.gpu_allocation import GpuAllocation
from energyopt.training.plan import Plan
from energyopt.training.recorder import Recorder
from energyopt.training.trial import run_trial
from energyopt.utils import failpoints
from energyopt.utils.digests import check_digest, with_digest
from energyopt.utils.files import private_files
from energyopt.utils.locks import holder_of, locked_file
from energyopt.utils.text import first_line

if TYPE_CHECKING:
    import torch

WEIGHTS, RECORD = "weights.safetensors", "record.json"
"""Files of a cache entry."""

_DIGEST = "weights"  # key of the record for the digest of the weights
_DIGEST_BYTES = 16

State = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class PretrainingSpec:
    """A pretraining to run.

    Attributes:
        name: Its purpose: "source" or "teacher".
        inputs: Everything the weights depend on, JSON-serializable; hashed into the cache key.
        make_paradigm: Builds the paradigm that trains.
        meter: Meters it.
        plan: When to evaluate and when to stop.
        start: The record's start.
        gpus: The GPUs that the trial holds.
    """

    name: str
    inputs: Mapping[str, Any]
    make_paradigm: Callable[[], Paradigm]
    meter: EnergyMeter
    plan: Plan
    start: TrialStart
    gpus: GpuAllocation


def train_or_load(
    spec: PretrainingSpec, folder: Path, recorder: Recorder
) -> tuple[State, UpfrontCost]:
    """Train a source or teacher, or load the weights that an earlier trial has cached.

    Args:
        spec: The pretraining.
        folder: Folder of the cache.
        recorder: The trial's recorder, which accounts for the energy.

    Returns:
        The weights, and their upfront cost.

    Raises:
        TrialError: If the training diverged.
        StorageError: If the weights cannot be stored.
    """
    inputs = json.dumps(spec.inputs, sort_keys=True, default=str)
    entry = folder / hashlib.blake2b(inputs.encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def on_busy(descriptor: int) -> None:
        holder = holder_of(descriptor)
        recorder.began(f"waiting for another trial that trains the {spec.name} ({holder})")

    with ExitStack() as stack:
        with _storage_errors(entry):
            with private_files():
                folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_file(entry.with_suffix(".lock"), on_busy))
        try:
            cached = _load(entry, inputs)
        except DamagedFileError as error:
            recorder.add_flag("damaged_knowledge")
            recorder.began(f"training the {spec.name} again: {error}")
            cached = None
        return cached or _train(spec, entry, inputs, recorder)


def read_weights(path: Path, key: str) -> tuple[State, str]:
    """Load a user's weights: a safetensors file, or a state_dict that torch has saved.

    Args:
        path: The file.
        key: The config key that names it.

    Returns:
        The weights, and a hash of the file.

    Raises:
        ConfigError: If the file cannot be read as weights, or holds code.
    """
    if not path.is_file():
        raise ConfigError(f"{key}={path} is not a file; give a .safetensors file or a state_dict")
    import torch

    try:
        digest = _digest_of_file(path)
        if path.suffix == ".safetensors":
            return _load_weights(path), digest
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers do not document what they raise
        raise ConfigError(
            f"{key}={path} cannot be read as weights: {first_line(error)}; tensors by name "
            "are allowed, and no code: save model.state_dict(), or a .safetensors file"
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    is_state_dict = isinstance(data, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in data.items()
    )
    if not is_state_dict or not data:
        raise ConfigError(f"{key}={path} holds no tensors by name; save model.state_dict()")
    return dict(data), digest


def _train(
    spec: PretrainingSpec, entry: Path, inputs: str, recorder: Recorder
) -> tuple[State, UpfrontCost]:
    """Train, and store the weights in the cache entry."""
    paradigms: list[Paradigm] = []

    def make_paradigm() -> Paradigm:
        paradigms.append(spec.make_paradigm())
        return paradigms[0]

    journal = recorder.sub_journal("pretraining")
    result = run_trial(make_paradigm, spec.meter, spec.plan, spec.start, journal, gpus=spec.gpus)
    if result.end == "diverged":
        raise TrialError(
            f"the training of the {spec.name} diverged ({result.reason}); lower "
            f"paradigm.{spec.name}.lr"
        )
    failpoints.hit("taught")
    last = result.checkpoints[-1]
    upfront = UpfrontCost(
        spec.name,
        "trained",
        result.booked("training"),
        digest=entry.name,
        samples=last.samples or 0,
        steps=last.steps or 0,
        accuracy=result.best_value,
        target=spec.plan.target,
        missed_target=not result.reached,
        provenance=str(spec.start.provenance),
        flags=result.flags,
    )
    assert isinstance(paradigms[0], SupportsSave)  # noqa: S101  # it is one of ours
    with _storage_errors(entry):
        _store(entry, paradigms[0], {"asked": json.loads(inputs), "upfront": upfront.to_dict()})
    failpoints.hit("learnt")
    return _load_weights(entry / WEIGHTS), upfront


def _store(entry: Path, paradigm: SupportsSave, record: Mapping[str, Any]) -> None:
    """Write a cache entry atomically."""
    with private_files():
        temporary = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
        try:
            paradigm.save(temporary / WEIGHTS)
            record = with_digest({**record, _DIGEST: _digest_of_file(temporary / WEIGHTS)})
            with (temporary / RECORD).open("w") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(entry, ignore_errors=True)  # an earlier entry could not be read
            temporary.rename(entry)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _load(entry: Path, inputs: str) -> tuple[State, UpfrontCost] | None:
    """Return the weights and cost of a cache entry; None if it does not exist.

    Entries of earlier versions have no digests; they are taken if they can be read.

    Raises:
        DamagedFileError: If it was changed on the disk, or cannot be read.
    """
    if not entry.exists():
        return None
    try:
        record = json.loads((entry / RECORD).read_text())
        _check_record(record, entry, inputs)
        upfront = UpfrontCost.from_dict(record["upfront"])
        return _load_weights(entry / WEIGHTS), replace(upfront, fresh=False)
    except DamagedFileError:
        raise
    except Exception as error:  # the readers do not document what they raise
        raise DamagedFileError(f"{entry} cannot be read: {first_line(error)}") from error


def _check_record(record: dict[str, Any], entry: Path, inputs: str) -> None:
    """Check that an entry is as it was written, and the one that is asked for."""
    check_digest(record, entry / RECORD)
    if record.get(_DIGEST) not in (None, _digest_of_file(entry / WEIGHTS)):
        raise DamagedFileError(f"{entry / WEIGHTS} was changed on the disk")
    if record["asked"] != json.loads(inputs):
        raise DamagedFileError(f"{entry} is of other knowledge")


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[: 2 * _DIGEST_BYTES]


def _load_weights(path: Path) -> State:
    from safetensors.torch import load_file

    weights: State = load_file(path)
    return weights


@contextmanager
def _storage_errors(entry: Path) -> Iterator[None]:
    """Raise errors of the file system as `StorageError` with the folder's name."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StorageError(
            f"knowledge={entry.parent}: what is learnt there cannot be kept: {why}"
        ) from error
