"""Old place of the records: kept for one release, and warns.

Import what is public from `energyopt`, the rest from `energyopt.core`.
"""

from __future__ import annotations

from energyopt.utils.deprecation import deprecated_names

_NAMES_BY_MODULE = {
    "energyopt": ("Energy", "Provenance", "StudyRecord", "TrialResult"),
    "energyopt.core.conditions": ("NOT_MEASURED", "Conditions", "Machine"),
    "energyopt.core.curve": (
        "Checkpoint",
        "Checkpoints",
        "Curve",
        "CurvePoint",
        "checkpoint_from_dict",
    ),
    "energyopt.core.energy": ("total",),
    "energyopt.core.report_settings": ("NONE",),
    "energyopt.core.study_record": ("Confirmation", "Metric", "Outcome", "TrialRecord"),
    "energyopt.core.trial_result": (
        "BROKEN",
        "RAN_ITS_COURSE",
        "End",
        "Kind",
        "Purpose",
        "TrialStart",
        "Window",
        "start_from_dict",
        "window_from_dict",
    ),
    "energyopt.core.window_quality": ("QUALITY_PERIODS", "length_quality"),
}

_RENAMED = {
    "Pause": "energyopt.core.trial_result.PausePoint",
    "Plans": "energyopt.core.report_settings.ReportSettings",
    "Upfront": "energyopt.core.upfront_cost.UpfrontCost",
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
