"""Handwritten digits, 8x8: small and real, the default task."""

from __future__ import annotations

from energyopt.protocols import Split
from energyopt.tasks._splits import read_table, sklearn_data_file, split, standardised


class Digits:
    """1797 grey 8x8 images of the digits 0 to 9, from the file in scikit-learn.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49 (its test set). By default 1348
    images train, 225 validate and 224 test.

    Args:
        n_train: Training images; None takes all that are not held out.
        n_validation: Validation images.
        n_test: Test images.
        split_seed: Seed of the split; validation and test do not depend on `n_train`. Of the seeds
            0 to 9, 1 is a typical one and 0 has unusually hard validation images.

    Attributes:
        train: Inputs of shape (n_train, 1, 8, 8), standardised, and labels.
        validation: The same for `n_validation` images.
        test: The same for `n_test` images.
        input_shape: (1, 8, 8).
        num_classes: 10.

    Raises:
        ConfigError: If scikit-learn's file is missing or a size is not possible.
    """

    input_shape: tuple[int, ...] = (1, 8, 8)
    num_classes: int = 10
    train: Split
    validation: Split
    test: Split

    def __init__(
        self,
        *,
        n_train: int | None = None,
        n_validation: int = 225,
        n_test: int = 224,
        split_seed: int = 1,
    ) -> None:
        pixels, labels = read_table(sklearn_data_file("digits.csv.gz"))
        parts = split(
            pixels.reshape(-1, *self.input_shape),
            labels,
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            seed=split_seed,
        )
        self.train, self.validation, self.test = standardised(parts)
