"""The lines of a journal: objects of JSON, whose last member is the digest of the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from energyopt.utils.digests import digest_of

_DIGEST = ', "blake2b": "'  # before the digest of what precedes it in the line
_DIGEST_BYTES = 8
_N_NAMED = 3


def line_of(content: Mapping[str, object]) -> str:
    """Return content as a line, with the digest of its text."""
    text = json.dumps(content)[:-1]
    return f'{text}{_DIGEST}{digest_of(text.encode(), _DIGEST_BYTES)}"}}\n'


def content_of(line: bytes) -> dict[str, Any]:
    """Return the one member that a line holds besides its digest, which older lines lack.

    Raises:
        ValueError: If it is not what was written.
    """
    text, mark, digest = line.rstrip(b"\n").rpartition(_DIGEST.encode())
    if mark and digest != f'{digest_of(text, _DIGEST_BYTES)}"}}'.encode():
        raise ValueError(line)
    content = json.loads(text + b"}" if mark else line)
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(line)
    return content


def line_numbers(numbers: Sequence[int]) -> str:
    """Return the numbers of lines in words, the first of them if they are many."""
    listed = ", ".join(map(str, numbers[:_N_NAMED]))
    if len(numbers) == 1:
        return f"line {listed}"
    return f"lines {listed}{', ...' if len(numbers) > _N_NAMED else ''}"
