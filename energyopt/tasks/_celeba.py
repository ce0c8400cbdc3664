"""The files of CelebA: its three lists, and its images made small."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from energyopt.errors import ConfigError
from energyopt.tasks._cache import Arrays, cached

_PARTITIONS = 3
_LARGEST_NUMBER = 10**9
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}")
_LARGEST_SIDE = 4096


class Lists(NamedTuple):
    """What is known of each image, one row an image, in the order of its names.

    Attributes:
        names: Of the image files, of shape (images,).
        attributes: Names of the attributes, of shape (attributes,).
        values: Whether each image has each attribute, of shape (images, attributes).
        identity: Number of the person, of shape (images,).
        partition: 0 train, 1 validation, 2 test, of shape (images,).
    """

    names: NDArray[np.str_]
    attributes: NDArray[np.str_]
    values: NDArray[np.int8]
    identity: NDArray[np.int64]
    partition: NDArray[np.int64]


def read_lists(attributes: Path, identities: Path, partitions: Path) -> Lists:
    """Read and compare the three lists, or what an earlier call kept of them.

    Raises:
        ConfigError: If one is damaged, or they are not of the same images.
    """

    def make() -> Arrays:
        return _compared(attributes, identities, partitions)._asdict()

    sources = [attributes, identities, partitions]
    return Lists(**cached("celeba-lists", make, options={"version": 1}, sources=sources))


def _compared(attributes: Path, identities: Path, partitions: Path) -> Lists:
    told, rows = _attribute_rows(attributes)
    names = sorted(rows)
    values = _table(attributes, rows, names, len(told))
    wrong = np.argwhere(np.abs(values) != 1)
    if len(wrong):
        row, column = wrong[0]
        raise ConfigError(
            f"{attributes}: {told[column]} of {names[row]} is {values[row, column]}, but "
            f"attributes are 1 or -1: replace it by a whole copy."
        )
    columns = []
    for path, highest in ((identities, _LARGEST_NUMBER), (partitions, _PARTITIONS - 1)):
        listed = _rows(path, _lines(path))
        if listed.keys() != rows.keys():
            alone = min(listed.keys() ^ rows.keys())
            raise ConfigError(
                f"{path} lists {len(listed)} images and {attributes} {len(rows)}; {alone}, for "
                f"one, is not in both: replace them by whole copies."
            )
        column = _table(path, listed, names, 1)[:, 0]
        if int(column.min()) < 0 or int(column.max()) > highest:
            raise ConfigError(
                f"{path} has values from {column.min()} to {column.max()}, but allowed are 0 to "
                f"{highest}: replace it by a whole copy."
            )
        columns.append(column)
    return Lists(np.array(names), np.array(told), (values > 0).astype(np.int8), *columns)


def _attribute_rows(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Names of the attributes, and the words of each image: a count and the names come first."""
    lines = _lines(path)
    try:
        count, names = int(next(lines)), next(lines).split()
    except (StopIteration, ValueError):
        raise ConfigError(
            f"{path} must begin with the number of images and a line of attributes: replace it "
            f"by a whole copy."
        ) from None
    rows = _rows(path, lines)
    if len(rows) != count or not rows:
        raise ConfigError(
            f"{path} says that it lists {count} images, but lists {len(rows)}: replace it by a "
            f"whole copy."
        )
    return names, rows


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}.") from error
    return (line for line in text.splitlines() if line.strip())


def _rows(path: Path, lines: Iterator[str]) -> dict[str, list[str]]:
    """The words of each line by its first one, the image."""
    rows: dict[str, list[str]] = {}
    for name, *words in map(str.split, lines):
        if name in rows or "/" in name or "\\" in name:
            what = "twice" if name in rows else "which is no name of an image"
            raise ConfigError(f"{path} lists {name} {what}: replace it by a whole copy.")
        rows[name] = words
    return rows


def _table(
    path: Path, rows: dict[str, list[str]], names: Sequence[str], width: int
) -> NDArray[np.int64]:
    """Numbers of shape (images, width), in the order of the names."""
    for name in names:
        words = rows[name]
        if len(words) != width or not all(map(_WHOLE.fullmatch, words)):
            raise ConfigError(
                f"{path}: the line of {name} must hold {width} whole numbers, but is "
                f"{' '.join(words)[:60]!r}: replace it by a whole copy."
            )
    return np.array([list(map(int, rows[name])) for name in names], dtype=np.int64)


def read_images(folder: Path, names: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Read images, or what an earlier call kept of them.

    The square in the middle is made `size` pixels wide.

    Args:
        folder: Where they are. A new time of it makes the cache read them again, so an image that
            was changed in its place goes unnoticed.
        names: The files, in this order.
        size: Pixels a side.

    Returns:
        Bytes of shape (images, 3, size, size), red first.

    Raises:
        ConfigError: If one is missing or damaged, or Pillow is.
    """

    def make() -> Arrays:
        images = np.empty((len(names), 3, size, size), np.uint8)
        pillow = _pillow()
        for place, name in enumerate(names):
            images[place] = _small(pillow, folder / name, size)
        return {"images": images}

    options = {"version": 1, "size": size, "names": list(names)}
    return cached("celeba", make, options=options, sources=[folder])["images"]


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ConfigError(
            "task=celeba reads its images with Pillow, which is not installed: "
            "`pip install 'energyopt[images]'`."
        ) from error


def _small(pillow: Any, path: Path, size: int) -> NDArray[np.uint8]:
    """The middle of one image, of shape (3, size, size)."""
    try:
        with pillow.open(path, formats=("JPEG", "PNG")) as image:
            wide, high = image.size
            side = min(wide, high)
            if max(wide, high) <= _LARGEST_SIDE:
                left, top = (wide - side) // 2, (high - side) // 2
                small = image.convert("RGB").resize(
                    (size, size),
                    pillow.Resampling.BILINEAR,
                    box=(left, top, left + side, top + side),
                )
                return np.asarray(small).transpose(2, 0, 1)
    except Exception as error:  # damaged images raise almost anything
        raise ConfigError(
            f"The image {path} cannot be read ({error}); replace it by a whole copy."
        ) from error
    raise ConfigError(
        f"The image {path} has {wide}x{high} pixels, and those of CelebA have 178x218: replace it."
    )
