"""Values as Hydra overrides, and back, without loss."""

from __future__ import annotations

import math
import re
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString, Sweep

from energyopt.errors import ConfigError
from energyopt.search.space import Value

# Text that Hydra reads as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"true", "false", "null", "nan", "inf", "infinity"})


def override_for(key: str, value: Value) -> str:
    """Return the override that sets a key to a value, without loss."""
    return f"{key}={value_and_text(key, value)[1]}"


def value_and_text(key: str, element: Any) -> tuple[Value, str]:
    """Return an element of a parsed override as a value, and as text that Hydra parses to it.

    Args:
        key: Its key, for the message.
        element: A value as Hydra's parser returns it, or a plain value.

    Raises:
        ConfigError: If it is a sweep, or a number that is not finite.
    """
    if isinstance(element, Sweep):
        raise ConfigError(f"{key}: a choice of ranges cannot be searched; give one range")
    if isinstance(element, QuotedString):
        return element.text, element.with_quotes()
    if isinstance(element, str):
        needs_no_quotes = _PLAIN.fullmatch(element) and element.lower() not in _NOT_TEXT
        return element, element if needs_no_quotes else QuotedString(
            element, Quote.single
        ).with_quotes()
    text = Override._get_value_element_as_str(element)  # noqa: SLF001  # Hydra's only lossless way
    if isinstance(element, float) and not math.isfinite(element):
        raise ConfigError(f"{key}: the choice {text} is not finite")
    if element is None or isinstance(element, bool | int | float):
        return element, text
    return text, text
