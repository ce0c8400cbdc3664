"""Check plain data against `schema.json`, the JSON Schema of an exported study.

Exports may be hostile or huge. So checking stops at the first error, no message repeats all of the
data, and of a column of numbers only the extremes are checked.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from energyopt.core.number_checks import is_number

if TYPE_CHECKING:
    from jsonschema import ValidationError

Part = Literal["study", "trial", "confirmation"]
"""A definition of the schema: a file, or the lines of one."""

Problem = tuple[str, str]
"""A key and the message that says what is wrong with it."""

Validator = Any  # of jsonschema, whose stubs lack `descend`

_LIMITS = {
    "minimum": "below {}",
    "maximum": "above {}",
    "minLength": "shorter than {}",
    "maxLength": "longer than {}",
    "minItems": "shorter than {}",
    "maxItems": "longer than {}",
}
"""How a value breaks the limit of a keyword."""


def schema_text() -> str:
    """Return the schema, which is also part of each export."""
    return resources.files("energyopt.storage.exchange").joinpath("schema.json").read_text()


def problem(part: Part, data: object) -> Problem | None:
    """Return the first departure from the schema; None if there is none.

    Args:
        part: The definition that the data must match.
        data: Data from `json.loads`.
    """
    error = next(_validator(part).iter_errors(data), None)
    return None if error is None else _describe(error)


@cache
def _validator(part: Part) -> Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # The schema's integers become columns of integers, and its numbers are finite.
    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": lambda _, value: is_number(value)}
    )
    keywords = {"type": _check_type, "anyOf": _check_any_of, "items": _check_items}
    validator: Any = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, keywords, type_checker=types
    )
    return validator({**json.loads(schema_text()), "$ref": f"#/$defs/{part}"})


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_type(
    validator: Validator, types: str | Sequence[str], value: Any, _schema: object
) -> Iterator[ValidationError]:
    """Yield an error without the text of the value, of which a rejected choice makes no use."""
    from jsonschema import ValidationError

    allowed = [types] if isinstance(types, str) else types
    if not any(validator.is_type(value, name) for name in allowed):
        yield ValidationError(" or ".join(allowed))


def _check_any_of(
    validator: Validator, choices: Sequence[Any], value: Any, _schema: object
) -> Iterator[ValidationError]:
    """Yield the error of the choice that matches best: the one with the deepest path."""
    errors = [next(validator.descend(value, choice), None) for choice in choices]
    if None not in errors:
        yield max(filter(None, errors), key=lambda error: len(error.path))


def _check_items(
    validator: Validator, items: Mapping[str, Any], value: Any, _schema: object
) -> Iterator[ValidationError]:
    """Yield the errors of a list; of numbers, which the schema only limits, check the extremes."""
    if not isinstance(value, list) or not value:
        return
    indices: Iterable[int] = range(len(value))
    if {type(item) for item in value} in ({int}, {float}):
        indices = (value.index(min(value)), value.index(max(value)))
    for index in indices:
        yield from validator.descend(value[index], items, path=index)


def _describe(error: ValidationError) -> Problem:
    """Return the key and the message of an error."""
    path = error.json_path.removeprefix("$").removeprefix(".")
    value: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    if error.validator == "required":
        missing = next(key for key in rule if key not in value)
        return path, f"the key {missing!r} is missing"
    if error.validator == "additionalProperties":
        unknown = next(key for key in value if key not in schema["properties"])
        return f"{path}.{unknown}".lstrip("."), "there is no such key"
    short_value = reprlib.repr(value)
    if error.validator == "type":
        return path, f"{short_value} is no {error.message}"
    if error.validator in _LIMITS:
        return path, f"{short_value} is {_LIMITS[error.validator].format(rule)}"
    allowed = [rule] if error.validator == "const" else rule
    return path, f"{short_value} is none of {', '.join(map(repr, allowed))}"
