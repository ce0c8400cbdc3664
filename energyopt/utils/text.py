"""Wrapping of labelled lines, with continuation lines under the text."""

from __future__ import annotations

import re
import textwrap

_LABEL = re.compile(r"(?:\S+(?: \S+)?)? {2,}")
_LIST = re.compile(r"\w+: ")
_LIST_INDENT = 4


def wrapped(line: str, width: int) -> list[str]:
    """Wrap a line, but not longer words; text after a label or an indent stays in its column."""
    label, list_head = _LABEL.match(line), _LIST.match(line)
    indent = label.end() if label else _LIST_INDENT if list_head else 0
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
