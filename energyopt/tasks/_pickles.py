"""Reader of pickled byte arrays that runs no code from the file.

A pickle names functions to call. None of them is called here: the names that an array of bytes
needs are mapped to stand-ins that only check and store their arguments; other names are refused.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energyopt.errors import ConfigError

_UBYTE = ("u1", b"u1", "|u1", b"|u1")
_STATE_LENGTH = 5  # version, shape, dtype, Fortran order, content: numpy.ndarray.__setstate__


class _Dtype:
    """Stands for numpy.dtype; accepts only unsigned bytes."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in _UBYTE:
            raise pickle.UnpicklingError(f"an array of {code!r}, where bytes were expected")

    def __setstate__(self, state: object) -> None:
        """Ignore the byte order, which single bytes do not have."""


class _Array:
    """Stands for numpy.ndarray; its values are part of its state."""

    values: NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _STATE_LENGTH:
            raise pickle.UnpicklingError("an array in an unknown form")
        _, shape, dtype, is_fortran, content = state
        is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not (is_shape and isinstance(dtype, _Dtype) and isinstance(content, bytes)):
            raise pickle.UnpicklingError("an array in an unknown form")
        if len(content) != math.prod(shape):
            raise pickle.UnpicklingError(f"an array of {shape} with {len(content)} bytes")
        values = np.frombuffer(content, np.uint8)
        self.values = values.reshape(shape, order="F" if is_fortran else "C")


def _empty_array(*_: object) -> _Array:
    return _Array()


def _latin1(text: object, codec: object) -> bytes:
    """Stand for _codecs.encode, which Python 3 names for bytes in pickles that Python 2 reads."""
    if not isinstance(text, str) or codec not in {"latin1", b"latin1"}:
        raise pickle.UnpicklingError(f"text in the code {codec!r}")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,  # as Python 2 and NumPy 1 wrote it
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("_codecs", "encode"): _latin1,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which no data set needs"
            ) from None


def read_pickled_dict(path: Path) -> dict[bytes, Any]:
    """Read a dict that Python 2 or 3 pickled, with bytes as keys and uint8 arrays.

    Raises:
        ConfigError: If the file cannot be read, holds another object, or names other code.
    """
    try:
        content = _RestrictedUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} is refused: {error}; nothing of it was run. Replace it by a copy whose "
            f"checksum is that of the publisher's page."
        ) from error
    except Exception as error:  # damaged pickles raise errors of many types
        raise ConfigError(
            f"{path} is truncated or damaged ({type(error).__name__}: {error}); replace it by a "
            f"whole copy."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__} instead of a dict of arrays.")
    return {
        key.encode() if isinstance(key, str) else key: (
            value.values if isinstance(value, _Array) else value
        )
        for key, value in content.items()
    }
