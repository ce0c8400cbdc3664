"""Digests by which a file that was changed on the disk is noticed: BLAKE2b, as a last line.

Formats do not do it: torch does not look at the checksums of its archives, and a number with one
other bit is as good a number. A file without a digest is from an earlier version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energyopt.errors import DamagedFileError

_BYTES = 16
_MARK = b"\nenergyopt blake2b "
SEAL_BYTES = len(_MARK) + 2 * _BYTES + 1
"""Length of a seal. Readers of zip archives do not mind it: they look for their own end."""

_KEY = "blake2b"
_CHUNK = 1 << 20


def digest_of(content: bytes, n_bytes: int = _BYTES) -> str:
    """Return the digest of a content as hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=n_bytes).hexdigest()


def seal(path: Path) -> str:
    """Append its digest to a file, and write both to the disk. Returns the digest.

    Raises:
        OSError: If it cannot be written.
    """
    digest = _digest_of_file(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_MARK + digest.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return digest


def check_seal(path: Path) -> str | None:
    """Return the digest of a sealed file; None if it has no seal.

    Raises:
        DamagedFileError: If it is not what was sealed.
        OSError: If it cannot be read.
    """
    size = path.stat().st_size - SEAL_BYTES
    if size < 0:
        return None
    with path.open("rb") as file:
        file.seek(size)
        tail = file.read()
    if not tail.startswith(_MARK):
        return None
    digest = _digest_of_file(path, size)
    if tail != _MARK + digest.encode() + b"\n":
        raise DamagedFileError(f"{path} was changed on the disk: its content has another digest")
    return digest


def with_digest(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with its digest, to be written as JSON."""
    return {**data, _KEY: _digest_of_data(data)}


def check_digest(data: dict[str, Any], path: Path) -> None:
    """Remove the digest from data that was read from a file; without one, nothing is checked.

    Raises:
        DamagedFileError: If the data are not those with which it was written.
    """
    digest = data.pop(_KEY, None)
    if digest is not None and digest != _digest_of_data(data):
        raise DamagedFileError(f"{path} was changed on the disk: its content has another digest")


def _digest_of_data(data: Mapping[str, Any]) -> str:
    """Return the digest of plain data, whatever order and white space they are written in."""
    plain = json.loads(json.dumps(data))
    return digest_of(json.dumps(plain, sort_keys=True).encode())


def _digest_of_file(path: Path, size: int) -> str:
    """Return the digest of the first bytes of a file."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, _CHUNK))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()
