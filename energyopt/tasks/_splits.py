"""Splitting and standardising of data, checks of options, and scikit-learn's data files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from energyopt.core.number_checks import is_number, is_whole_number
from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._labels import LabelSelection


class Splits(NamedTuple):
    """The three parts of a data set."""

    train: Split
    validation: Split
    test: Split


class DataSet:
    """Base of the tasks that hold a data set in memory; see `core.protocols.Task`.

    Constructors raise `ConfigError` if a file is missing or damaged, or an option is not possible.

    Attributes:
        train: Inputs of shape (samples, *input_shape) and labels, as `validation` and `test`. Other
            inputs than `Tokens` are standardised per channel by the training part.
        num_classes: Number of classes; the sum of all heads' classes.
        heads: Number of classes of each head, by name; only if there are several.
    """

    train: Split
    validation: Split
    test: Split
    input_shape: Sequence[int]
    num_classes: int
    heads: Mapping[str, int]

    def _set_heads(self, selection: LabelSelection) -> None:
        self.num_classes = selection.num_classes
        if selection.is_multi_head:
            self.heads = selection.heads


def check_int(name: str, value: object, minimum: int) -> None:
    """Check a whole-number option.

    Raises:
        ConfigError: If `value` is not an int of at least `minimum`.
    """
    if not is_whole_number(value, minimum):
        raise ConfigError(f"task.{name}={value} must be a whole number of at least {minimum}.")


def check_share(name: str, value: object, below: float) -> None:
    """Check an option that is a share of a whole.

    Raises:
        ConfigError: If `value` is not a number above 0 and below `below`.
    """
    if not is_number(value) or not 0 < value < below:
        raise ConfigError(f"task.{name}={value} must be a number above 0 and below {below:g}.")


def check_selection(
    name: str, values: object, allowed: Sequence[object], minimum: int = 1, *, or_null: bool = False
) -> None:
    """Check an option that is a list of some of the allowed values.

    Raises:
        ConfigError: If it is not a list, is too short, or has other values or one twice.
    """
    selection = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    options = [(type(option), option) for option in allowed]  # True == 1 in Python
    are_allowed = all((type(value), value) in options for value in selection)
    if not are_allowed or len(selection) < minimum:
        null = ", or null for all" if or_null else ""
        raise ConfigError(
            f"task.{name}={values} must be a list of at least {minimum} of "
            f"{', '.join(map(str, allowed))}{null}."
        )
    if len(set(selection)) < len(selection):
        raise ConfigError(f"task.{name}={values} names one twice: name each once.")


def sklearn_data_file(name: str) -> Path:
    """Find a file of `sklearn/datasets/data` without importing scikit-learn (1.3 s).

    Raises:
        ConfigError: If scikit-learn or the file is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder, "datasets", "data", name)
        if path.is_file():
            return path
    package = f"the installed scikit-learn ({', '.join(folders)})" if folders else "scikit-learn"
    raise ConfigError(
        f"The data file datasets/data/{name} of {package} was not found; "
        f"install it with `pip install scikit-learn`."
    )


def read_table(
    path: Path, header_rows: int = 0, package: str = "scikit-learn"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a comma-separated file, gzipped or not, with the class in its last column.

    Returns:
        Float values of shape (rows, columns - 1) and int64 labels of shape (rows,).

    Raises:
        ConfigError: If the file, which `package` contains, is no table of numbers.
    """
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=header_rows, dtype=np.float32, ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"The data file {path} cannot be read ({error}); reinstall {package}."
        ) from error
    return torch.from_numpy(table[:, :-1].copy()), torch.from_numpy(table[:, -1].astype(np.int64))


def split(
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    n_train: int | None,
    n_validation: int,
    n_test: int,
    seed: int,
    strata: torch.Tensor | None = None,
) -> Splits:
    """Shuffle and split a data set, stratified by class.

    Validation and test depend only on the seed and their sizes, never on `n_train`, so that
    accuracies from different amounts of training data are comparable.

    Args:
        inputs: All samples, of shape (samples, ...).
        labels: Their classes, of shape (samples,) or (samples, heads).
        n_train: Training samples; None takes all that are not held out.
        n_validation: Validation samples.
        n_test: Test samples; 0 leaves that part empty.
        seed: Seed of the shuffle.
        strata: Classes to stratify by, of shape (samples,); None takes `labels`.

    Raises:
        ConfigError: If a size or the seed is not possible.
    """
    check_int("n_validation", n_validation, 1)
    check_int("n_test", n_test, 0)
    check_int("split_seed", seed, 0)
    held_out = n_test + n_validation
    available = len(labels) - held_out
    if available < 1:
        raise ConfigError(
            f"task.n_validation={n_validation} and n_test={n_test} leave none of the "
            f"{len(labels)} samples to train on: choose fewer."
        )
    if n_train is None:
        n_train = available
    check_int("n_train", n_train, 1)
    if n_train > available:
        raise ConfigError(
            f"task.n_train={n_train} is more than the {available} of {len(labels)} samples that "
            f"are not held out: choose at most {available}, or null for all."
        )
    generator = np.random.default_rng(seed)
    order = stratified_order((labels if strata is None else strata).numpy(), generator)

    def take(start: int, stop: int) -> Split:
        indices = torch.from_numpy(generator.permutation(order[start:stop]))
        return Split(inputs[indices], labels[indices])

    # Training is drawn last: its size must not change the random numbers of the others.
    test = take(0, n_test)
    validation = take(n_test, held_out)
    return Splits(take(held_out, held_out + n_train), validation, test)


def split_training(
    training: Split, test: Split, *, n_train: int | None, n_validation: int, seed: int
) -> Splits:
    """Split a data set's training part as `split` does, keep its test part, and standardise."""
    parts = split(
        training.inputs,
        training.labels,
        n_train=n_train,
        n_validation=n_validation,
        n_test=0,
        seed=seed,
    )
    return standardised(Splits(parts.train, parts.validation, test))


def stratified_order(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]], generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return indices of samples, so ordered that each range holds all classes in proportion."""
    # The members of each class are spread evenly over [0, 1), each with a random offset.
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(position, kind="stable")


def standardised(parts: Splits) -> Splits:
    """Scale all parts to mean 0 and standard deviation 1 per channel or feature (dimension 1).

    The statistics are those of the training part. A constant channel becomes 0. Inputs may have any
    dtype, and become float32.
    """
    train = parts.train.inputs.float()
    dims = [dim for dim in range(train.ndim) if dim != 1]
    deviation, mean = torch.std_mean(train, dim=dims, correction=0, keepdim=True)
    deviation[deviation == 0] = 1.0

    def scale(part: Split) -> Split:
        # The subtraction creates a new tensor, so the division can work in place.
        return Split((part.inputs.float() - mean).div_(deviation), part.labels)

    return Splits(*(scale(part) for part in parts))
