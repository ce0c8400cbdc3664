"""The short names of Optuna's pruners, for other Hydra apps.

The Hydra plugin imports it at every start of every Hydra app, so it uses the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STARTUP = {"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1}

PRUNERS: Mapping[str, Mapping[str, Any]] = {
    "median": {"_target_": "optuna.pruners.MedianPruner", **_STARTUP},
    "percentile": {"_target_": "optuna.pruners.PercentilePruner", "percentile": 25.0, **_STARTUP},
    "successive_halving": {
        "_target_": "optuna.pruners.SuccessiveHalvingPruner",
        "min_resource": "auto",
        "reduction_factor": 4,
        "min_early_stopping_rate": 0,
        "bootstrap_count": 0,
    },
    "hyperband": {
        "_target_": "optuna.pruners.HyperbandPruner",
        "min_resource": 1,
        "max_resource": "auto",
        "reduction_factor": 3,
        "bootstrap_count": 0,
    },
    "patient": {
        "_target_": "optuna.pruners.PatientPruner",
        "wrapped_pruner": {"_target_": "optuna.pruners.MedianPruner", **_STARTUP},
        "patience": 1,
        "min_delta": 0.0,
    },
    "threshold": {
        "_target_": "optuna.pruners.ThresholdPruner",
        "lower": None,
        "upper": None,
        "n_warmup_steps": 0,
        "interval_steps": 1,
    },
    "wilcoxon": {
        "_target_": "optuna.pruners.WilcoxonPruner",
        "p_threshold": 0.1,
        "n_startup_steps": 2,
    },
    "nop": {"_target_": "optuna.pruners.NopPruner"},
}
"""The choices of `hydra/sweeper/pruner=NAME`, with the options of each class and their defaults."""


def pruner_name(pruner: str | Mapping[str, Any]) -> str:
    """Return the short name of a pruner, or the name of a class that has none."""
    if isinstance(pruner, str):
        return pruner
    target = str(pruner.get("_target_"))
    names = (name for name, node in PRUNERS.items() if node["_target_"] == target)
    return next(names, target.rpartition(".")[2])
