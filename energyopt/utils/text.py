"""Lines that are wrapped at words, the rest of a line under its text."""

from __future__ import annotations

import re
import textwrap

_LABEL = re.compile(r"(?:\S+(?: \S+)?)? {2,}")
_LIST = re.compile(r"\w+: ")
_LIST_INDENT = 4


def wrapped(line: str, width: int) -> list[str]:
    """Wrap a line; what follows a label and blanks, or blanks alone, stays in its column.

    Args:
        line: Without a line break.
        width: Characters of a line; a word that is longer stays whole.
    """
    label, listed = _LABEL.match(line), _LIST.match(line)
    indent = label.end() if label else _LIST_INDENT if listed else 0
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
