"""What a job of any app returned or raised, as an `Outcome`."""

from __future__ import annotations

import json
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
    constraints: object = None
    attributes: object = None
    objectives = returned
    if isinstance(returned, Mapping):
        unknown = [str(key) for key in returned if key not in _KEYS]
        if unknown or "objectives" not in returned:
            return failed(
                f"the job returned a mapping with the keys {', '.join(map(str, returned))}; "
                f"objectives is needed, constraints and attributes are allowed"
            )
        objectives = returned["objectives"]
        constraints, attributes = returned.get("constraints"), returned.get("attributes")
    values = _numbers(objectives)
    expected = f"{len(metrics)} number{'s' if len(metrics) > 1 else ''}"
    if values is None or len(values) != len(metrics):
        return failed(f"the job returned {_short(objectives)}; {expected} expected")
    if not all(math.isfinite(value) for value in values):
        return failed(f"the job returned {_short(objectives)}, which is not finite")
    violations = _violations({} if constraints is None else constraints)
    if violations is None:
        return failed(f"the job returned the constraints {_short(constraints)}; numbers expected")
    plain = _plain({} if attributes is None else attributes)
    if plain is None:
        return failed(f"the job returned the attributes {_short(attributes)}; plain data expected")
    return Outcome("complete", values, violations, plain)


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
    """The numbers of a scalar or a sequence, be they Python's, numpy's or torch's."""
    value = _unpacked(value)
    is_many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    items = [_unpacked(item) for item in (value if is_many else [value])]
    if not all(isinstance(item, numbers.Real) for item in items):
        return None
    try:
        return tuple(map(float, items))
    except OverflowError:  # a whole number beyond all floats
        return None


def _unpacked(value: Any) -> Any:
    """An array or tensor of numpy, torch and their like as plain numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


def _violations(constraints: object) -> dict[str, float] | None:
    if isinstance(constraints, Sequence) and not isinstance(constraints, str):
        constraints = {str(i): value for i, value in enumerate(constraints)}
    if not isinstance(constraints, Mapping):
        return None
    values = _numbers(list(constraints.values()))
    if values is None or any(math.isnan(value) for value in values):
        return None
    return dict(zip(map(str, constraints), values, strict=True))


def _plain(attributes: object) -> dict[str, Any] | None:
    """What a database can keep of them."""
    if not isinstance(attributes, Mapping):
        return None
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(attributes), default=_unpacked))
    except (TypeError, ValueError):
        return None
    return plain


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
