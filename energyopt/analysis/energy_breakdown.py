"""The energy of a study by use and by device; each joule counts once.

The joules of `break_even.energy_by_purpose_j` and `energy_by_outcome_j`, split by both: training
counts by the outcome of its trial, everything else by its purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from energyopt.analysis.summary import trial_outcome
from energyopt.core.energy import Energy, total
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Purpose, TrialResult

Use = Literal[
    "useful",
    "beyond",
    "missed",
    "stopped",
    "failed",
    "lost",
    "open",
    "evaluation",
    "profiling",
    "knowledge",
    "around",
    "confirming",
    "other",
]
"""A use of energy."""

USES: Mapping[Use, str] = {
    "useful": "training up to the target",
    "beyond": "training beyond the target",
    "missed": "training that missed the target",
    "stopped": "training that was stopped early",
    "failed": "training that failed",
    "lost": "training that was lost",
    "open": "training that is not over",
    "evaluation": "evaluation",
    "profiling": "trying power limits",
    "knowledge": "sources, teachers and their passes",
    "around": "loading, warm-up, rest and restarts",
    "confirming": "confirming setups with more seeds",
    "other": "other: imports, checks, sampler, starting processes, GPUs between trainings",
}
"""Uses in words, in the order in which they are shown."""

DEVICES: Mapping[str, str] = {"gpu_j": "GPU", "cpu_j": "CPU", "dram_j": "memory"}
"""Names of the parts of an energy."""

_PURPOSES: Mapping[Purpose, Use] = {
    "evaluation": "evaluation",
    "profiling": "profiling",
    "pretraining": "knowledge",
    "preparation": "knowledge",
}
_ROUNDING = 1e-9  # share of a sum: bound of the rounding errors of differences


def trial_uses(trial: TrialRecord, target: float | None) -> dict[Use, Energy]:
    """Return the energy of a trial by use; it adds up to `spent_j`.

    Args:
        trial: The trial.
        target: Accuracy to reach; None if all training is useful.
    """
    result = trial.result
    if result is None:
        return {}
    uses: dict[Use, Energy] = dict(_training_uses(trial, result, target))
    for purpose, energy in result.books.items():
        if purpose != "training":
            use = _PURPOSES.get(purpose, "around")
            uses[use] = uses.get(use, Energy()) + energy
    return _in_order(uses)


def study_uses(study: StudyRecord, target: float | None) -> dict[Use, Energy]:
    """Return the energy of all trials and confirmations by use; it adds up to `search_energy_j`."""
    uses: dict[Use, Energy] = {}
    for trial in study.trials:
        for use, energy in trial_uses(trial, target).items():
            uses[use] = uses.get(use, Energy()) + energy
    results = [c.result for c in study.confirmations if c.result is not None]
    if results:
        uses["confirming"] = total(e for result in results for e in result.books.values())
    if study.other is not None:
        uses["other"] = study.other
    return _in_order(uses)


def devices_j(uses: Mapping[Use, Energy]) -> dict[str, float]:
    """Return the energy by device, in J; a device that was never metered is left out."""
    energy = total(uses.values())
    parts = ((name, getattr(energy, part)) for part, name in DEVICES.items())
    return {name: part_j for name, part_j in parts if part_j is not None}


def _training_uses(
    trial: TrialRecord, result: TrialResult, target: float | None
) -> list[tuple[Use, Energy]]:
    trained = result.booked("training")
    if target is None:
        return [("useful" if result.valid else _use_of(trial, target), trained)]
    hit = result.first_at(target) if result.valid else None
    if hit is None:
        return [(_use_of(trial, target), trained)]
    useful = total(result.checkpoints.training[i] for i in range(hit.index + 1))
    surplus = trained - useful
    if abs(surplus.total_j) <= _ROUNDING * trained.total_j:
        return [("useful", trained)]
    return [("useful", useful), ("beyond", surplus)]


def _use_of(trial: TrialRecord, target: float | None) -> Use:
    outcome = trial_outcome(trial, target)
    return "open" if outcome is None or outcome == "reached" else outcome


def _in_order(uses: Mapping[Use, Energy]) -> dict[Use, Energy]:
    return {use: uses[use] for use in USES if use in uses and uses[use].total_j}
