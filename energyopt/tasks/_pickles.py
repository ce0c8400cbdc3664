"""Reading pickles of byte arrays without running what is in them.

A pickle names functions that are to be called. Here none of them is: what an array of bytes
needs is answered by stand-ins that only check and remember, and every other name is refused.
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
_STATE_PARTS = 5


class _Dtype:
    """Stands for numpy.dtype: of unsigned bytes alone."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in _UBYTE:
            raise pickle.UnpicklingError(f"an array of {code!r}, where bytes were expected")

    def __setstate__(self, state: object) -> None:
        """Ignore the byte order, which bytes have not."""


class _Array:
    """Stands for numpy.ndarray; its values come with its state."""

    values: NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _STATE_PARTS:
            raise pickle.UnpicklingError("an array in an unknown form")
        _, shape, dtype, fortran, content = state
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not (whole and isinstance(dtype, _Dtype) and isinstance(content, bytes)):
            raise pickle.UnpicklingError("an array in an unknown form")
        if len(content) != math.prod(shape):
            raise pickle.UnpicklingError(f"an array of {shape} with {len(content)} bytes")
        flat = np.frombuffer(content, np.uint8)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


def _empty_array(*_: object) -> _Array:
    return _Array()


def _latin1(text: object, codec: object) -> bytes:
    """Stand for _codecs.encode, by which Python 3 writes bytes in pickles that Python 2 reads."""
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


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which no data set needs"
            ) from None


def read_pickled_dict(path: Path) -> dict[bytes, Any]:
    """Read a file that holds a pickled dict of plain values and byte arrays; run nothing of it.

    Args:
        path: The file, as Python 2 or 3 wrote it.

    Returns:
        The dict, with keys as bytes and arrays of uint8.

    Raises:
        ConfigError: If the file cannot be read, holds something else, or names other code.
    """
    try:
        found = _Restricted(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} is refused: {error}; nothing of it was run. Replace it by a copy whose "
            f"checksum is that of the publisher's page."
        ) from error
    except Exception as error:  # damaged pickles raise almost anything
        raise ConfigError(
            f"{path} is truncated or damaged ({type(error).__name__}: {error}); replace it by a "
            f"whole copy."
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds a {type(found).__name__} instead of a dict of arrays.")
    keys = (key.encode() if isinstance(key, str) else key for key in found)
    values = (value.values if isinstance(value, _Array) else value for value in found.values())
    return dict(zip(keys, values, strict=True))
