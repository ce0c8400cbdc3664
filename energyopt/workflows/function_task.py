"""A user's function as the task of a study's jobs, which run it in fresh processes."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from energyopt.errors import ConfigError
from energyopt.training.run import Run

MAX_BYTES = 50 * 2**20
"""Size of a pickled function above which it is refused: each trial would load it."""

Train = Callable[[Run], object]


@dataclass(frozen=True)
class FunctionTask:
    """The function that each job calls.

    Attributes:
        app: The function, for people.
        pickled: The function, as cloudpickle writes it.
        question: The arguments of its `Run`.
        source: File name and lines of the function: a notebook has no such file.
    """

    app: str
    pickled: bytes = field(repr=False)
    question: Mapping[str, Any]
    source: tuple[str, list[str]] | None = None

    @classmethod
    def of(cls, train: Train, question: Mapping[str, Any]) -> FunctionTask:
        """Pickle a function.

        Raises:
            ConfigError: If that cannot be done, or it is too large; the message names the culprit.
        """
        if not callable(train):
            raise ConfigError(f"optimize({train!r:.60}): a function of a run is needed")
        pickled = _pickled(train)
        if len(pickled) > MAX_BYTES:
            raise ConfigError(_too_large(train, len(pickled)))
        return cls(f"{name_of(train)}(run)", pickled, question, _source(train))

    def __call__(self, _config: object) -> None:
        """Train, in the process of a job."""
        import cloudpickle

        if self.source is not None:  # for the traceback of what it raises
            name, lines = self.source
            linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
        train: Train = cloudpickle.loads(self.pickled)
        train(Run(**self.question))


def name_of(train: Train) -> str:
    """Return the name of a function; "train" for one without a name."""
    name = str(getattr(train, "__name__", type(train).__name__))
    return name if name.isidentifier() else "train"


def digest_of(train: Train) -> str:
    """Return a digest of the code of a function, without its comments; "unknown" without code."""
    try:
        text = textwrap.dedent(inspect.getsource(train))
        code = ast.dump(ast.parse(text))
    except (OSError, TypeError, SyntaxError):
        return "unknown"
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def _source(train: Train) -> tuple[str, list[str]] | None:
    code = getattr(inspect.unwrap(train), "__code__", None)
    return None if code is None else (code.co_filename, linecache.getlines(code.co_filename))


def _pickled(train: Train) -> bytes:
    """Return a function as cloudpickle writes it.

    Raises:
        ConfigError: If it cannot be pickled.
    """
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(train)
    except Exception as error:  # of any object that it uses
        culprits = [name for name, value in _used(train).items() if not _can_pickle(value)]
        name = f"{culprits[0]}, which it uses," if culprits else "it"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{name_of(train)} cannot be sent to the process of a trial: {name} cannot be pickled "
            f"({reason:.120}); make it inside of the function"
        ) from error
    return pickled


def _can_pickle(value: object) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception:  # of any object
        return False
    return True


def _used(train: Train) -> dict[str, Any]:
    """Return the objects outside of a function that it uses, by name, with those of functions."""
    objects: dict[str, Any] = {}
    functions: list[Any] = [inspect.unwrap(train)]
    while functions:
        function = functions.pop()
        try:
            variables = inspect.getclosurevars(function)
        except (TypeError, ValueError):  # no function of Python's
            objects.setdefault(name_of(function), function)
            continue
        for name, value in {**variables.globals, **variables.nonlocals}.items():
            if name not in objects and not inspect.ismodule(value):
                objects[name] = value
                functions += [value] if inspect.isfunction(value) else []
    return objects


def _too_large(train: Train, size: int) -> str:
    """Return the message that a function is too large, with what is largest."""
    import cloudpickle

    sizes = {name: len(cloudpickle.dumps(value)) for name, value in _used(train).items()}
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    what = "" if largest is None else f"; {largest} takes {sizes[largest] / 2**20:.0f} MB of them"
    return (
        f"{name_of(train)} has {size / 2**20:.0f} MB when it is pickled, and each trial would load "
        f"them; at most {MAX_BYTES / 2**20:.0f} MB are sent{what}: load it inside of the function"
    )
