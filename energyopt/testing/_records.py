"""Example records of trials, from a few numbers and without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.trial_result import End, Provenance, TrialResult, TrialStart, Window

EPOCH_SAMPLES = 100
"""Size of the example training set."""

SIMULATED = Provenance(
    kind="simulated",
    meter="example",
    version="1",
    scope="nothing real",
    device="example CPU",
    host="example",
    uncertainty="none: the numbers are made up",
)
"""Provenance of the energies in example records."""

_SAMPLES_PER_STEP = 10
_POWER_W = 2.0


def _energy(energy_j: float) -> Energy:
    return Energy(time_s=energy_j / _POWER_W, cpu_j=energy_j)


def make_result(
    curve: Sequence[tuple[int, float, float]] = (),
    *,
    target: float = 0.9,
    end: End | None = None,
    evaluation_j: float = 0.0,
    warmup_j: float = 0.0,
    flags: tuple[str, ...] = (),
    provenance: Provenance = SIMULATED,
    reason: str = "",
) -> TrialResult:
    """Make a trial's record from its curve, at a power of 2 W.

    Args:
        curve: One (samples so far, training joules so far, accuracy) per evaluation.
        target: Accuracy to reach, in [0, 1].
        end: How the trial ended; by default "target" if the curve reaches it, else "epochs".
        evaluation_j: Energy of each evaluation, in J.
        warmup_j: Energy of the warm-up, in J.
        flags: Warnings about the measuring conditions.
        provenance: Provenance of the energies.
        reason: Why the trial ended, in words.
    """
    checkpoints = []
    previous_j = 0.0
    for samples, training_j, accuracy in curve:
        checkpoints.append(
            Checkpoint(
                samples=samples,
                steps=samples // _SAMPLES_PER_STEP,
                epoch=samples / EPOCH_SAMPLES,
                accuracy=accuracy,
                loss=1 - accuracy,
                training=_energy(training_j - previous_j),
                evaluation=_energy(evaluation_j),
            )
        )
        previous_j = training_j
    windows = [Window("warmup", _energy(warmup_j))]
    windows += [Window("training", checkpoint.training) for checkpoint in checkpoints]
    windows += [Window("evaluation", checkpoint.evaluation) for checkpoint in checkpoints]
    reached = any(accuracy >= target for _, _, accuracy in curve)
    epochs = curve[-1][0] / EPOCH_SAMPLES if curve else 1.0
    return TrialResult.assemble(
        TrialStart(target, epochs, seed=0, provenance=provenance, flags=flags),
        windows,
        checkpoints,
        end or ("target" if reached else "epochs"),
        reason,
    )


EXAMPLE_RESULTS: Mapping[str, TrialResult] = MappingProxyType(
    {
        "reached": make_result([(100, 2, 0.5), (200, 4, 0.95)]),
        "reached at once": make_result([(100, 2, 0.95)]),
        "went on": make_result([(100, 2, 0.95), (200, 4, 0.97)], end="plateau"),
        "missed": make_result([(100, 2, 0.5), (200, 4, 0.6)]),
        "diverged after the target": make_result([(100, 2, 0.95), (200, 4, 0.1)], end="diverged"),
    }
)
"""Records of trials that have objective values, by what happened; the target is 0.9."""
