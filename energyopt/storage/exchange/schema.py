"""The schema of an exported study, and where plain data departs from it.

`schema.json` is a JSON Schema that any program can use. What it says is checked here by the few
words of that language that it is made of, so that reading a folder takes no further package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

Part = Literal["study", "trial", "confirmation"]
"""What has a place of its own in the schema: a file, or the lines of one."""

Problem = tuple[str, str]
"""The key where something is wrong, and what."""

_SHOWN = 40
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
    """The schema, as it is written beside each export."""
    return resources.files("energyopt.storage.exchange").joinpath("schema.json").read_text()


def problem(part: Part, data: object) -> Problem | None:
    """The first departure from the schema; None if there is none.

    Args:
        part: What it should be.
        data: What `json.loads` made.
    """
    return next(_problems(_schema()["$defs"][part], data, ""), None)


@cache
def _schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(schema_text())
    return schema


def _problems(schema: Mapping[str, Any], data: Any, at: str) -> Iterator[Problem]:
    if "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        yield from _nearest(schema["anyOf"], data, at)
    yield from _wrong_value(schema, data, at)
    if isinstance(data, dict):
        yield from _wrong_keys(schema, data, at)
    if isinstance(data, list) and "items" in schema and not _all_floats(schema["items"], data):
        for index, item in enumerate(data):
            yield from _problems(schema["items"], item, f"{at}[{index}]")


def _nearest(choices: list[Mapping[str, Any]], data: Any, at: str) -> Iterator[Problem]:
    """Of several that it may be, the problem of the one that it is nearest to."""
    found = [next(_problems(each, data, at), None) for each in choices]
    if None not in found:
        yield max((each for each in found if each is not None), key=lambda each: len(each[0]))


def _wrong_value(schema: Mapping[str, Any], data: Any, at: str) -> Iterator[Problem]:
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](data) for kind in kinds):
        yield at, f"{_short(data)} is no {' or '.join(kinds)}"
        return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(_is(data, each) for each in allowed):
        yield at, f"{_short(data)} is none of {', '.join(map(_short, allowed))}"
    if _TYPES["number"](data) and not _is_within(schema, data):
        yield at, f"{_short(data)} is out of range"
    if isinstance(data, str | list):
        what = "Length" if isinstance(data, str) else "Items"
        if not schema.get(f"min{what}", 0) <= len(data) <= schema.get(f"max{what}", len(data)):
            yield at, f"{_short(data)} is too short or too long"


def _wrong_keys(schema: Mapping[str, Any], data: Mapping[str, Any], at: str) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in data:
            yield at, f"the key {key!r} is missing"
    others = schema.get("additionalProperties", True)
    for key, value in data.items():
        inside = f"{at}.{key}" if at else key
        if key in properties:
            yield from _problems(properties[key], value, inside)
        elif others is False:
            yield inside, "there is no such key"
        elif others is not True:
            yield from _problems(others, value, inside)


def _all_floats(schema: Mapping[str, Any], data: list[Any]) -> bool:
    """Whether it is a column of plain numbers, as most are: those need no look at each."""
    return (
        any(each.get("$ref") == "#/$defs/number" for each in (schema, *schema.get("anyOf", ())))
        and all(type(item) is float for item in data)
        and all(map(math.isfinite, data))
    )


def _is_within(schema: Mapping[str, Any], data: float) -> bool:
    return bool(schema.get("minimum", data) <= data <= schema.get("maximum", data))


def _is(data: Any, allowed: Any) -> bool:
    return type(data) is type(allowed) and bool(data == allowed)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
