"""The form of what commands print with `--json`: one object, described by `output_schema.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

SCHEMA_VERSION = 1
"""Rises where a key goes or changes its meaning; keys may be added without."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema of all commands, each a definition of its name."""
    text = resources.files("energyopt.report").joinpath("output_schema.json").read_text()
    data: dict[str, Any] = json.loads(text)
    return data


def json_text(command: str, data: Mapping[str, Any]) -> str:
    """Return the output of a command as one JSON object."""
    whole = {"schema_version": SCHEMA_VERSION, "command": command, **data}
    return json.dumps(_plain(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: without NaN and infinity, which are no numbers there."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
