"""Damage to files, as a disk does it: a bit that is another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path


def flips(path: Path, count: int, *, seed: int = 1) -> Iterator[int]:
    """Flip one random bit of a file after the other; yield each position, and restore the file."""
    whole, chance = path.read_bytes(), random.Random(seed)
    for _ in range(count):
        place = chance.randrange(len(whole))
        flip(path, place, 1 << chance.randrange(8))
        yield place
        path.write_bytes(whole)


def flip(path: Path, place: int, mask: int = 1) -> None:
    """Flip bits of one byte of a file."""
    with path.open("r+b") as file:  # in place, as a disk does it: the file may be open elsewhere
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))
