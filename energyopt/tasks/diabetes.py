"""A small real regression, for smoke tests of other metrics than the accuracy."""

from __future__ import annotations

import numpy as np
import torch

from energyopt.core.metric import Monitor
from energyopt.core.protocols import Split
from energyopt.errors import ConfigError
from energyopt.tasks._splits import Splits, sklearn_data_file, split, standardised


class Diabetes:
    """How far diabetes has progressed in a year: 442 people, 10 measurements each.

    From the files in scikit-learn (B. Efron et al., Least Angle Regression, 2004,
    https://doi.org/10.1214/009053604000000067). The labels are standardised, so that the root mean
    square error is in standard deviations: 1 is what predicting the mean gives.

    Args:
        n_train: Training rows; None takes all that are not held out.
        n_validation: Validation rows.
        n_test: Test rows.
        split_seed: Seed of the split; validation and test do not depend on `n_train`.

    Attributes:
        train: Inputs of shape (n_train, 10), standardised, and labels of shape (n_train,).
        validation: `n_validation` rows, likewise.
        test: `n_test` rows, likewise.
        input_shape: (10,).
        num_classes: 1, the number of outputs.

    Raises:
        ConfigError: If scikit-learn's files are missing, or a size is not possible.
    """

    monitor = Monitor("rmse", "min")
    input_shape = (10,)
    num_classes = 1
    train: Split
    validation: Split
    test: Split

    def __init__(
        self,
        *,
        n_train: int | None = None,
        n_validation: int = 88,
        n_test: int = 88,
        split_seed: int = 0,
    ) -> None:
        inputs = _read("diabetes_data_raw.csv.gz")
        labels = _read("diabetes_target.csv.gz")
        parts = split(
            inputs,
            labels,
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            seed=split_seed,
            strata=torch.zeros(len(labels), dtype=torch.int64),  # there are no classes
        )
        deviation, mean = torch.std_mean(parts.train.labels, correction=0)
        self.train, self.validation, self.test = standardised(
            Splits(*(Split(part.inputs, (part.labels - mean) / deviation) for part in parts))
        )


def _read(name: str) -> torch.Tensor:
    """Read a file of scikit-learn with numbers between blanks."""
    path = sklearn_data_file(name)
    try:
        return torch.from_numpy(np.loadtxt(path, dtype=np.float32))
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"The data file {path} cannot be read ({error}); reinstall scikit-learn."
        ) from error
