"""A cache file for arrays that are expensive to compute."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energyopt.errors import DamagedFileError
from energyopt.utils.digests import check_seal, seal
from energyopt.utils.files import written_whole

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name, none of dtype object."""

_NO_ARCHIVE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cache_folder() -> Path:
    """Return the cache's folder: XDG_CACHE_HOME/energyopt if that is set, else studies/cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return Path(cache_home).expanduser() / "energyopt" if cache_home else Path("studies", "cache")


def cached(
    name: str,
    make: Callable[[], Arrays],
    *,
    options: Mapping[str, object],
    sources: Iterable[Path],
) -> dict[str, NDArray[Any]]:
    """Read arrays from the cache, or compute and store them.

    The file's name contains a digest of the options and of the sizes and times of the sources, so
    any change leads to a new file. A file is written as a whole: if two processes write the same
    one, the last wins, and a crash leaves no partial file. A file that cannot be read, was changed
    on the disk, or has no digest is computed again; if the cache cannot be written, nothing is
    stored.

    Args:
        name: Prefix of the file's name.
        make: Computes the arrays.
        options: Everything else that they depend on, JSON-serializable.
        sources: The files (or folders) that they are computed from.
    """
    stats = [(str(path.resolve()), path.stat()) for path in sources]
    key = [dict(options), [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / f"{name}-{digest}.npz"
    with suppress(*_NO_ARCHIVE, DamagedFileError):
        if check_seal(path) is not None:
            with np.load(path, allow_pickle=False) as npz:
                return {array: npz[array] for array in npz.files}
    arrays = dict(make())
    with suppress(OSError), written_whole(path, force=True) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
        seal(temporary)
    return arrays
