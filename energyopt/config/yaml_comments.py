"""Config files as they are written: keys, values, and the comments beside them.

They are read as lines and not as YAML: what explains a key is its comment, and completing a word on
a command line has no time for more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#]*?))?(?: +# ?(?P<comment>.*))?$")
_MORE = re.compile(r"^(?P<indent> {4,})# ?(?P<comment>.*)$")
_DEFAULT = re.compile(r"^ *- (?P<group>\w+): (?P<option>\w+)$", re.MULTILINE)
_NO_KEYS = ("defaults", "hydra")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a config.

    Attributes:
        name: With the keys that it lies under, joined by dots.
        value: Its value as written; empty where keys lie under it.
        comment: What stands beside it.
        section: The comment that the keys from here on stand under.
    """

    name: str
    value: str
    comment: str = ""
    section: str = ""


def read_keys(path: Path) -> list[Key]:
    """Read the keys that hold a value, in the order of the file; lists of defaults are left out."""
    return [key for key in _keys(path.read_text().splitlines()) if key.value]


def read_defaults(path: Path) -> Mapping[str, str]:
    """Read which option of each group a config begins with."""
    return dict(_DEFAULT.findall(path.read_text()))


def read_about(path: Path) -> str:
    """Read the comment that a file begins with, in one line."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)


def _keys(lines: list[str]) -> Iterator[Key]:
    above: list[tuple[int, str]] = []  # the keys that a line lies under, with their indents
    section, fresh = "", True
    for at, line in enumerate(lines):
        text = line.strip()
        if text.startswith("#") and at:
            if fresh and not _MORE.match(line):
                section = text.lstrip("# ")
            fresh = False
            continue
        fresh = not text
        found = _KEY.match(line)
        if found is None:
            continue
        indent = len(found["indent"])
        above = [(of, key) for of, key in above if of < indent] + [(indent, found["key"])]
        if above[0][1] in _NO_KEYS:
            continue
        name = ".".join(key for _, key in above)
        comment = " ".join((found["comment"] or "", *_continued(lines[at + 1 :]))).strip()
        yield Key(name, (found["value"] or "").strip(), comment, section)


def _continued(lines: list[str]) -> Iterator[str]:
    """The comments of the lines that follow, further in than a comment of their own would be."""
    for line in lines:
        found = _MORE.match(line)
        if found is None:
            return
        yield found["comment"].strip()
