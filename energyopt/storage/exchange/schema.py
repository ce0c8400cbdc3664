"""Check plain data against the schema of an exported study.

`schema.json` is a JSON Schema that any program can use. The few keywords of that language that it
contains are checked here, so that reading a folder needs no further package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

Part = Literal["study", "trial", "confirmation"]
"""A definition of the schema: a file, or the lines of one."""

Problem = tuple[str, str]
"""A key and the message that says what is wrong with it."""

_MAX_SHOWN = 40  # characters of a wrong value in a message
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    ),
}


def schema_text() -> str:
    """Return the schema, which is also part of each export."""
    return resources.files("energyopt.storage.exchange").joinpath("schema.json").read_text()


def problem(part: Part, data: object) -> Problem | None:
    """Return the first departure from the schema; None if there is none.

    Args:
        part: The definition that the data must match.
        data: Data from `json.loads`.
    """
    return next(_problems(_schema()["$defs"][part], data, ""), None)


@cache
def _schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(schema_text())
    return schema


def _problems(schema: Mapping[str, Any], data: Any, path: str) -> Iterator[Problem]:
    if "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        yield from _closest_problem(schema["anyOf"], data, path)
    yield from _value_problems(schema, data, path)
    if isinstance(data, dict):
        yield from _key_problems(schema, data, path)
    if isinstance(data, list) and "items" in schema and not _all_floats(schema["items"], data):
        for index, item in enumerate(data):
            yield from _problems(schema["items"], item, f"{path}[{index}]")


def _closest_problem(choices: list[Mapping[str, Any]], data: Any, path: str) -> Iterator[Problem]:
    """Yield the problem of the choice that matches best: the one with the deepest path."""
    problems = [next(_problems(choice, data, path), None) for choice in choices]
    if None not in problems:
        yield max((p for p in problems if p is not None), key=lambda problem: len(problem[0]))


def _value_problems(schema: Mapping[str, Any], data: Any, path: str) -> Iterator[Problem]:
    types = schema.get("type", ())
    types = (types,) if isinstance(types, str) else types
    if types and not any(_TYPES[type_](data) for type_ in types):
        yield path, f"{_short(data)} is no {' or '.join(types)}"
        return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(_is_equal(data, value) for value in allowed):
        yield path, f"{_short(data)} is none of {', '.join(map(_short, allowed))}"
    if _TYPES["number"](data) and not _is_within(schema, data):
        yield path, f"{_short(data)} is out of range"
    if isinstance(data, str | list):
        limit = "Length" if isinstance(data, str) else "Items"
        if not schema.get(f"min{limit}", 0) <= len(data) <= schema.get(f"max{limit}", len(data)):
            yield path, f"{_short(data)} is too short or too long"


def _key_problems(
    schema: Mapping[str, Any], data: Mapping[str, Any], path: str
) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in data:
            yield path, f"the key {key!r} is missing"
    others = schema.get("additionalProperties", True)
    for key, value in data.items():
        inner_path = f"{path}.{key}" if path else key
        if key in properties:
            yield from _problems(properties[key], value, inner_path)
        elif others is False:
            yield inner_path, "there is no such key"
        elif others is not True:
            yield from _problems(others, value, inner_path)


def _all_floats(schema: Mapping[str, Any], data: list[Any]) -> bool:
    """Return True for a column of finite numbers, as most are: they are checked at once."""
    choices = (schema, *schema.get("anyOf", ()))
    return (
        any(choice.get("$ref") == "#/$defs/number" for choice in choices)
        and all(type(item) is float for item in data)
        and all(map(math.isfinite, data))
    )


def _is_within(schema: Mapping[str, Any], data: float) -> bool:
    return bool(schema.get("minimum", data) <= data <= schema.get("maximum", data))


def _is_equal(data: Any, allowed: Any) -> bool:
    return type(data) is type(allowed) and bool(data == allowed)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
