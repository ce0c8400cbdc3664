"""Fashion-MNIST from local files: a medium task, also for a GPU."""

from __future__ import annotations

from pathlib import Path

from energyopt.tasks._idx import IDX_EXPECTS, IDX_FILES, read_idx_images
from energyopt.tasks._local_data import LocalData
from energyopt.tasks._splits import DataSet, split_training

_DATA = LocalData(
    name="Fashion-MNIST",
    folders=("", "raw", "FashionMNIST/raw", "fashion-mnist"),
    files=IDX_FILES,
    expects=IDX_EXPECTS,
    page="https://github.com/zalandoresearch/fashion-mnist",
    remedy="install it with `apt-get install dataset-fashion-mnist`, or fetch it",
    installed="/usr/share/datasets/fashion-mnist",
)


class FashionMNIST(DataSet):
    """70,000 grey 28x28 images of clothes in 10 classes, from IDX files in a local folder.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
    Machine Learning Algorithms", arXiv 1708.07747 (MIT licence). Nothing is downloaded. The
    60,000 training images are split into training and validation; the other 10,000 are the test
    part.

    Args:
        root: Folder with the four files (plain or .gz), as installed by Debian's package
            dataset-fashion-mnist or stored by torchvision (`root/FashionMNIST/raw`). None looks in
            ENERGYOPT_DATA, then in that package's folder.
        n_train: Training images; None takes all that are not held out.
        n_validation: Images of the training files that are held out for validation.
        split_seed: Seed of the split; validation does not depend on `n_train`.
    """

    num_classes: int = 10

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        n_train: int | None = None,
        n_validation: int = 5000,
        split_seed: int = 0,
    ) -> None:
        training, test = read_idx_images(_DATA.find(root), self.num_classes)
        self.input_shape = tuple(training.inputs.shape[1:])
        self.train, self.validation, self.test = split_training(
            training, test, n_train=n_train, n_validation=n_validation, seed=split_seed
        )
