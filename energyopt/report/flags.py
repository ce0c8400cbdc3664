"""Warnings about measuring conditions: a short word on each row, and here what to do."""

from __future__ import annotations

from collections.abc import Mapping

_TOO_SHORT = (
    "the trial trained {} of its sensor's update periods, so its joules are {}; train longer (a "
    "larger task, more epochs, a higher target) or compare means over several seeds"
)
REMEDIES: Mapping[str, str] = {
    "gpu_meter_cpu_training": (
        "the meter reads a GPU, but the CPU trains: these are not the joules of the training; "
        "choose hardware=auto, or device=cuda"
    ),
    "estimate_misses_gpu": (
        "a GPU trains, but the estimate counts CPU time alone; choose hardware=auto"
    ),
    "short_window": _TOO_SHORT.format("100 to 600", "good to about 2 %"),
    "poor_window": _TOO_SHORT.format("50 to 100", "good to a few percent"),
    "invalid_window": _TOO_SHORT.format("fewer than 50", "rough"),
}


def explain_flag(flag: str) -> str:
    """What a flag means and what to do about it; a user's own flag is said as it is."""
    return f"{flag}: {REMEDIES[flag]}" if flag in REMEDIES else flag
