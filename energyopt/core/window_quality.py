"""Judgement of the window behind a number: long enough for its meter, and undisturbed?

A number is judged by its own window: energy to the target by the training up to the target, not by
all that was trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from energyopt.core.conditions import CpuDisturbance

if TYPE_CHECKING:
    from energyopt.core.trial_result import Provenance

QUALITY_PERIODS = (50.0, 100.0, 600.0)
"""Length of a training, in update periods of its sensor, from which its energy is poor, short and
ok: 5, 10 and 60 s for the 100 ms of a GPU; see `length_quality`."""
MIN_CPU_S = 10.0
"""CPU time from which an estimate is not too short: start-up and caches still weigh on less."""
MAX_STEAL_SHARE = 0.05
"""Share of the machine's CPU time that its host may take before an estimate is flagged."""
MAX_SWITCHES_HZ = 100.0
"""Involuntary context switches per CPU-second before an estimate is flagged: an undisturbed
training on 2 cores had 5, and over 1000 where three processes shared these cores."""

SHORT_ESTIMATE = "short_estimate"
"""Flag of an estimate from less than `MIN_CPU_S`."""

_MIN_JUDGED_S = 1.0  # of CPU time: in less, a few switches by chance look like a high rate
_CONSTANT = re.compile(r" x ([0-9.e+-]+) W/core$")


def watts_per_core(provenance: Provenance) -> float | None:
    """Return the constant of an estimate by CPU time, in W; None for other meters.

    The name of that meter has held it since the first version.
    """
    match = _CONSTANT.search(provenance.meter) if provenance.kind == "estimated" else None
    return None if match is None else float(match[1])


def energy_unit(provenance: Provenance) -> str | None:
    """Return what a joule of an estimate is made of: "CPU-seconds x 4 W"; None if it was read."""
    watts = watts_per_core(provenance)
    return None if watts is None else f"CPU-seconds x {watts:g} W"


def window_flags(
    training_s: float, cpu_j: float, provenance: Provenance, periods: Sequence[float]
) -> tuple[str, ...]:
    """Return the warnings that a training window is too short for its meter.

    Args:
        training_s: Summed time of the window, in s.
        cpu_j: Its energy of the CPU, in J.
        provenance: The meter.
        periods: See `length_quality`.
    """
    quality = length_quality(training_s, provenance, periods)
    watts = watts_per_core(provenance)
    is_short = watts is not None and cpu_j < MIN_CPU_S * watts
    length = () if quality == "ok" else (f"{quality}_window",)
    return (*length, *((SHORT_ESTIMATE,) if is_short else ()))


def disturbance_flags(disturbance: CpuDisturbance | None) -> tuple[str, ...]:
    """Return the warnings that others took CPU time from a training."""
    if disturbance is None or disturbance.cpu_s < _MIN_JUDGED_S:
        return ()
    stolen = (disturbance.steal_share or 0.0) > MAX_STEAL_SHARE
    crowded = (disturbance.switches_hz or 0.0) > MAX_SWITCHES_HZ
    return (*(("cpu_stolen",) if stolen else ()), *(("cpu_crowded",) if crowded else ()))


def length_quality(
    training_s: float, provenance: Provenance, periods: Sequence[float] = QUALITY_PERIODS
) -> Literal["ok", "short", "poor", "invalid"]:
    """Return whether a training window was long enough for its sensor.

    Quantisation error of one update period at most: period / time. For the 100 ms of a GPU's
    counter that is 2 % after 5 s and 0.2 % after 60 s. Meters without a period are never too short.

    Args:
        training_s: Summed time of the window, in s.
        provenance: The meter, with its sensor's update period.
        periods: Update periods from which it is poor, short and ok.
    """
    poor_s, short_s, ok_s = (count * provenance.resolution_s for count in periods)
    if provenance.resolution_s == 0 or training_s >= ok_s:
        return "ok"
    if training_s >= short_s:
        return "short"
    return "poor" if training_s >= poor_s else "invalid"
