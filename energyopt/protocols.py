"""Old place of the protocols: kept for one release, and warns.

Import what is public from `energyopt`, the rest from `energyopt.core.protocols`.
"""

from __future__ import annotations

from energyopt.utils.deprecation import deprecated_names

_NAMES_BY_MODULE = {
    "energyopt": (
        "Energy",
        "EnergyMeter",
        "Objective",
        "Paradigm",
        "Provenance",
        "StoppingRule",
        "TrialResult",
    ),
    "energyopt.core.history": ("Progress", "Rivals"),
    "energyopt.core.protocols": (
        "HasHeads",
        "Infers",
        "Knowledge",
        "Pauses",
        "Prepares",
        "Saves",
        "ScoresHeads",
        "Split",
        "Task",
        "Tests",
        "Tokens",
        "WarmsUp",
    ),
    "energyopt.core.study_record": ("Metric",),
}

__getattr__ = deprecated_names(
    __name__,
    {
        **{
            name: f"{module}.{name}" for module, names in _NAMES_BY_MODULE.items() for name in names
        },
        "Trained": "energyopt.TrainStep",
    },
)
