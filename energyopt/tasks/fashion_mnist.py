"""Fashion-MNIST from local files: the medium task, and the one for a GPU."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch

from energyopt.errors import ConfigError
from energyopt.protocols import Split
from energyopt.tasks._splits import Splits, split, standardised

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_FOLDERS = ("", "raw", "FashionMNIST/raw")
_SUFFIXES = ("", ".gz")
# Byte 3 of an IDX magic number is the type (8 = unsigned byte), byte 4 the number of dimensions.
_MAGIC_UBYTE = 0x0800


class FashionMNIST:
    """70,000 grey 28x28 images of clothes in 10 classes, from IDX files in a local folder.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
    Machine Learning Algorithms", arXiv 1708.07747 (MIT licence). Nothing is downloaded. The
    60,000 training images are split into training and validation; the 10,000 others test. Other
    sets of the same form, such as MNIST, load from their own `root`.

    Args:
        root: Folder with the four files (plain or .gz), as Debian's package dataset-fashion-mnist
            installs them or torchvision keeps them (`root/FashionMNIST/raw`).
        n_train: Training images; None takes all that are not held out.
        n_validation: Images of the training files that are held out for validation.
        split_seed: Seed of the split; validation does not depend on `n_train`.

    Attributes:
        train: Inputs of shape (n_train, 1, 28, 28), standardised, and labels.
        validation: The same for `n_validation` images.
        test: The same for the images of the test files.
        input_shape: (1, 28, 28).
        num_classes: 10.

    Raises:
        ConfigError: If a file is missing, damaged or not what it should be, or a size is not
            possible.
    """

    input_shape: tuple[int, ...]
    num_classes: int = 10
    train: Split
    validation: Split
    test: Split

    def __init__(
        self,
        root: str | Path = "/usr/share/datasets/fashion-mnist",
        *,
        n_train: int | None = None,
        n_validation: int = 5000,
        split_seed: int = 0,
    ) -> None:
        train_images, train_labels, test_images, test_labels = _find_files(Path(root).expanduser())
        known = self._read(train_images, train_labels)
        test = self._read(test_images, test_labels)
        if known.inputs.shape[1:] != test.inputs.shape[1:]:
            raise ConfigError(
                f"The images in {train_images} have the shape {tuple(known.inputs.shape[1:])}, "
                f"those in {test_images} {tuple(test.inputs.shape[1:])}: "
                f"put files of the same data set into one folder."
            )
        self.input_shape = tuple(known.inputs.shape[1:])
        parts = split(
            known.inputs,
            known.labels,
            n_train=n_train,
            n_validation=n_validation,
            n_test=0,
            seed=split_seed,
        )
        self.train, self.validation, self.test = standardised(
            Splits(parts.train, parts.validation, test)
        )

    def _read(self, images_path: Path, labels_path: Path) -> Split:
        """Read one pair of files and check that they fit together."""
        images = _read_idx(images_path, dimensions=3)
        labels = _read_idx(labels_path, dimensions=1).long()
        if len(images) != len(labels):
            raise ConfigError(
                f"{images_path} has {len(images)} images but {labels_path} {len(labels)} labels: "
                f"replace them by a pair of the same data set."
            )
        if int(labels.max()) >= self.num_classes:
            raise ConfigError(
                f"{labels_path} has a label {int(labels.max())}; allowed are 0 to "
                f"{self.num_classes - 1}: replace it by a file of a set with 10 classes."
            )
        return Split(images.unsqueeze(1), labels)


def _find_files(root: Path) -> list[Path]:
    """Find the four files in one of the usual places under `root`."""
    for folder in _FOLDERS:
        found = [
            next((p for s in _SUFFIXES if (p := root / folder / (name + s)).is_file()), None)
            for name in _FILES
        ]
        paths = [path for path in found if path is not None]
        if len(paths) == len(_FILES):
            return paths
    raise ConfigError(
        f"task.root={root} does not hold the Fashion-MNIST files {', '.join(_FILES)} "
        f"(each plain or with .gz): install them with `apt-get install dataset-fashion-mnist`, "
        f"or put them there or into {root / _FOLDERS[-1]}."
    )


def _read_idx(path: Path, dimensions: int) -> torch.Tensor:
    """Read an IDX file of unsigned bytes, as described at http://yann.lecun.com/exdb/mnist.

    Returns:
        A uint8 tensor of the shape that the header gives.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); replace it by a whole copy."
        ) from error
    header = 4 * (1 + dimensions)
    found, *shape = (int.from_bytes(content[at : at + 4], "big") for at in range(0, header, 4))
    magic = _MAGIC_UBYTE + dimensions
    if found != magic:
        raise ConfigError(
            f"{path} starts with the magic number {found:#010x}, but an IDX file of "
            f"{dimensions}-dimensional bytes starts with {magic:#010x}: check that it is the "
            f"file its name says."
        )
    expected = header + math.prod(shape)
    if len(content) != expected or expected == header:
        raise ConfigError(
            f"{path} has {len(content)} bytes, but its header {shape} asks for {expected}: "
            f"it is truncated or damaged; replace it by a whole copy."
        )
    # A bytearray is writable, as torch wants the memory of its tensors.
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header)
    return data.reshape(shape)
