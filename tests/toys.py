"""Small records for tests: trials and studies from a few numbers, without any training.

    lr_01 = trial(0, result([(100, 2, 0.7), (200, 4, 0.9)]), params={"lr": 0.1})
    toy = study([lr_01], target=0.9)

Joules are whole or dyadic numbers in most tests: they survive the sums along a curve exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from energyopt.records import (
    BROKEN,
    Checkpoint,
    End,
    Energy,
    Metric,
    Provenance,
    StudyRecord,
    TrialRecord,
    TrialResult,
    TrialStart,
    Window,
)

EPOCH_SAMPLES = 100
"""Size of the toy training set."""

ESTIMATED = Provenance(
    kind="estimated",
    meter="cpu-time 4 W/core",
    version="energyopt 0.1.0",
    scope="CPU package",
    device="Toy CPU",
    host="toy",
    uncertainty="a constant power: good for comparing, not as absolute joules",
)

METRICS = (Metric("energy_to_target_j", "minimize"), Metric("best_accuracy", "maximize"))

State = Literal["complete", "pruned", "failed", "running", "waiting"]


def result(
    curve: Sequence[tuple[int, float, float]] = (),
    *,
    target: float = 0.9,
    end: End | None = None,
    evaluation_j: float = 0.0,
    warmup_j: float = 0.0,
    flags: tuple[str, ...] = (),
    provenance: Provenance = ESTIMATED,
    reason: str = "",
) -> TrialResult:
    """Make a trial's record from its curve.

    Args:
        curve: One (samples so far, training joules so far, accuracy) an evaluation.
        target: Accuracy to reach.
        end: How it ended; "target" if the curve reaches it, else "epochs".
        evaluation_j: Energy of each evaluation, in J.
        warmup_j: Energy of the warm-up, in J.
        flags: Warnings about the measuring conditions.
        provenance: Where the joules come from.
        reason: Why it ended, in words.

    Training takes 1 s for every 2 J.
    """
    checkpoints = []
    before_j = 0.0
    for samples, so_far_j, accuracy in curve:
        training_j = so_far_j - before_j
        before_j = so_far_j
        checkpoints.append(
            Checkpoint(
                samples=samples,
                steps=samples // 10,
                epoch=samples / EPOCH_SAMPLES,
                accuracy=accuracy,
                loss=1 - accuracy,
                training=Energy(time_s=training_j / 2, cpu_j=training_j),
                evaluation=Energy(time_s=evaluation_j / 2, cpu_j=evaluation_j),
            )
        )
    windows = [Window("warmup", Energy(time_s=warmup_j / 2, cpu_j=warmup_j))]
    windows += [Window("training", at.training) for at in checkpoints]
    windows += [Window("evaluation", at.evaluation) for at in checkpoints]
    reached = any(accuracy >= target for _, _, accuracy in curve)
    epochs = curve[-1][0] / EPOCH_SAMPLES if curve else 1.0
    return TrialResult.assemble(
        TrialStart(target, epochs, seed=0, provenance=provenance, flags=flags),
        windows,
        checkpoints,
        end or ("target" if reached else "epochs"),
        reason,
    )


def trial(
    number: int,
    of: TrialResult | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    state: State | None = None,
    default: bool = False,
    overrides: tuple[str, ...] | None = None,
) -> TrialRecord:
    """Make a trial as the store would remember it.

    Args:
        number: Its number.
        of: Its record; without one it is still running, unless `state` says otherwise.
        params: What the sampler chose; `{"lr": (number + 1) / 100}` if not given.
        state: Its state; follows from the record if not given.
        default: Whether it is the default setup.
        overrides: Its command-line words; they follow from `params` if not given.
    """
    params = {"lr": (number + 1) / 100} if params is None else params
    state = state or _state(of)
    told = state == "complete" and of is not None
    return TrialRecord(
        number=number,
        state=state,
        params=params,
        overrides=overrides or tuple(f"{key}={value}" for key, value in params.items()),
        values=_values(of) if told and of is not None else (),
        feasible=of is None or of.reached,
        reason="" if of is None else of.reason,
        default=default,
        result=of,
    )


def study(
    trials: Iterable[TrialRecord] = (),
    *,
    target: float | None = 0.9,
    name: str = "toy",
    overrides: tuple[str, ...] = (),
    metrics: tuple[Metric, ...] = METRICS,
) -> StudyRecord:
    """Make a study of some trials."""
    return StudyRecord(
        name=name,
        metrics=metrics,
        overrides=overrides,
        sweep=("lr=interval(0,1)",),
        target=target,
        trials=tuple(trials),
    )


def _state(of: TrialResult | None) -> State:
    if of is None:
        return "running"
    if of.end in BROKEN:
        return "failed"
    return "pruned" if of.end in {"stopped", "diverged"} and not of.reached else "complete"


def _values(of: TrialResult) -> tuple[float, float]:
    energy_j = of.energy_to_target_j
    return (of.training_j if energy_j is None else energy_j, of.best_accuracy)
