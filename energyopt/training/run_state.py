"""The state of a paused `Run`: that of the user's objects and random generators, without code.

Where torch is loaded, the file is torch's, as for `checkpointing`. Else it is a zip archive of JSON
and NumPy arrays under the same name. Neither runs code when it is loaded.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from energyopt.errors import DamagedFileError, DiskFullError, TrialError
from energyopt.training.checkpointing import State, check_archive, save_to
from energyopt.training.checkpointing import load as load_torch
from energyopt.utils.digests import seal
from energyopt.utils.disk import as_disk_full
from energyopt.utils.files import written_whole

_STATE = "state.json"
_NUMPY = "numpy array"  # key of a packed array
_NUMERIC = "biufc"  # kinds of NumPy's types that torch has as well
_UNREADABLE = (OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_ALLOWED = "tensors, arrays, numbers, texts, lists, tuples and dicts are allowed"

Getter = Callable[[], Any]
Setter = Callable[[Any], Any]


def accessors(name: str, stateful: Any) -> tuple[Getter, Setter]:
    """Return the functions that read and restore the state of an object given to `begin`.

    Args:
        name: Its name there.
        stateful: A model, optimizer, scheduler, scaler, loader or random generator.

    Raises:
        TrialError: If it has no state that can be read and restored.
    """
    for get, put in (("state_dict", "load_state_dict"), ("get_state", "set_state")):
        if hasattr(stateful, get) and hasattr(stateful, put):
            return getattr(stateful, get), getattr(stateful, put)
    bits = getattr(stateful, "bit_generator", None)  # of numpy.random.Generator
    if bits is not None:
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    raise TrialError(
        f"begin({name}=...) is a {type(stateful).__name__}, which has no state_dict and "
        "load_state_dict; leave it out, and give its state to report(checkpoint=...)"
    )


def restore(setters: Mapping[str, Setter], states: Mapping[str, Any]) -> None:
    """Restore the states of the objects given to `begin`.

    Raises:
        TrialError: If other objects were given before the pause.
    """
    if setters.keys() != states.keys():
        raise TrialError(
            f"the training paused with begin({', '.join(states) or 'nothing'}) and resumes with "
            f"begin({', '.join(setters) or 'nothing'}); give the same names"
        )
    for name, put in setters.items():
        put(states[name])


def kept(checkpoint: Any) -> dict[str, Any]:
    """Return a reported checkpoint as a pause keeps it.

    Raises:
        TrialError: If it is the path of no file.
    """
    value = checkpoint() if callable(checkpoint) else checkpoint
    if not isinstance(value, str | Path):
        return {"value": value}
    path = Path(value).absolute()
    if not path.exists():
        raise TrialError(f"report(checkpoint={str(value)!r}): there is no such file")
    return {"path": str(path)}


def reported(checkpoint: Mapping[str, Any]) -> Any:
    """Return a kept checkpoint as it was reported; a path as `Path`."""
    return Path(checkpoint["path"]) if "path" in checkpoint else checkpoint["value"]


def keep(path: Path, state: State) -> AbstractContextManager[str]:
    """Save a state; see `checkpointing.Keep`.

    Raises:
        TrialError: If it cannot be written, or holds something that could only be kept as code.
    """
    if "torch" in sys.modules:
        return _kept_by_torch(path, state)
    return _archived(path, state)


def load(path: Path) -> State:
    """Load a state that `keep` saved.

    Raises:
        DamagedFileError: If the file cannot be read, or is not as it was saved.
    """
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            if _STATE in archive.namelist():
                state: State = _Unpacker(archive).read()
                return state
    except (*_UNREADABLE, DamagedFileError) as error:
        raise DamagedFileError(f"the paused training cannot resume: {path}: {error}") from error
    unpacked: State = _from_torch(load_torch(path))
    return unpacked


@contextmanager
def _kept_by_torch(path: Path, state: State) -> Iterator[str]:
    """Save a state by torch; its errors name what the user gave."""
    given = "what begin() or report(checkpoint=...) was given"
    with ExitStack() as saving:
        try:
            digest = saving.enter_context(save_to(path)(_for_torch(state)))
        except DiskFullError:
            raise
        except TrialError as error:
            _, is_code, rest = str(error).partition("state() holds ")
            if not is_code:
                raise
            raise TrialError(
                f"{given} holds {rest.partition(',')[0]}, and a paused training is kept without "
                f"code: {_ALLOWED}"
            ) from error
        except Exception as error:  # pickle raises whatever the user's types raise
            raise TrialError(f"{given} cannot be kept ({error}): {_ALLOWED}") from error
        yield digest


def _for_torch(value: Any) -> Any:
    """Return the value with NumPy's arrays as tensors, which torch keeps without code."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in _NUMERIC:
        import torch

        return {_NUMPY: torch.from_numpy(value.copy())}
    if isinstance(value, Path):
        return str(value)
    if type(value) in (list, tuple):
        return type(value)(map(_for_torch, value))
    if isinstance(value, dict):
        packed = {key: _for_torch(part) for key, part in value.items()}
        return value if all(packed[key] is value[key] for key in value) else packed
    return value


