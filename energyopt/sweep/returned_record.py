"""The record of a job of another app without a `Run`: of the attributes that it returned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.metric import Monitor
from energyopt.core.number_checks import is_number
from energyopt.core.outcome import outcome_of, outcome_of_paused
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import Provenance, TrialResult, TrialStart, Window
from energyopt.hardware.host import device_model, hostname
from energyopt.jobs.job_result import InvalidResultError, failed, plain_attributes, shortened
from energyopt.objectives import EnergyVsAccuracy
from energyopt.sweep.training_goal import TrainingGoal

_HIT, _SPENT, _CURVE = "energy_to_target_j", "spent_j", "curve"


def returned_record(
    attributes: Mapping[str, Any], goal: TrainingGoal | None, time_s: float
) -> TrialResult | None:
    """Return the record that the attributes of a return value describe.

    Args:
        attributes: `curve`, a mapping with `joules` from the first step, the values of the metric
            as `accuracy` or under its name, and perhaps `epochs`; `spent_j` and
            `energy_to_target_j`, in J; `meter` and `provenance`, which say where they are from.
        goal: The goal of the study; None in one of returned values.
        time_s: How long the job took, in s; split in proportion to the energy.

    Returns:
        None without any of the first three.

    Raises:
        InvalidResultError: If one of them is not what it should be.
    """
    if not any(attributes.get(key) is not None for key in (_HIT, _SPENT, _CURVE)):
        return None
    hit_j, spent_j = (_joules(attributes, key) for key in (_HIT, _SPENT))
    monitor = goal.monitor if goal is not None else Monitor()
    joules, values, epochs = _columns(attributes.get(_CURVE), monitor)
    if not joules and hit_j is not None and goal is not None:
        joules, values, epochs = [hit_j], [goal.target], [goal.epochs]
    training_j = joules[-1] if joules else (spent_j or 0.0)
    spent_j = max(training_j, spent_j or 0.0)
    s_per_j = time_s / spent_j if spent_j else 0.0
    target = goal.target if goal is not None else _target(joules, values, hit_j, monitor)
    start = TrialStart(
        target=target,
        epochs=goal.epochs if goal is not None else max(epochs, default=1.0),
        seed=0,
        provenance=_provenance(attributes),
        monitor=monitor,
    )
    windows = [Window("training", _energy(training_j, s_per_j))]
    if spent_j > training_j:
        windows.append(Window("evaluation", _energy(spent_j - training_j, s_per_j)))
    return TrialResult.assemble(
        start, windows, _checkpoints(joules, values, epochs, s_per_j), "epochs", "as the job says"
    )


def with_returned_record(outcome: Outcome, time_s: float) -> Outcome:
    """Add the record that the attributes of a returned outcome describe, if they do."""
    if outcome.state != "complete":
        return outcome
    try:
        record = returned_record(outcome.attributes, None, time_s)
    except InvalidResultError as error:
        return failed(f"the job returned {error}")
    if record is None:
        return outcome
    attributes = _attributes(record, outcome.attributes)
    return replace(outcome, attributes=attributes, result=record)


def outcome_of_attributes(value: object, goal: TrainingGoal, time_s: float) -> Outcome:
    """Return the outcome of a job without a `Run`, whose study has a goal."""
    returned = value.get("attributes") if isinstance(value, Mapping) else None
    try:
        attributes = plain_attributes(returned)
        record = returned_record(attributes, goal, time_s)
    except InvalidResultError as error:
        return failed(f"the job returned {error}")
    if record is None:
        return failed(
            "the job made no energyopt.Run, and returned none of the attributes curve, "
            "energy_to_target_j and spent_j; do one of them, or give another "
            "hydra.sweeper.study_name and state no target"
        )
    outcome = outcome_of(record, EnergyVsAccuracy(goal.monitor))
    return replace(outcome, attributes=_attributes(record, attributes))


def _attributes(record: TrialResult, returned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a trial: those of its record, and what else was returned."""
    return {**returned, **outcome_of_paused(record).attributes, "end": record.end}


def _checkpoints(
    joules: Sequence[float], values: Sequence[float], epochs: Sequence[float], s_per_j: float
) -> list[Checkpoint]:
    steps_j = [end_j - start_j for start_j, end_j in itertools.pairwise([0.0, *joules])]
    return [
        Checkpoint(
            samples=None,
            steps=None,
            epoch=epoch,
            accuracy=value,
            loss=None,
            training=_energy(step_j, s_per_j),
            evaluation=Energy(),
            index=index,
        )
        for index, (step_j, value, epoch) in enumerate(zip(steps_j, values, epochs, strict=True))
    ]


def _columns(
    curve: Any, monitor: Monitor
) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """Return energies, values and epochs of the points of a curve; empty without one."""
    if curve is None:
        return [], [], []
    is_mapping = isinstance(curve, Mapping)
    joules = curve.get("joules") if is_mapping else None
    values = curve.get(monitor.name, curve.get("accuracy")) if is_mapping else None
    epochs = curve.get("epochs") if is_mapping else None
    if epochs is None and isinstance(joules, Sequence):
        epochs = [float(i + 1) for i in range(len(joules))]
    columns: tuple[Any, Any, Any] = (joules, values, epochs)
    if not all(isinstance(column, list) and all(map(is_number, column)) for column in columns):
        raise InvalidResultError(
            f"the curve {shortened(curve)}; a mapping with lists of numbers is expected: joules, "
            f"{monitor.name} (another metric is stated as hydra.sweeper.monitor) and perhaps epochs"
        )
    rises = all(a < b for a, b in itertools.pairwise([0.0, *columns[0]]))
    if len({len(column) for column in columns}) > 1 or not rises:
        raise InvalidResultError(
            f"the curve {shortened(curve)}; its lists need one length, and its "
            "joules are those from the first step on: above 0, and rising"
        )
    return columns


def _joules(attributes: Mapping[str, Any], key: str) -> float | None:
    value = attributes.get(key)
    if value is None:
        return None
    if not is_number(value) or value <= 0:
        raise InvalidResultError(f"{key}={shortened(value)}; a number of joules is expected")
    return float(value)


def _target(
    joules: Sequence[float], values: Sequence[float], hit_j: float | None, monitor: Monitor
) -> float:
    """Return the value that was reached with an energy; the best one without an energy."""
    if hit_j is not None:
        reached = [v for j, v in zip(joules, values, strict=True) if j >= hit_j]
        values = reached[:1] or values
    best = monitor.best(values)
    return 1.0 if best is None else best


def _provenance(attributes: Mapping[str, Any]) -> Provenance:
    is_measured = attributes.get("provenance") == "measured"
    return Provenance(
        kind="measured" if is_measured else "estimated",
        meter=str(attributes.get("meter", "the job itself")),
        version="",
        scope="what the job says",
        device=device_model("cpu"),
        host=hostname(),
        uncertainty="not known",
    )


def _energy(energy_j: float, s_per_j: float) -> Energy:
    return Energy(energy_j * s_per_j, cpu_j=energy_j)
