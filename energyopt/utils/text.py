"""Text for people: labelled lines wrapped, and the word that a misspelt one may mean."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable

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


def first_line(error: object) -> str:
    """Return the first line of an error's message; the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def near_word(word: str, words: Iterable[str]) -> str | None:
    """Return the nearest of some words; None if none is near."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1)), None)


def did_you_mean(word: str, words: Iterable[str], prefix: str = "") -> str:
    """Return the question whether a near word is meant, or else the list of all words.

    Args:
        word: A word that is none of them.
        words: The known words.
        prefix: Begins each word where the question repeats it, as the key of a group does.
    """
    all_words = list(words)
    near = near_word(word, all_words)
    if near is not None:
        return f"did you mean {prefix}{near}?"
    return f"there are {', '.join(all_words)}" if all_words else "there are none"