def _from_torch(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(_from_torch, value))
    if type(value) is dict:
        if value.keys() == {_NUMPY}:
            return value[_NUMPY].numpy()
        return {key: _from_torch(part) for key, part in value.items()}
    return value


@contextmanager
def _archived(path: Path, state: State) -> Iterator[str]:
    """Save a state as a zip archive of JSON and arrays, complete at any moment."""
    try:
        with written_whole(path, force=True) as fresh:
            with zipfile.ZipFile(fresh, "w") as archive:
                packer = _Packer(archive)
                archive.writestr(_STATE, json.dumps(packer.packed(state, "")))
            yield seal(fresh)
    except OSError as error:
        full = as_disk_full(error, path.parent)
        raise full or TrialError(f"the paused training cannot be kept: {path}: {error}") from error


class _Packer:
    """Turns a state into JSON; arrays go into files of the archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._n_arrays = 0

    def packed(self, value: Any, place: str) -> Any:
        """Return plain data for JSON.

        Args:
            value: A part of the state.
            place: Where it is in the state, for errors.

        Raises:
            TrialError: If it could only be kept as code.
        """
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            value = value.item()
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if isinstance(value, list | tuple):
            items = [self.packed(part, f"{place}[{i}]") for i, part in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            pairs = [
                [self.packed(key, place), self.packed(part, f"{place}[{key!r}]")]
                for key, part in value.items()
            ]
            return {"dict": pairs}
        if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
            return {"array": self._store(value)}
        raise TrialError(
            f"what begin() or report(checkpoint=...) was given holds a {type(value).__name__} "
            f"at {place}, and a paused training is kept without code: {_ALLOWED}"
        )

    def _store(self, array: Any) -> str:
        from numpy.lib import format as npy

        name = f"{self._n_arrays}.npy"
        self._n_arrays += 1
        with self._archive.open(name, "w") as file:
            npy.write_array(file, array, allow_pickle=False)
        return name


class _Unpacker:
    """Reads what `_Packer` wrote."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def read(self) -> Any:
        """Return the state."""
        return self._unpacked(json.loads(self._archive.read(_STATE)))

    def _unpacked(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._unpacked(part) for part in value]
        if not isinstance(value, dict):
            return value
        ((form, content),) = value.items()
        if form == "tuple":
            return tuple(map(self._unpacked, content))
        if form == "bytes":
            return bytes.fromhex(content)
        if form == "dict":
            return {self._unpacked(key): self._unpacked(part) for key, part in content}
        from numpy.lib import format as npy

        with self._archive.open(content) as file:
            return npy.read_array(file, allow_pickle=False)
