"""CIFAR-10 and CIFAR-100 from the local files of their Python version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._pickles import read_pickled_dict
from energyopt.tasks._splits import DataSet, split_training

_SHAPE = (3, 32, 32)
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_TRAINING_10 = tuple(f"data_batch_{number}" for number in range(1, 6))
_FILES_10 = (*_TRAINING_10, "test_batch")
_CIFAR10 = LocalData(
    name="CIFAR-10",
    folders=("cifar-10-batches-py", "", "cifar10/cifar-10-batches-py"),
    files=tuple((name,) for name in _FILES_10),
    expects=", ".join(f"cifar-10-batches-py/{name}" for name in _FILES_10),
    page=_PAGE,
)
_CIFAR100 = LocalData(
    name="CIFAR-100",
    folders=("cifar-100-python", "", "cifar100/cifar-100-python"),
    files=(("train",), ("test",)),
    expects="cifar-100-python/train, cifar-100-python/test",
    page=_PAGE,
)
_CLASSES_100 = {"fine": 100, "coarse": 20}


class CIFAR10(DataSet):
    """60,000 colour 32x32 images in 10 classes, from the pickles of its Python version.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Nothing
    is downloaded, and no code in the pickles is run. The 50,000 images of the five training files
    are split into training and validation; the other 10,000 are the test part. Images are not
    augmented.

    Args:
        root: Folder `cifar-10-batches-py`, or the one that holds it; None looks in
            ENERGYOPT_DATA.
        n_train: Training images; None takes all that are not held out.
        n_validation: Images of the training files that are held out for validation.
        split_seed: Seed of the split; validation does not depend on `n_train`.
    """

    input_shape: tuple[int, ...] = _SHAPE
    num_classes: int = 10

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        n_train: int | None = None,
        n_validation: int = 5000,
        split_seed: int = 0,
    ) -> None:
        *batches, test = (_read(path, b"labels", self.num_classes) for path in _CIFAR10.find(root))
        training = Split(
            torch.cat([batch.inputs for batch in batches]),
            torch.cat([batch.labels for batch in batches]),
        )
        self.train, self.validation, self.test = split_training(
            training, test, n_train=n_train, n_validation=n_validation, seed=split_seed
        )


class CIFAR100(DataSet):
    """60,000 colour 32x32 images in 100 classes, grouped into 20; see `CIFAR10`.

    Args:
        root: Folder `cifar-100-python`, or the one that holds it; None looks in ENERGYOPT_DATA.
        label: Label to classify: the "fine" class of 100, or the "coarse" one of 20.
        n_train: Training images; None takes all that are not held out.
        n_validation: Images of the training file that are held out for validation, stratified by
            that label.
        split_seed: Seed of the split; validation does not depend on `n_train`.
    """

    input_shape: tuple[int, ...] = _SHAPE

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        label: Literal["fine", "coarse"] = "fine",
        n_train: int | None = None,
        n_validation: int = 5000,
        split_seed: int = 0,
    ) -> None:
        if label not in _CLASSES_100:
            raise ConfigError(f"task.label={label} is unknown: choose fine or coarse.")
        self.num_classes = _CLASSES_100[label]
        key = f"{label}_labels".encode()
        training, test = (_read(path, key, self.num_classes) for path in _CIFAR100.find(root))
        self.train, self.validation, self.test = split_training(
            training, test, n_train=n_train, n_validation=n_validation, seed=split_seed
        )


def _read(path: Path, key: bytes, num_classes: int) -> Split:
    """Return the images of a file, uint8 of shape (images, 3, 32, 32), and the labels of a key."""
    content = read_pickled_dict(path)
    missing = [name.decode() for name in (b"data", key) if name not in content]
    if missing:
        raise ConfigError(f"{path} has no {' and no '.join(missing)}: is it of another data set?")
    data, labels = content[b"data"], content[key]
    shape: tuple[int, ...] = data.shape if isinstance(data, np.ndarray) else ()
    size = math.prod(_SHAPE)
    if shape[1:] != (size,) or shape[0] < 1:
        raise ConfigError(
            f"{path} holds data of shape {shape}, but images are (images, {size}) bytes: replace "
            f"it by a whole copy of the Python version."
        )
    if not isinstance(labels, list) or len(labels) != len(data):
        n_labels = len(labels) if isinstance(labels, Sequence) else "no"
        raise ConfigError(
            f"{path} has {len(data)} images but {n_labels} labels: replace it by a whole copy."
        )
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < num_classes]
    if wrong:
        raise ConfigError(
            f"{path} has a label {wrong[0]!r}; allowed are 0 to {num_classes - 1}: replace it by "
            f"a whole copy."
        )
    images = torch.from_numpy(data.copy())  # torch warns of read-only arrays; a copy is writable
    return Split(images.reshape(-1, *_SHAPE), torch.tensor(labels))
