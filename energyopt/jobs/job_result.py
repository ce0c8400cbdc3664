"""The `Outcome` of what a job of any app returned or raised."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from energyopt.core.study_record import Metric, Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import DamagedFileError
from energyopt.utils.disk import as_disk_full
from energyopt.utils.failure import failure_of

_NO_OUTPUT = re.compile(r"has not produced any output \(state: (\w+)\)")
"""Submitit's message about a job that died, in the middle of many lines."""

_DIED = re.compile(r"exit codes of the workers are \{([^}]*)\}")
"""The end of joblib's message about a worker that died."""

_ENDED = ("FINISHED", "FAILED", "COMPLETED")  # states that do not say why

_TEXT = (str, bytes, bytearray, memoryview)

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
    if isinstance(error, DamagedFileError):
        raise error
    full = as_disk_full(error)
    if full is not None:
        raise full
    if isinstance(error, optuna.TrialPruned):
        return Outcome("pruned", reason=str(error) or "pruned by the job")
    if not isinstance(error, BaseException):
        return failed(f"the job ended with {shortened(error)}")
    failure = failure_of(error)
    death = _death(str(error))
    if death is not None:
        return failed(f"the job of the trial ended without an answer ({death})")
    return replace(failed(failure.reason), traceback=failure.traceback)


def traceback_of_job(error: object) -> str:
    """Return the traceback of what a job raised; empty where it was pruned or its process died.

    Unlike `outcome_of_error` it takes a full disk as well: a training may have ended before it.
    """
    if not isinstance(error, BaseException) or isinstance(error, optuna.TrialPruned):
        return ""
    return failure_of(error).traceback if _death(str(error)) is None else ""


def _death(message: str) -> str | None:
    """Return how the process of a job died, as its launcher says it; None if it did not."""
    worker = _DIED.search(message)
    if worker is not None:
        return worker[1]
    output = _NO_OUTPUT.search(message)
    if output is None or output[1] not in _ENDED:
        return output and output[1]
    return f"{output[1]}: it was killed, or ended itself; submitit's logs of it may say more"


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
    if any(map(math.isnan, values)):
        raise InvalidResultError(
            f"{shortened(objectives)}; NaN cannot be compared, so return inf for a diverged "
            "training that is to count as bad"
        )
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
        text = json.dumps({} if attributes is None else dict(attributes), default=_listed)
    except (TypeError, ValueError) as error:
        raise InvalidResultError(
            f"the attributes {shortened(attributes)}; plain data expected"
        ) from error
    plain: dict[str, Any] = json.loads(text)
    return plain


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Return the numbers of a scalar or a sequence of Python, numpy or torch; else None.

    A number is what `float()` takes: also text, a Decimal, an object with `__float__`.
    """
    value = _unpacked(value)
    is_sequence = isinstance(value, Sequence) and not isinstance(value, _TEXT)
    try:
        return tuple(float(_unpacked(item)) for item in (value if is_sequence else [value]))
    except Exception:  # `__float__` of a user's object may raise anything
        return None


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _unpacked(value: Any) -> Any:
    """Return an array or tensor as plain numbers, and anything else as it is.

    An array of one element is that element, whatever its dimensions.
    """
    plain = _listed(value)
    while plain is not value and isinstance(plain, list) and len(plain) == 1:
        (plain,) = plain
    return plain


def shortened(value: object) -> str:
    """Return a value as a short text, for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
