"""Two small real tables that train in well under a second: for smoke tests and first tries."""

from __future__ import annotations

from typing import Literal

from energyopt.errors import ConfigError
from energyopt.tasks._splits import DataSet, read_table, sklearn_data_file, split, standardised

_FILES = {"wine": "wine_data.csv", "breast_cancer": "breast_cancer.csv"}


class Tabular(DataSet):
    """A table of measurements with one class per row, from the files in scikit-learn.

    "wine": 178 wines, 13 chemical measurements, 3 cultivars (S. Aeberhard, M. Forina, UCI
    Machine Learning Repository, https://doi.org/10.24432/C5PC7J). "breast_cancer": 569 tumours,
    30 features of cell nuclei, malignant (0) or benign (1) (W. Wolberg et al., UCI Machine
    Learning Repository, https://doi.org/10.24432/C5DW2B).

    Args:
        name: "wine" or "breast_cancer".
        n_train: Training rows; None takes all that are not held out.
        n_validation: Validation rows.
        n_test: Test rows.
        split_seed: Seed of the split; validation and test do not depend on `n_train`.
    """

    def __init__(
        self,
        name: Literal["wine", "breast_cancer"],
        *,
        n_train: int | None = None,
        n_validation: int = 36,
        n_test: int = 36,
        split_seed: int = 0,
    ) -> None:
        if name not in _FILES:
            raise ConfigError(f"task.name={name} is unknown: choose {' or '.join(_FILES)}.")
        features, labels = read_table(sklearn_data_file(_FILES[name]), header_rows=1)
        self.input_shape = (features.shape[1],)
        self.num_classes = int(labels.max()) + 1
        parts = split(
            features,
            labels,
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            seed=split_seed,
        )
        self.train, self.validation, self.test = standardised(parts)
