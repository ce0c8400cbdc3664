"""What a job of any app returned or raised, as an `Outcome`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from energyopt.errors import EnergyoptError
from energyopt.records import Metric, Outcome, TrialResult

_KEYS = ("objectives", "constraints", "attributes")


def outcome_of(returned: object, metrics: Sequence[Metric]) -> Outcome:
    """Read a job's return value.

    Args:
        returned: A number, a sequence of numbers, or a mapping with "objectives" and perhaps
            "constraints" (by name; <= 0 is feasible) and "attributes". Our own app returns
            an `Outcome`.
        metrics: The study's objectives.
    """
    if isinstance(returned, Outcome):
        return returned
    constraints: Any = {}
    attributes: Any = {}
    objectives = returned
    if isinstance(returned, Mapping):
        unknown = [str(key) for key in returned if key not in _KEYS]
        if unknown or "objectives" not in returned:
            return failed(
                f"the job returned a mapping with the keys {', '.join(map(str, returned))}; "
                f"objectives is needed, constraints and attributes are allowed"
            )
        objectives = returned["objectives"]
        constraints = returned.get("constraints") or {}
        attributes = returned.get("attributes") or {}
    values = _numbers(objectives)
    expected = f"{len(metrics)} number{'s' if len(metrics) > 1 else ''}"
    if values is None or len(values) != len(metrics):
        return failed(f"the job returned {_short(objectives)}; {expected} expected")
    if not all(math.isfinite(value) for value in values):
        return failed(f"the job returned {_short(objectives)}, which is not finite")
    violations = _violations(constraints)
    if violations is None:
        return failed(f"the job returned the constraints {_short(constraints)}; numbers expected")
    return Outcome("complete", values, violations, dict(attributes))


def outcome_of_error(error: object) -> Outcome:
    """Read what a job raised: `optuna.TrialPruned` is pruned, all else failed."""
    if isinstance(error, optuna.TrialPruned):
        return Outcome("pruned", reason=str(error) or "pruned by the job")
    words = str(error).strip().splitlines()
    first = words[0] if words else ""
    if isinstance(error, EnergyoptError):
        return failed(first)
    return failed(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def failed(reason: str, result: TrialResult | None = None) -> Outcome:
    """The outcome of a trial that did not come to its end, with what its journal kept."""
    return Outcome("failed", reason=reason, result=result)


def _numbers(value: object) -> tuple[float, ...] | None:
    """The numbers of a scalar or a sequence; numpy's and torch's scalars are numbers too."""
    if isinstance(value, str | bytes) or value is None:
        return None
    items: Sequence[Any] = value if isinstance(value, Sequence) else [value]
    try:
        return tuple(
            float(item if isinstance(item, numbers.Real) else item.item()) for item in items
        )
    except (AttributeError, TypeError, ValueError):
        return None


def _violations(constraints: object) -> dict[str, float] | None:
    if isinstance(constraints, Sequence) and not isinstance(constraints, str):
        constraints = {str(i): value for i, value in enumerate(constraints)}
    if not isinstance(constraints, Mapping):
        return None
    values = _numbers(list(constraints.values()))
    if values is None or any(math.isnan(value) for value in values):
        return None
    return dict(zip(map(str, constraints), values, strict=True))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
