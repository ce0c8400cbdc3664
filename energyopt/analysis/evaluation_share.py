"""Ratios of energy with and without evaluation, where evaluation is no small part.

The objective is the energy of training alone. A loop that evaluates often, or on much data, needs
more than that, and evaluation may decide which configuration is cheaper.
"""

from __future__ import annotations

from energyopt.core.curve import CurvePoint
from energyopt.core.trial_result import TrialResult

NOTABLE_SHARE = 0.2
"""Share of the energy of training from which evaluation is shown as well."""


def evaluation_to_j(result: TrialResult, point: CurvePoint) -> float:
    """Return the energy of the evaluations up to a point of a curve, that one included, in J."""
    return sum(result.checkpoints.evaluation.total_j[: point.index + 1])


def is_notable(evaluation_j: float, training_j: float) -> bool:
    """Return True if evaluation costs more than a fifth of training."""
    return evaluation_j > NOTABLE_SHARE * training_j
