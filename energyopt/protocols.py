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
    "energyopt.core.protocols": ("Split", "Task", "Tokens"),
    "energyopt.core.study_record": ("Metric",),
}

_RENAMED = {
    "HasHeads": "energyopt.core.protocols.MultiHeadTask",
    "Infers": "energyopt.core.protocols.SupportsInference",
    "Knowledge": "energyopt.core.protocols.PretrainedModel",
    "Pauses": "energyopt.core.protocols.SupportsPause",
    "Prepares": "energyopt.core.protocols.SupportsPrepare",
    "Progress": "energyopt.core.history.TrialProgress",
    "Rivals": "energyopt.core.history.StudyHistory",
    "Saves": "energyopt.core.protocols.SupportsSave",
    "ScoresHeads": "energyopt.core.protocols.SupportsHeads",
    "Tests": "energyopt.core.protocols.SupportsTest",
    "Trained": "energyopt.TrainStep",
    "WarmsUp": "energyopt.core.protocols.SupportsWarmUp",
}

__getattr__ = deprecated_names(
    __name__,
    {
        **{
            name: f"{module}.{name}" for module, names in _NAMES_BY_MODULE.items() for name in names
        },
        **_RENAMED,
    },
)
