"""Keep Optuna's CMA-ES from running pickles that another process wrote into a database.

`CmaEsSampler` stores its state in the attributes of a trial as a pickle, and a pickle runs code of
whoever wrote it. No other sampler of Optuna does so; a test reads its sources.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler, _cmaes

from energyopt.errors import ConfigError

_LEAVES = (str, bytes, int, float, complex, type(None))
_PROGRAM = ("energyopt", "hydra")


def check_unpickling(sampler: object, existing: int) -> None:
    """Raise if a study's sampler would look for its state in the pickles of a database.

    Args:
        sampler: A sampler, or the config node of one: others may be anywhere in either.
        existing: Number of trials and runs before this one.

    Raises:
        ConfigError: If the study has trials already, and a CmaEsSampler is found.
    """
    if existing and any(_is_cmaes(part) for part in _parts(sampler)):
        raise ConfigError(
            "sampler=CmaEsSampler keeps its state in the database as a pickle, which runs code of "
            "whoever wrote it, so no study is continued with it, nor with a sampler that holds "
            "one; give another study=name, or another sampler"
        )


def guard_unpickling() -> None:
    """Let Optuna's CMA-ES load only what this process stored, wherever such a sampler is used.

    Of a state that this process did not store, CMA-ES knows nothing: it begins anew, and tells
    itself the values of the study's trials, one generation a trial.

    Raises:
        ConfigError: If this version of Optuna loads its state in a way that is not known.
    """
    if isinstance(getattr(_cmaes, "pickle", None), _OwnPickles):
        return
    if getattr(_cmaes, "pickle", None) is not pickle:
        raise ConfigError(
            "this version of Optuna keeps the state of CmaEsSampler in a way that energyopt does "
            "not know; install an older one: pip install 'optuna>=5,<6'"
        )
    vars(_cmaes)["pickle"] = _OwnPickles()


class _OwnPickles:
    """Stands for the module `pickle` where Optuna stores and loads the state of CMA-ES."""

    def __init__(self) -> None:
        self._stored: set[bytes] = set()

    def dumps(self, state: object) -> bytes:
        """Return a state as bytes, and remember them."""
        content = pickle.dumps(state)
        self._stored.add(hashlib.sha256(content).digest())
        return content

    def loads(self, content: bytes) -> Any:
        """Return the state in bytes of this process; None for any others."""
        if hashlib.sha256(content).digest() not in self._stored:
            return None
        return pickle.loads(content)  # noqa: S301  # our own bytes


def _is_cmaes(part: object) -> bool:
    if isinstance(part, Mapping):
        return str(part.get("_target_")).rpartition(".")[2] == CmaEsSampler.__name__
    if isinstance(part, type):
        return issubclass(part, CmaEsSampler)
    return isinstance(part, CmaEsSampler)


def _parts(whole: object) -> Iterator[object]:
    """Yield an object and all that it holds, each once: what is in its attributes and containers.

    The attributes of classes and modules are not followed, nor those of the program: a sampler of
    ours holds its sweep, and with it all configs that Hydra has.
    """
    waiting, visited = [whole], {id(whole): whole}
    while waiting:
        part = waiting.pop()
        yield part
        for held in _held_by(part):
            if id(held) not in visited and not isinstance(held, _LEAVES) and not _is_program(held):
                visited[id(held)] = held  # kept, so that no other object gets its id
                waiting.append(held)


def _is_program(part: object) -> bool:
    package = type(part).__module__.partition(".")[0]
    return package in _PROGRAM and not isinstance(part, BaseSampler)


def _held_by(part: object) -> Iterator[object]:
    if isinstance(part, type | ModuleType):
        return
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    elif isinstance(part, partial):
        yield from (part.func, part.args, part.keywords)
    elif isinstance(part, MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, FunctionType):
        yield from inspect.getclosurevars(part).nonlocals.values()
    yield from getattr(part, "__dict__", {}).values()
    for owner in type(part).__mro__:
        names = owner.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            yield getattr(part, name, None)
