"""Reader of CelebA's three lists and of its images, scaled down."""

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
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")
_LARGEST_SIDE = 4096


class Lists(NamedTuple):
    """Labels of all images, sorted by file name."""

    names: NDArray[np.str_]
    attributes: NDArray[np.str_]  # names, of shape (attributes,)
    values: NDArray[np.int8]  # 1 where an image has an attribute, of shape (images, attributes)
    identity: NDArray[np.int64]  # number of the person
    partition: NDArray[np.int64]  # 0 train, 1 validation, 2 test


def read_lists(attributes: Path, identities: Path, partitions: Path) -> Lists:
    """Read the three lists and check that they fit together, or read them from the cache.

    Raises:
        ConfigError: If one is damaged, or they do not list the same images.
    """

    def make() -> Arrays:
        return _read_lists(attributes, identities, partitions)._asdict()

    sources = [attributes, identities, partitions]
    return Lists(**cached("celeba-lists", make, options={"version": 1}, sources=sources))


def _read_lists(attributes: Path, identities: Path, partitions: Path) -> Lists:
    attribute_names, rows = _attribute_rows(attributes)
    names = sorted(rows)
    values = _table(attributes, rows, names, len(attribute_names))
    wrong = np.argwhere(np.abs(values) != 1)
    if len(wrong):
        row, column = wrong[0]
        raise ConfigError(
            f"{attributes}: {attribute_names[column]} of {names[row]} is {values[row, column]}, "
            f"but attributes are 1 or -1: replace it by a whole copy."
        )
    columns = []
    for path, highest in ((identities, _LARGEST_NUMBER), (partitions, _PARTITIONS - 1)):
        other_rows = _rows(path, _lines(path))
        if other_rows.keys() != rows.keys():
            unmatched = min(other_rows.keys() ^ rows.keys())
            raise ConfigError(
                f"{path} lists {len(other_rows)} images and {attributes} {len(rows)}; {unmatched}, "
                f"for one, is not in both: replace them by whole copies."
            )
        column = _table(path, other_rows, names, 1)[:, 0]
        if int(column.min()) < 0 or int(column.max()) > highest:
            raise ConfigError(
                f"{path} has values from {column.min()} to {column.max()}, but allowed are 0 to "
                f"{highest}: replace it by a whole copy."
            )
        columns.append(column)
    has_attribute = (values > 0).astype(np.int8)
    return Lists(np.array(names), np.array(attribute_names), has_attribute, *columns)


def _attribute_rows(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the attributes, and the values of each image by file name.

    The file begins with a line with the number of images and one with the names.
    """
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
    """Return the values of each line by its first column, the image."""
    rows: dict[str, list[str]] = {}
    for name, *values in map(str.split, lines):
        if name in rows or "/" in name or "\\" in name:
            problem = "twice" if name in rows else "which is not the name of an image"
            raise ConfigError(f"{path} lists {name} {problem}: replace it by a whole copy.")
        rows[name] = values
    return rows


def _table(
    path: Path, rows: dict[str, list[str]], names: Sequence[str], width: int
) -> NDArray[np.int64]:
    """Return numbers of shape (images, width), in the order of the names."""
    for name in names:
        values = rows[name]
        if len(values) != width or not all(map(_WHOLE_NUMBER.fullmatch, values)):
            raise ConfigError(
                f"{path}: the line of {name} must hold {width} whole numbers, but is "
                f"{' '.join(values)[:60]!r}: replace it by a whole copy."
            )
    return np.array([list(map(int, rows[name])) for name in names], dtype=np.int64)


def read_images(folder: Path, names: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Read images, or their cache, as bytes of shape (images, 3, size, size), red first.

    They are cropped to the central square and scaled. The cache depends on the time of the folder,
    so an image that is changed in place goes unnoticed.

    Raises:
        ConfigError: If one is missing or damaged, or Pillow is.
    """

    def make() -> Arrays:
        images = np.empty((len(names), 3, size, size), np.uint8)
        pillow = _import_pillow()
        for i, name in enumerate(names):
            images[i] = _read_image(pillow, folder / name, size)
        return {"images": images}

    options = {"version": 1, "size": size, "names": list(names)}
    return cached("celeba", make, options=options, sources=[folder])["images"]


def _import_pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ConfigError(
            "task=celeba reads its images with Pillow, which is not installed: "
            "`pip install 'energyopt[images]'`."
        ) from error


def _read_image(pillow: Any, path: Path, size: int) -> NDArray[np.uint8]:
    """Return the central square of an image, of shape (3, size, size)."""
    try:
        with pillow.open(path, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            side = min(width, height)
            if max(width, height) <= _LARGEST_SIDE:  # a huge image would fill the memory
                x, y = (width - side) // 2, (height - side) // 2
                scaled = image.convert("RGB").resize(
                    (size, size), pillow.Resampling.BILINEAR, box=(x, y, x + side, y + side)
                )
                return np.asarray(scaled).transpose(2, 0, 1)
    except Exception as error:  # damaged images raise errors of many types
        raise ConfigError(
            f"The image {path} cannot be read ({error}); replace it by a whole copy."
        ) from error
    raise ConfigError(
        f"The image {path} has {width}x{height} pixels, and those of CelebA have 178x218: replace "
        f"it."
    )
