"""Arrays that are dear to make, made once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name, none of them of objects."""

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cache_folder() -> Path:
    """Where arrays are kept: XDG_CACHE_HOME/energyopt where that is set, else studies/cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home).expanduser() / "energyopt" if home else Path("studies", "cache")


def cached(
    name: str,
    make: Callable[[], Arrays],
    *,
    options: Mapping[str, object],
    sources: Iterable[Path],
) -> dict[str, NDArray[Any]]:
    """Read arrays from the cache, or make and keep them.

    A file of the cache belongs to the options and to the sizes and times of the sources, so a
    change makes another one. It takes its place whole: of two processes that make the same one,
    the last wins, and one that died has left none. What cannot be read is made again; where
    nothing can be written, nothing is kept.

    Args:
        name: Begins the file's name.
        make: Makes the arrays.
        options: All that they depend on beside the sources, as JSON can say it.
        sources: The files (or folders) that they are made from.

    Returns:
        What `make` returned, now or earlier.
    """
    stats = [(str(path.resolve()), path.stat()) for path in sources]
    key = [dict(options), [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / f"{name}-{digest}.npz"
    with suppress(*_UNREADABLE), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return {array: kept[array] for array in kept.files}
    made = dict(make())
    with suppress(OSError):
        _keep(path, made)
    return made


def _keep(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".part", f".{path.stem}.", path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
