"""The `Outcome` of what a job of any app returned or raised."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from energyopt.core.study_record import Metric, Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import DamagedFileError, DiskFullError, EnergyoptError

_NO_OUTPUT = re.compile(r"has not produced any output \(state: (\w+)\)")
"""Submitit's message about a job that died, in the middle of many lines."""

_KEYS = ("objectives", "constraints", "attributes")


def outcome_of_value(returned: object, metrics: Sequence[Metric]) -> Outcome:
    """Read a job's return value.

    Args:
        returned: A number, a sequence of numbers, or a mapping with "objectives" and perhaps
            "constraints" (by name; <= 0 is feasible) and "attributes". Our own app returns
            an `Outcome`.
        metrics: The study's objectives.
    """
    if isinstance(returned, Outcome):
        return returned
    parts = returned if isinstance(returned, Mapping) else {"objectives": returned}
    try:
        _check_keys(parts)
        return Outcome(
            "complete",
            _values(parts["objectives"], len(metrics)),
            _violations(parts.get("constraints")),
            plain_attributes(parts.get("attributes")),
        )
    except InvalidResultError as error:
        return failed(f"the job returned {error}")


def outcome_of_error(error: object) -> Outcome:
    """Read what a job raised: `optuna.TrialPruned` is pruned, all else failed.

    Raises:
        DamagedFileError: If the machine ended it, by a file that was changed on the disk.
        DiskFullError: If it ended it, since nothing could be written.
    """
    if isinstance(error, DamagedFileError | DiskFullError):
        raise error
    if isinstance(error, optuna.TrialPruned):
        return Outcome("pruned", reason=str(error) or "pruned by the job")
    no_output = _NO_OUTPUT.search(str(error))
    if no_output is not None:
        return failed(f"the job of the trial ended without an answer ({no_output[1]})")
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else ""
    if isinstance(error, EnergyoptError):
        return failed(first)
    return failed(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def failed(reason: str, result: TrialResult | None = None) -> Outcome:
    """Return the outcome of a trial that failed, with the record of its journal."""
    return Outcome("failed", reason=reason, result=result)


class InvalidResultError(ValueError):
    """A job returned something else than an outcome; the message describes it."""


def _check_keys(parts: Mapping[Any, Any]) -> None:
    if "objectives" not in parts or any(key not in _KEYS for key in parts):
        raise InvalidResultError(
            f"a mapping with the keys {', '.join(map(str, parts))}; objectives is needed, "
            "constraints and attributes are allowed"
        )


def _values(objectives: object, count: int) -> tuple[float, ...]:
    values = _numbers(objectives)
    if values is None or len(values) != count:
        expected = f"{count} number{'s' if count > 1 else ''}"
        raise InvalidResultError(f"{shortened(objectives)}; {expected} expected")
    if not all(math.isfinite(value) for value in values):
        raise InvalidResultError(f"{shortened(objectives)}, which is not finite")
    return values


def _violations(constraints: Any) -> dict[str, float]:
    violations = {} if constraints is None else constraints
    if isinstance(violations, Sequence) and not isinstance(violations, str):
        violations = {str(i): value for i, value in enumerate(violations)}
    values = _numbers(list(violations.values())) if isinstance(violations, Mapping) else None
    if values is None or any(math.isnan(value) for value in values):
        raise InvalidResultError(f"the constraints {shortened(constraints)}; numbers expected")
    return dict(zip(map(str, violations), values, strict=True))


def plain_attributes(attributes: Any) -> dict[str, Any]:
    """Return the attributes as plain data that a database can store.

    Raises:
        InvalidResultError: If they are something else.
    """
    try:
        text = json.dumps({} if attributes is None else dict(attributes), default=_unpacked)
    except (TypeError, ValueError) as error:
        raise InvalidResultError(
            f"the attributes {shortened(attributes)}; plain data expected"
        ) from error
    plain: dict[str, Any] = json.loads(text)
    return plain


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Return the numbers of a scalar or a sequence of Python, numpy or torch; else None."""
    value = _unpacked(value)
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    items = [_unpacked(item) for item in (value if is_sequence else [value])]
    if not all(isinstance(item, numbers.Real) for item in items):
        return None
    try:
        return tuple(map(float, items))
    except OverflowError:  # an integer beyond the range of floats
        return None


def _unpacked(value: Any) -> Any:
    """Return an array or tensor as plain numbers, and anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def shortened(value: object) -> str:
    """Return a value as a short text, for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
