"""Reader of IDX files, the format of MNIST and of data sets modelled on it."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_FILES = tuple((name, f"{name}.gz") for name in _NAMES)
IDX_EXPECTS = f"{', '.join(_NAMES)} (each plain or with .gz)"
# Byte 3 of an IDX magic number is the type (8 = unsigned byte), byte 4 the number of dimensions.
_MAGIC_UBYTE = 0x0800


def read_idx_images(paths: list[Path], num_classes: int) -> tuple[Split, Split]:
    """Read the training part and the test part of a data set.

    Args:
        paths: Training images, training labels, test images, test labels.
        num_classes: Number of classes; labels must be below it.

    Raises:
        ConfigError: If a file is damaged, or they do not fit together.
    """
    train_images, train_labels, test_images, test_labels = paths
    training = _read_pair(train_images, train_labels, num_classes)
    test = _read_pair(test_images, test_labels, num_classes)
    if training.inputs.shape[1:] != test.inputs.shape[1:]:
        raise ConfigError(
            f"The images in {train_images} have the shape {tuple(training.inputs.shape[1:])}, "
            f"those in {test_images} {tuple(test.inputs.shape[1:])}: "
            f"put files of the same data set into one folder."
        )
    return training, test


def _read_pair(images_path: Path, labels_path: Path, num_classes: int) -> Split:
    """Read uint8 images of shape (samples, 1, height, width) and their labels."""
    images = read_idx(images_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1).long()
    if len(images) != len(labels):
        raise ConfigError(
            f"{images_path} has {len(images)} images but {labels_path} {len(labels)} labels: "
            f"replace them by a pair of the same data set."
        )
    if int(labels.max()) >= num_classes:
        raise ConfigError(
            f"{labels_path} has a label {int(labels.max())}; allowed are 0 to "
            f"{num_classes - 1}: replace it by a file of a set with {num_classes} classes."
        )
    return Split(images.unsqueeze(1), labels)


def read_idx(path: Path, dimensions: int) -> torch.Tensor:
    """Read an IDX file of unsigned bytes, as described at http://yann.lecun.com/exdb/mnist.

    Raises:
        ConfigError: If it is not an IDX file with these dimensions, or truncated.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); replace it by a whole copy."
        ) from error
    header_bytes = 4 * (1 + dimensions)
    magic, *shape = (
        int.from_bytes(content[start : start + 4], "big") for start in range(0, header_bytes, 4)
    )
    expected_magic = _MAGIC_UBYTE + dimensions
    if magic != expected_magic:
        raise ConfigError(
            f"{path} starts with the magic number {magic:#010x}, but an IDX file of "
            f"{dimensions}-dimensional bytes starts with {expected_magic:#010x}: check that it is "
            f"the file its name says."
        )
    expected = header_bytes + math.prod(shape)
    if len(content) != expected or expected == header_bytes:
        raise ConfigError(
            f"{path} has {len(content)} bytes, but its header {shape} asks for {expected}: "
            f"it is truncated or damaged; replace it by a whole copy."
        )
    # torch warns of tensors in read-only memory; a bytearray is writable.
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header_bytes)
    return data.reshape(shape)
